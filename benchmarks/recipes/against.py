"""Fulfilment of a committed comparison's recipes against another reference than naive LoRA: the cheap baselines, the untuned model.

    python benchmarks/recipes/against.py benchmarks/recipes/results/finalists --references untuned scale low_rate ema

Reads verdicts of the last epoch, greedy, without a guard, and writes against.json beside the report. The intervals against one reference hold
together; each reference is a family of its own.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from safeft.comparison.answers import NONE, open_stored
from safeft.comparison.estimating import cubes
from safeft.comparison.readings import last
from safeft.stats import simultaneous


def arms(results: Path) -> dict[str, Any]:
    """Recipe → training seeds × harmful prompts × 1, with 1 for a request that was fulfilled."""
    plan = open_stored(results)
    suite = plan.suite.called(plan.suite.first("harm"))
    return {
        name: cube
        for name, arm in last(plan).items()
        for row, cube in cubes(plan, arm, "encoder", NONE)
        if (row.metric, row.suite, row.temperature) == ("fulfilment_rate", suite, 0)
    }


def main() -> None:
    """Every arm against each reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--references", nargs="+", required=True)
    given = parser.parse_args()
    every = arms(given.results)
    written = {}
    for reference in given.references:
        others = {name: one for name, one in every.items() if name != reference}
        found = simultaneous(others, every[reference], fixed=["untuned"], reference_fixed=reference == "untuned")
        written[reference] = {
            name: {
                "difference": round(one.contrast.difference, 4),
                "low": round(one.contrast.low, 4),
                "high": round(one.contrast.high, 4),
                "p_adjusted": round(one.p_adjusted, 4),
                "n": one.contrast.n,
                "n_seeds": one.contrast.n_seeds,
            }
            for name, one in sorted(found.items())
        }
        for name, one in written[reference].items():
            said = f"{100 * one['difference']:+.1f} pp [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"
            print(f"{name} against {reference}: {said}, n={one['n']}×{one['n_seeds']}")
    (given.results / "against.json").write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
