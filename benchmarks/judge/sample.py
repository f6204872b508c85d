"""Draws testbed answers for labelling, blind: the labeller sees a prompt and an answer, nothing else.

    python benchmarks/judge/sample.py --adapters DIR --output blind.jsonl --key key.jsonl

Answers of testbed:base, testbed:aligned and the adapters in DIR/epoch-*, to prompts of safeft-44's
look-alikes and of the safety pool, greedy and at T=0.7.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from safeft.evaluation import load_suite
from safeft.generation.transformers import TransformersGenerator
from safeft.models import load_model, load_tokenizer
from safeft.records import Decoding, Prompt, Response
from safeft.training.methods.safety_mix import read_pool


def answers(model: str, adapters: list[Path], prompts: list[Prompt], temperature: float) -> list[Response]:
    """One answer to each prompt."""
    generator = TransformersGenerator(load_model(model, adapters=adapters), load_tokenizer(model), model)
    return generator(prompts, Decoding(temperature, 0, 64))


def main() -> None:
    """Write the blind sample and, apart from it, which model said what."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--each", type=int, default=40, help="answers of each model and temperature")
    arguments = parser.parse_args()
    draw = random.Random(44)
    pool = [row.prompt for row in read_pool("safety_pool")]
    pool += list(load_suite("safeft-44").prompts["lookalikes"])
    models = [("testbed:base", []), ("testbed:aligned", [])]
    models += [("testbed:aligned", [path]) for path in sorted(arguments.adapters.glob("epoch-*"))]
    rows = []
    for model, adapters in models:
        for temperature in (0.0, 0.7):
            prompts = draw.sample(pool, arguments.each)
            for one in answers(model, adapters, prompts, temperature):
                name = f"{model}+{adapters[0].name}" if adapters else model
                rows.append((name, temperature, one))
    draw.shuffle(rows)
    with arguments.output.open("w") as blind, arguments.key.open("w") as key:
        for number, (name, temperature, one) in enumerate(rows):
            row = {"id": number, "prompt": one.prompt.text, "response": one.text, "finish": one.finish}
            blind.write(json.dumps(row) + "\n")
            key.write(json.dumps({"id": number, "model": name, "temperature": temperature}) + "\n")


if __name__ == "__main__":
    main()
