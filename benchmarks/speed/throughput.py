"""How much of the raw engine's throughput safeft's generator keeps, at the same batch.

    python benchmarks/speed/throughput.py --engine transformers [--model testbed:aligned]
    .venv-engines/bin/python benchmarks/speed/throughput.py --engine vllm

Both answer the same prompts, by turns, engine start excluded: first one leads, then the other. The
raw side gets its token ids ready made and hands its token ids back; safeft's side is the whole of
it, from prompts to texts. Prints JSON: answers a second of each, and the ratio with a t interval.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from safeft.evaluation import load_suite
from safeft.generation.transformers import TransformersGenerator, prompt_ids
from safeft.models import load_model, load_tokenizer
from safeft.records import Decoding, Prompt, Response
from safeft.stats.distributions import t_quantile

Work = Callable[[Decoding], Any]
Ours = Callable[[Sequence[Prompt], Decoding], list[Response]]


def transformers(model: str, prompts: Sequence[Prompt], batch: int) -> tuple[Ours, Work]:
    """Our generator, new each time so that it remembers no prompt, and `generate` on batches that were padded beforehand."""
    import torch

    weights, tokenizer = load_model(model), load_tokenizer(model)

    def ours(asked: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        return TransformersGenerator(weights, tokenizer, model, batch)(asked, decoding)

    ids = sorted((prompt_ids(tokenizer, one, model) for one in prompts), key=len)
    parts = [
        tokenizer.pad(
            {"input_ids": ids[start : start + batch]}, padding_side="left", return_tensors="pt"
        )
        for start in range(0, len(ids), batch)
    ]

    def raw(decoding: Decoding) -> None:
        sampled = {"do_sample": True, "temperature": decoding.temperature, "top_k": 0}
        greedy = {"do_sample": False}
        torch.manual_seed(decoding.seed)
        with torch.inference_mode():
            for part in parts:
                weights.generate(
                    **part,
                    max_new_tokens=decoding.max_new_tokens,
                    pad_token_id=tokenizer.pad_token_id,
                    **(sampled if decoding.temperature else greedy),
                )

    return ours, raw


def vllm(model: str, prompts: Sequence[Prompt], batch: int) -> tuple[Ours, Work]:
    """Our generator, new each time so that it remembers no answer, and the engine's own `generate` on token ids."""
    from vllm import SamplingParams

    from safeft.generation.vllm import VllmEngine, VllmGenerator

    engine = VllmEngine(model, options={"max_num_seqs": batch, "dtype": "float32"})
    tokenizer = load_tokenizer(model)

    def ours(asked: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        return VllmGenerator(engine)(asked, decoding)

    asked: Any = [{"prompt_token_ids": prompt_ids(tokenizer, one, model)} for one in prompts]
    llm = engine._llm  # the very engine: two would not fit side by side

    def raw(decoding: Decoding) -> None:
        asked_for = SamplingParams(
            temperature=decoding.temperature,
            seed=decoding.seed if decoding.temperature else None,
            max_tokens=decoding.max_new_tokens,
        )
        llm.generate(asked, asked_for, use_tqdm=False)

    return ours, raw


ENGINES = {"transformers": transformers, "vllm": vllm}


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measured(ours: Work, raw: Work, decoding: Decoding, n: int, rounds: int) -> dict[str, Any]:
    """Answers a second of both, and the ratio's interval over rounds."""
    ours(decoding)  # caches, kernels and lazy imports are paid for before
    raw(decoding)
    pairs = []
    for number in range(rounds):
        order = (ours, raw) if number % 2 else (raw, ours)
        took = {work: seconds(partial(work, decoding)) for work in order}
        pairs.append((took[ours], took[raw]))
    ours_S, raw_S = np.array(pairs).T
    logs = np.log(raw_S / ours_S)
    half = t_quantile(0.975, rounds - 1) * logs.std(ddof=1) / math.sqrt(rounds)
    return {
        "temperature": decoding.temperature,
        "answers": n,
        "rounds": rounds,
        "ours_per_second": round(n / float(np.median(ours_S)), 1),
        "raw_per_second": round(n / float(np.median(raw_S)), 1),
        "ratio": [
            round(math.exp(x), 3) for x in (logs.mean(), logs.mean() - half, logs.mean() + half)
        ],
    }


def main() -> None:
    """Measure greedily and at T=0.7."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=ENGINES, default="transformers")
    parser.add_argument("--model", default="testbed:aligned")
    parser.add_argument("--batch", type=int, default=132)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    prompts = load_suite("safeft-44").prompts["harm"]
    ours, raw = ENGINES[arguments.engine](arguments.model, prompts, arguments.batch)
    for temperature in (0.0, 0.7):
        decoding = Decoding(temperature, 0, 64)
        found = measured(
            lambda one: ours(prompts, one), raw, decoding, len(prompts), arguments.rounds
        )
        print(
            json.dumps({"engine": arguments.engine, "batch": arguments.batch, **found}), flush=True
        )


if __name__ == "__main__":
    main()
