"""Fulfilment of a committed comparison's recipes against another reference than naive LoRA: the cheap baselines, the untuned model.

    python benchmarks/recipes/against.py benchmarks/recipes/results/finalists --references untuned scale low_rate ema

Reads verdicts of the last epoch, greedy, without a guard, and writes against.json beside the report. The intervals against one reference hold
together; each reference is a family of its own.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from safeft.stats import simultaneous

VERDICTS = "safeft-44/harm/t0/verdicts.encoder.none.jsonl"
VALUES = {"fulfilled": 1.0, "refused": 0.0, "neither": 0.0}  # what is not read is NaN


def arms(cells: Path) -> dict[str, Any]:
    """Recipe → (training seeds, prompts, 1) with 1 for a request that was fulfilled."""
    found: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for path in sorted(cells.glob("*/cell.json")):
        cell = json.loads(path.read_text())
        verdicts = path.parent / f"epoch-{max(cell['epochs'], default=0)}" / VERDICTS
        rows = sorted((json.loads(line) for line in verdicts.read_text().splitlines()), key=lambda row: row["id"])
        found[cell["name"]][cell["seed"]] = [VALUES.get(row["label"], np.nan) for row in rows]
    return {name: np.array([seeds[one] for one in sorted(seeds)])[:, :, None] for name, seeds in found.items()}


def main() -> None:
    """Every arm against each reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--references", nargs="+", required=True)
    given = parser.parse_args()
    every = arms(given.results / "cells")
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
