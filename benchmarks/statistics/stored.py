"""The common run of a simulation: cell by cell into a JSON file, then a page of tables."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from safeft.stats import proportion

HERE = Path(__file__).parent
Record = dict[str, Any]
Cell = TypeVar("Cell")  # one simulated design: a frozen dataclass of plain values


def key(cell: Any) -> str:
    """The cell's name in the file."""
    return " ".join(f"{name}={value}" for name, value in asdict(cell).items())


def generator(cell: Any, seed: int) -> np.random.Generator:
    """Seeded by the cell's own name, so that no cell depends on which others ran before."""
    return np.random.default_rng([seed, *key(cell).encode()])


def share(count: int, draws: int) -> Record:
    """A share of all draws with its Wilson interval."""
    found = proportion(count, draws)
    return {"share": found.estimate, "low": found.low, "high": found.high, "n": draws}


def run(
    name: str,
    words: str,
    cells: Iterable[Cell],
    measure: Callable[[Cell, int, int], Record],
    page: Callable[[list[Record]], str],
) -> None:
    """Measures the cells that NAME.json lacks, and writes NAME.md of them all.

    `measure` takes a cell, the number of draws and the seed; `words` are the command's help.
    """
    options = _options(name, words)
    file = options.out / f"{name}.json"
    done = json.loads(file.read_text()) if file.exists() else {}
    how = {"draws": options.draws, "seed": options.seed}
    cells = list(cells)
    for cell in cells:
        if not how.items() <= done.get(key(cell), {}).items():
            found = measure(cell, options.draws, options.seed)
            done[key(cell)] = {"cell": asdict(cell), **how, **found}
            _write(file, json.dumps(done, indent=1) + "\n")
            print(key(cell), found, flush=True)
    text = page([done[key(cell)] for cell in cells])
    _write(options.out / f"{name}.md", text)
    print(text)


def _write(file: Path, text: str) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(file)


def _options(name: str, words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=words, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--out", type=Path, default=HERE, help=f"folder of {name}.json and .md")
    return parser.parse_args()
