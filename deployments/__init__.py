"""Serves: the Ray Serve application around the engine. Imports nothing here, so the engine loads without Ray."""
