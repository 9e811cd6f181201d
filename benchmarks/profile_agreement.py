"""Whether two profiles of the same machine and pair predict the same step times.

`python -m benchmarks.profile_agreement A/profile.json B/profile.json --out FILE`
"""

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np

from deployments.profile.profile import Profile, read
from policies.estimators.cost import LinearCost
from policies.models import StepLoad

BATCHES, LENGTHS, CONTEXT_TOKENS = (1, 2, 4, 8, 16, 32), (0, 1, 2, 3, 5), (128, 512)


def times_s(profile: Profile) -> np.ndarray:
    """Of every batch, length and context."""
    cost = LinearCost(profile.coefficients)
    shapes = product(BATCHES, LENGTHS, CONTEXT_TOKENS)
    return np.array([float(cost.step_s(StepLoad(b, b * context), k, k * b)) for b, k, context in shapes])


def main() -> None:
    """Prints and writes how far apart they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profiles", type=Path, nargs=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    first, second = (read(path) for path in args.profiles)
    if first.key != second.key:
        raise SystemExit(f"made for different things: {first.key} and {second.key}")
    off = np.abs(times_s(second) / times_s(first) - 1)
    found = {
        "profiles": [str(path) for path in args.profiles],
        "shapes": len(off),
        "median_difference": round(float(np.median(off)), 4),
        "p90_difference": round(float(np.quantile(off, 0.9)), 4),
        "largest_difference": round(float(off.max()), 4),
    }
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
