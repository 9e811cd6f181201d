"""Speculative-length controllers, one a file. `policies.registry` maps their names."""
