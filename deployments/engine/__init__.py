"""Executes: the vLLM extension that drafts and verifies as a policy decides. Runs without Ray."""
