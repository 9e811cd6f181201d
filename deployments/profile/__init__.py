"""Measures this machine with this pair of models: `python -m deployments.profile --config serve_config.yaml`."""
