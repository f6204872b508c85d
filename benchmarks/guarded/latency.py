"""The time that each policy adds to an answer, one request at a time, beside what writing it takes.

    python benchmarks/guarded/latency.py --adapter baseline=runs/a/adapter/epoch-5 \
        --adapter safety_mix=runs/b/adapter/epoch-5 --output benchmarks/guarded/latency.json

The matrix's prompts (132 requests, 132 look-alikes) are answered greedily, one by one, as a user waits
for them; then each policy reads the same request and answer, by turns, in a new order for each prompt.
`added` is the guard's time alone: the mean with a t interval over prompts, the median and the 95th
percentile. What a policy saves by not asking is not counted. Streams are benchmarks/serving's.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from safeft.evaluation import load_suite, replay
from safeft.generation.transformers import TransformersGenerator
from safeft.guarding import Guarded
from safeft.guarding.loading import checker
from safeft.models import load_model, load_tokenizer
from safeft.records import Decoding, Prompt
from safeft.runs import versions, write_json
from safeft.stats.distributions import t_quantile

MODEL, POLICIES = "testbed:aligned", ("input", "default", "both")
Seconds = dict[str, list[float]]


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what the call gave."""
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def measured(adapter: str | None, prompts: Sequence[Prompt], tokens: int) -> Seconds:
    """Seconds for each prompt: of writing (`none`), and of each policy's reading."""
    weights = load_model(MODEL, adapters=[Path(adapter)] if adapter else [], merge=True)
    generator = TransformersGenerator(weights, load_tokenizer(MODEL), MODEL, batch_size=1)
    decoding, checkers = Decoding(0.0, 0, tokens), {name: checker(name) for name in POLICIES}
    spent: Seconds = defaultdict(list)
    for number, prompt in enumerate([*prompts[:3], *prompts]):  # the first three warm up
        wrote, answers = timed(lambda one=prompt: generator([one], decoding))
        seconds = {"none": wrote}
        for name in random.Random(number).sample(POLICIES, len(POLICIES)):
            guarded = Guarded(replay(answers, MODEL, "transformers"), checkers[name])
            seconds[name], _ = timed(lambda one=prompt, by=guarded: by([one], decoding))
        for name, one in seconds.items() if number >= 3 else ():
            spent[name].append(one)
    return spent


def summary(seconds: Sequence[float], written: Sequence[float]) -> dict[str, float]:
    """Milliseconds an answer, and the share of the time that writing takes."""
    times = 1000 * np.array(seconds)
    reach = t_quantile(0.975, len(times) - 1) * times.std(ddof=1) / np.sqrt(len(times))
    median, late = np.quantile(times, [0.5, 0.95])
    found = {"mean_ms": times.mean(), "low": times.mean() - reach, "high": times.mean() + reach}
    found |= {"median_ms": median, "p95_ms": late, "share": sum(seconds) / sum(written)}
    return {key: round(float(value), 4) for key, value in found.items()} | {"n": len(times)}


def main() -> None:
    """Every model by turns, and what each policy adds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--adapter", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    suite = load_suite("safeft-44", ["per_category=3"])
    prompts = list(suite.all_prompts())
    models = {"untuned": None, **dict(one.split("=", 1) for one in options.adapter)}
    found: dict[str, Any] = {}
    for name, adapter in models.items():
        spent = measured(adapter, prompts, suite.max_new_tokens)
        written = summary(spent["none"], spent["none"])
        added = {policy: summary(spent[policy], spent["none"]) for policy in POLICIES}
        found[name] = {"writing": written, "added": added}
        print(json.dumps({name: found[name]}, indent=1), flush=True)
    facts = {"threads": torch.get_num_threads(), "prompts": len(prompts), **versions()}
    write_json(options.output, {"facts": facts, "models": found})


if __name__ == "__main__":
    main()
