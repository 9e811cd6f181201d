"""Shows: metrics, traces and the live page."""
