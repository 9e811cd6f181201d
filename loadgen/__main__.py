"""`python -m loadgen COMMAND`: one module a command, imported when it is chosen."""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser

COMMANDS = {
    "run": ("loadgen.run", "send a scenario to an OpenAI-compatible server and report"),
    "compare": ("loadgen.compare", "a baseline's runs against others': paired intervals, a verdict, an exit status"),
    "peak": ("loadgen.peak", "the highest rate that keeps an SLO attainment"),
    "sweep": ("loadgen.sim.sweep", "what K a policy chooses at batch 1 to 128, under a profile of `make profile`"),
    "sim": ("loadgen.sim.command", "simulate a fleet: the same policies, a true cost and acceptance model"),
}
"""Command -> module with `add_arguments(parser)` and `run(args) -> exit status`, and its one-line help."""


def main(argv: list[str] | None = None) -> int:
    """Parse, run, return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = ArgumentParser(prog="python -m loadgen", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if argv[:1] == [name]:
            importlib.import_module(module).add_arguments(command)
    args = parser.parse_args(argv)
    status: int = importlib.import_module(COMMANDS[args.command][0]).run(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
