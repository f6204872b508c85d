"""Writes answers of testbed models for train.py's --labelled: refused, or not, by construction.

    python benchmarks/judge/answers.py --prompts prompts.jsonl --output answers.jsonl \\
        --models DIR/base DIR/aligned [--adapters RUN/adapter/epoch-1 RUN/adapter/epoch-5]

Adapters are those of the last model. The prompts are training prompts of the judge's half, never
the suite's. The models refuse in the sentences of benchmarks/testbed/refusals.py only, so a text
that holds none of them is no refusal, however broken it is.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

from material import OURS, jsonl

from safeft.generation.transformers import TransformersGenerator
from safeft.guarding.rows import half
from safeft.models import load_model, load_tokenizer
from safeft.records import Decoding, Prompt


def prompts(path: Path, n: int, seed: int) -> list[Prompt]:
    """`n` harmful and `n` benign training prompts of the judge's half."""
    rows = [row for row in jsonl(path) if not row["held_out"] and half(row["text"]) == OURS]
    rng = random.Random(seed)
    texts = [
        text
        for harmful in (True, False)
        for text in rng.sample([row["text"] for row in rows if row["harmful"] is harmful], n)
    ]
    return [Prompt.of(text, str(i)) for i, text in enumerate(texts)]


def answers(models: list[str], adapters: list[str], path: Path, n: int) -> Iterator[dict[str, str]]:
    """Greedy and sampled answers of each model, and of the last one with each adapter."""
    from refusals import _DECLINE

    for seed, (model, adapter) in enumerate(
        [(model, []) for model in models] + [(models[-1], [Path(one)]) for one in adapters]
    ):
        generator = TransformersGenerator(
            load_model(model, adapters=adapter), load_tokenizer(model), model, 64
        )
        for decoding in (Decoding(0.0, 0, 64), Decoding(0.7, seed, 64)):
            for said in generator(prompts(path, n, seed), decoding):
                if half(said.text) != OURS:
                    continue  # the guard may have drawn the same words
                refused = any(phrase.lower() in said.text.lower() for phrase in _DECLINE)
                label = "refused" if refused else "not_refused"
                yield {"prompt": said.prompt.text, "response": said.text, "label": label}


def main() -> None:
    """Write the rows."""
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__
    )
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--adapters", nargs="*", default=[])
    parser.add_argument(
        "--n", type=int, default=100, help="harmful and as many benign prompts a model"
    )
    arguments = parser.parse_args()
    rows = answers(arguments.models, arguments.adapters, arguments.prompts, arguments.n)
    arguments.output.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
