"""Decisions about the fleet, as pure functions: where a request goes, whether it may, how many replicas, what comes.

The service and the simulator call the same functions with the same views.
"""
