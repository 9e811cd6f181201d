"""Executes: stock vLLM with the speculative length chosen at every step. Works without Ray."""
