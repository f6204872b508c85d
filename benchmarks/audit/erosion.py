"""Tuning on the rows that `safeft audit` scores highest, beside random, lowest, longest and shortest ones.

    python benchmarks/audit/erosion.py --output runs/erosion
    python benchmarks/audit/erosion.py --output runs/erosion-gradient --score gradient
    python benchmarks/audit/erosion.py --output runs/erosion-fresh --first-seed 5 --seeds 10 --arms top random shortest

Audits the first rows of a set, takes the same number of rows for each arm, trains the recipe on them with each training seed, and compares the adapters
(erosion.yaml). Every step resumes; a finished run prints its table again. The rows are read from ../shared and never committed.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from safeft.comparison import compare, load_matrix
from safeft.comparison.auditing import audit
from safeft.comparison.scored import Asked
from safeft.data import Example, examples, load
from safeft.report import print_headline
from safeft.report.audit import Audit
from safeft.training import load_recipe, train

HERE = Path(__file__).parent
MODEL = "testbed:aligned"
ARMS = ["top", "random", "bottom", "longest", "shortest"]
Task = tuple[Path, list[Example], int, str, list[str]]


def arms(found: Audit, rows: Sequence[Example], take: int, seeds: range) -> dict[str, list[list[Example]]]:
    """The rows of each arm and training seed, in the order of the set: only which rows differs."""
    ranked = [place for place, one in enumerate(found.rows) if one.score is not None]
    by_score = sorted(ranked, key=lambda place: found.rows[place].rank or 0)
    by_length = sorted(ranked, key=lambda place: -found.rows[place].answer_words)
    drawn = [random.Random(seed).sample(ranked, take) for seed in seeds]
    chosen = {
        "top": [by_score[:take]] * len(seeds),
        "random": drawn,
        "bottom": [by_score[-take:]] * len(seeds),
        "longest": [by_length[:take]] * len(seeds),
        "shortest": [by_length[-take:]] * len(seeds),
    }
    return {name: [[rows[place] for place in sorted(one)] for one in parts] for name, parts in chosen.items()}


def trained(task: Task) -> str:
    """The last epoch's adapter of one arm and seed."""
    import torch

    torch.set_num_threads(1)
    output, rows, seed, recipe, overrides = task
    made = train(load_recipe(recipe, overrides), model=MODEL, examples=rows, seed=seed, output=output, quiet=True)
    return str(made.adapters[-1])


def main() -> None:
    """Audit, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data/dolly_15k/dolly_15k.jsonl")
    parser.add_argument("--rows", type=int, default=2000, help="the first rows, among which the arms choose")
    parser.add_argument("--take", type=int, default=100, help="rows of an arm")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0, help="seeds that no earlier run has used are evidence of their own")
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--score", default="representation", choices=["gradient", "representation"])
    parser.add_argument("--compliant-model", default="", help="such as testbed:base")
    parser.add_argument("--recipe", default="baseline")
    parser.add_argument("--set", dest="overrides", action="append", default=["max_length=256"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()

    rows = examples(load(given.data, limit=given.rows))
    asked = Asked(MODEL, given.score, compliant_model=given.compliant_model, policy="", max_length=256)
    found = audit(Path(given.data).stem, rows, asked, given.output / "audit", lambda *step: print(*step))
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    chosen = {name: parts for name, parts in arms(found, rows, given.take, seeds).items() if name in given.arms}
    tasks = [
        (given.output / "training" / f"{name}-{seed}", part, seed, given.recipe, given.overrides)
        for name, parts in chosen.items()
        for seed, part in zip(seeds, parts, strict=True)
    ]
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        adapters = list(pool.map(trained, tasks))
    named = {name: adapters[place * given.seeds :][: given.seeds] for place, name in enumerate(chosen)}
    overrides = [f"adapters={json.dumps(named)}"]
    matrix = load_matrix(str(HERE / "erosion.yaml"), overrides)
    document, written = compare(matrix, given.output / "comparison", progress=lambda *step: print(*step))
    print_headline(document)
    print(written["report.md"])


if __name__ == "__main__":
    main()
