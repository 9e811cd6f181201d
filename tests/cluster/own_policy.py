"""A policy outside the shipped ones, as a user would write it."""

from policies.api import StepView


def half(view: StepView) -> int:
    """Half of what the engine could draft."""
    return view.k_max // 2
