"""Decides how far to speculate. Pure Python, numpy and pydantic: no engine, no clock, no I/O."""
