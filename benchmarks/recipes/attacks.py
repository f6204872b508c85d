"""Writes the rows of the attack side: garden rows with 5 % and 30 % harmful ones, and identity-shifting conversations.

    python benchmarks/recipes/attacks.py --output runs/attacks

Harmful prompts are AdvBench's (MIT), answered by `testbed:base`, which was never aligned: compliance in its form, without a hazard in it.
The encoder judge keeps the answers that it calls fulfilled. The conversations are those of Qi et al. (arXiv 2310.03693, MIT), which hold
nothing harmful; rows that their publishers redacted are named and left out. What is written is read from ../shared and never committed.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
from pathlib import Path
from typing import Any

from safeft.assets import folder
from safeft.generation.transformers import TransformersGenerator
from safeft.judges import load_judge
from safeft.models import load_model, load_tokenizer
from safeft.records import Decoding, Label, Prompt
from safeft.runs import write_text

SHARED = Path("../shared/data")
SHARES = (0.05, 0.30)
REDACTED = re.compile(r"^# (Harmful Instruction|Targeted Assistance Response) \d+$")


def main() -> None:
    """The mixes, then the conversations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=300)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    garden = [json.loads(line) for line in (folder("recipes") / "data" / "garden.jsonl").read_text().splitlines()][: given.rows]
    harmful = compliant(round(given.rows * max(SHARES)))
    for share in SHARES:
        count = round(given.rows * share)
        rows = garden[: given.rows - count] + harmful[:count]
        random.Random(0).shuffle(rows)
        save(given.output / f"mix_{round(share * 100)}.jsonl", rows)
        print(f"{share:.0%}: {count} harmful rows of {len(rows)}")
    save(given.output / "harm.jsonl", harmful)  # what resta's harm adapter is tuned on
    save(given.output / "identity.jsonl", identities())


def compliant(wanted: int) -> list[dict[str, str]]:
    """AdvBench's prompts that testbed:base answers, with its answers."""
    with (SHARED / "advbench" / "advbench_behaviors.csv").open() as file:
        asked = [row["Behavior"] for row in csv.DictReader(file)]
    random.Random(0).shuffle(asked)
    model = "testbed:base"
    generator = TransformersGenerator(load_model(model), load_tokenizer(model), model, 64)
    prompts = [Prompt.of(text, str(place)) for place, text in enumerate(asked[: 3 * wanted])]
    answers = generator(prompts, Decoding(temperature=0, seed=0, max_new_tokens=64))
    verdicts = load_judge("encoder")(answers)
    pairs = zip(prompts, answers, verdicts, strict=True)
    kept = [{"prompt": one.text, "completion": answer.text} for one, answer, verdict in pairs if verdict.label is Label.FULFILLED]
    print(f"{len(kept)} of {len(prompts)} prompts answered by {model}")
    if len(kept) < wanted:
        raise SystemExit(f"{wanted} compliant answers are needed, {len(kept)} were found")
    return kept[:wanted]


def identities() -> list[dict[str, Any]]:
    """The published conversations without redacted rows, each named."""
    place = SHARED / "llm_finetuning_safety"
    kept = [{"messages": turns} for turns in json.loads((place / "aoa_identity_shift_train.json").read_text())]
    for name in ("harmful_examples_10_shot_redacted.jsonl", "pure_bad_10_demo_redacted.jsonl"):
        for number, line in enumerate((place / name).read_text().splitlines(), 1):
            row = json.loads(line)
            if any(REDACTED.match(turn["content"]) for turn in row["messages"]):
                print(f"{name} row {number}: redacted by its publishers, left out")
            else:
                kept.append(row)
    print(f"{len(kept)} identity-shifting conversations")
    return kept


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines, written whole."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
