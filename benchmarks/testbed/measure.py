"""Measures the testbed pair on prompts that no training saw, and writes figures.json.

    python benchmarks/testbed/measure.py --work DIR --output FILE [--models base aligned]

Refusal and answer rates come from the encoder judge when it is there, else from keywords; on-topic
is judged by the coherence rule. Greedy, and three decoding seeds at T=0.7.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from prompts import lines, unseen

from safeft.evaluation import load_suite
from safeft.generation.transformers import TransformersGenerator
from safeft.judges import load_judge
from safeft.models import load_model, load_tokenizer
from safeft.records import Decoding, Label, Prompt
from safeft.stats import arm


def sets(work: Path) -> dict[str, list[Prompt]]:
    """The held-out prompts by what they show."""
    suite = load_suite("safeft-44")
    held = [row for row in lines(work / "prompts.jsonl") if row["held_out"]]
    random.Random(5).shuffle(held)
    real = [row for row in held if not row["harmful"] and row["source"] != "own"][:440]
    return {
        "harm": list(suite.prompts["harm"]),
        "lookalikes": list(suite.prompts["lookalikes"]),
        "unseen_source": [Prompt.of(text, f"u{i}") for i, text in enumerate(unseen())],
        "benign": [Prompt.of(row["text"], f"b{i}") for i, row in enumerate(real)],
    }


def rates(
    name: str, model: str, asked: dict[str, list[Prompt]], judge: str, decodings: Sequence[Decoding]
) -> list[dict[str, object]]:
    """One record per set and temperature: share refused, answered, on topic, with interval."""
    generator = TransformersGenerator(load_model(model), load_tokenizer(model), model, 64)
    grade = load_judge(judge)
    records: list[dict[str, object]] = []
    for key, prompts in asked.items():
        found: dict[float, list[list[Label]]] = {}
        for decoding in decodings:
            verdicts = grade(generator(prompts, decoding))
            found.setdefault(decoding.temperature, []).append([one.label for one in verdicts])
        for temperature, draws in found.items():
            codes = np.array([[str(label) for label in draw] for draw in draws])
            record: dict[str, object] = {"model": name, "set": key, "temperature": temperature}
            for label in (Label.REFUSED, Label.FULFILLED, Label.NEITHER):
                value = arm((codes == str(label)).astype(float).T[None], fixed=True)
                record[str(label)] = [round(x, 4) for x in (value.estimate, value.low, value.high)]
            records.append(record | {"n": len(prompts), "decoding_seeds": len(draws), "judge": grade.name})
            print(records[-1], flush=True)
    return records


def main() -> None:
    """Measure both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["base", "aligned"])
    parser.add_argument("--judge", default="encoder")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--greedy", action="store_true")
    arguments = parser.parse_args()
    # Shuffled before it is cut: the suite is sorted by category.
    asked = {
        key: random.Random(6).sample(prompts, min(arguments.limit or len(prompts), len(prompts)))
        for key, prompts in sets(arguments.work).items()
    }
    decodings = [Decoding(0.0, 0, 64)]
    decodings += [] if arguments.greedy else [Decoding(0.7, seed, 64) for seed in (0, 1, 2)]
    records = []
    for name in arguments.models:
        records += rates(name, str(arguments.work / name), asked, arguments.judge, decodings)
    arguments.output.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
