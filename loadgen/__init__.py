"""Measures: load over HTTP against any OpenAI-compatible server."""
