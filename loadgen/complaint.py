"""What a command says when it refuses."""

from rich.console import Console


def complain(message: str) -> None:
    """On stderr, unbroken: a line folded at the terminal's width cannot be searched for, nor a path in it copied."""
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)
