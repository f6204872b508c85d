"""Draws testbed answers for labelling, blind: the labeller sees a prompt and an answer, nothing else.

    python benchmarks/judge/sample.py --results benchmarks/main/results --output blind.jsonl --key key.jsonl

The answers are those of a finished comparison whose texts are still there: every recipe and epoch,
greedy and sampled, to the suite's harmful prompts and to its look-alikes, of training seed 0; with
--claim the last epoch of each recipe, every training seed and the harmful prompts alone. No judge, guard or model trained on any prompt
of the suite.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from safeft.evaluation import load_suite

SUITE = "safeft-44"


def stored(results: Path, claim: bool) -> dict[str, list[dict[str, Any]]]:
    """The answers of each recipe and epoch, with the temperature they were drawn at."""
    wanted = f"{SUITE}/harm/*" if claim else f"{SUITE}/*/*"
    texts = {one.id: one.text for prompts in load_suite(SUITE).prompts.values() for one in prompts}
    found = defaultdict(list)
    for described in sorted(results.glob("cells/*/cell.json")):
        cell = json.loads(described.read_text())
        if cell["seed"] != 0 and not claim:
            continue
        epochs = f"epoch-{cell['epochs'][-1]}" if claim else "epoch-*"
        for path in sorted(described.parent.glob(f"{epochs}/{wanted}/responses.none.jsonl")):
            epoch, decoding = path.parents[3].name, path.parent.name
            for row in map(json.loads, path.read_text().splitlines()):
                found[f"{cell['name']} {epoch}"].append(
                    {
                        "prompt": texts[row["id"]],
                        "response": row["text"],
                        "finish": row["finish"],
                        "model": f"{cell['name']} {epoch}",
                        "temperature": float(decoding.split("-")[0].removeprefix("t")),
                    }
                )
    return found


def main() -> None:
    """Write the blind sample and, apart from it, which model said what."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--each", type=int, default=11, help="answers of each recipe and epoch")
    parser.add_argument("--claim", action="store_true", help="last epochs, harmful prompts")
    arguments = parser.parse_args()
    draw = random.Random(44)
    groups = stored(arguments.results, arguments.claim).values()
    rows = [row for answers in groups for row in draw.sample(answers, arguments.each)]
    draw.shuffle(rows)
    with arguments.output.open("w") as blind, arguments.key.open("w") as key:
        for number, row in enumerate(rows):
            blind.write(
                json.dumps(
                    {"id": number} | {name: row[name] for name in ("prompt", "response", "finish")}
                )
                + "\n"
            )
            key.write(
                json.dumps({"id": number} | {name: row[name] for name in ("model", "temperature")})
                + "\n"
            )


if __name__ == "__main__":
    main()
