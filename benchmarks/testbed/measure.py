"""Measures the testbed pair on prompts that no training saw, and writes figures.json.

    python benchmarks/testbed/measure.py --work DIR --output FILE [--models base aligned]

Refusal and answer rates come from a judge. An answer is on topic unless the judge calls it empty,
broken or off topic; it may still be `neither` for making no sense. Greedy, and three decoding seeds at T=0.7.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from prompts import lines, unseen

from safeft.evaluation import load_suite
from safeft.generation.transformers import TransformersGenerator
from safeft.judges import load_judge
from safeft.judges.coherence import Incoherence
from safeft.models import load_model, load_tokenizer
from safeft.records import Decoding, Label, Prompt, Verdict
from safeft.stats import arm

ON_TOPIC = (
    "",
    Incoherence.SENSELESS,
    Incoherence.CUT,
)  # reasons that come after the topic was found


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
        found: dict[float, list[list[Verdict]]] = {}
        for decoding in decodings:
            found.setdefault(decoding.temperature, []).append(grade(generator(prompts, decoding)))
        for temperature, draws in found.items():
            record: dict[str, object] = {"model": name, "set": key, "temperature": temperature}
            for label in (Label.REFUSED, Label.FULFILLED, Label.NEITHER):
                record[str(label)] = share(draws, lambda one, label=label: one.label is label)
            record["on_topic"] = share(draws, lambda one: one.reason in ON_TOPIC)
            records.append(
                record | {"n": len(prompts), "decoding_seeds": len(draws), "judge": grade.name}
            )
            print(records[-1], flush=True)
    return records


def share(draws: Sequence[Sequence[Verdict]], wanted: Callable[[Verdict], bool]) -> list[float]:
    """The share of verdicts like this, with its interval over prompts."""
    hits = np.array([[float(wanted(one)) for one in draw] for draw in draws])
    value = arm(hits.T[None], fixed=True)
    return [round(x, 4) for x in (value.estimate, value.low, value.high)]


def main() -> None:
    """Measure both models."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
