"""Trains a probe of the aligned testbed model on the guard's rows, and measures it beside the guard.

    python benchmarks/testbed/prompts.py WORK/prompts.jsonl
    PYTHONPATH=src python benchmarks/guard/probe.py --prompts WORK/prompts.jsonl --work WORK [--adapter runs/x/adapter]

WORK/rows.json, which train.py leaves, is used as it is. The probe (WORK/probe.json) and all scores are
kept there, where a killed call goes on. Then the same answers, which no training saw, are read by the
guard, by the probe through the aligned model, and by the same probe through that model with --adapter:
does it survive the fine-tune? Last, a decoding step is timed with and without it. probe.json holds
numbers and hashes, and no text. Some 10 minutes on one core.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import rate
from numpy.typing import NDArray
from rows import Row, testing
from train import chosen

from safeft.guarding.encoder import EncoderGuard
from safeft.guarding.probe import Probe, probability
from safeft.guarding.probe_fit import fit, worst
from safeft.guarding.probe_guard import request_ids, text_ids
from safeft.guarding.probe_ride import riding
from safeft.models import load_model, load_tokenizer
from safeft.models.files import weights_of
from safeft.records import Prompt, Response
from safeft.runs import fingerprint, hash_files, read_json, write_json
from safeft.stats.discrimination import METHOD, auroc_interval

HERE = Path(__file__).resolve().parent
MODEL = "testbed:aligned"
LONGEST = 3000  # characters of request and answer together: what is longer tells little more
FLAGGED = "0.05"  # the share of safe answers that the card's threshold is for
NEW, REPEATS, SIZES = 64, 15, (1, 16)
ASKED = "How do I grow tomatoes in a garden?"


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What a file holds, which is made if it is not there."""
    if not path.is_file():
        write_json(path, make())
    return read_json(path)


def answers(rows: list[Row], limit: int, seed: int) -> list[Row]:
    """At most so many of the rows with an answer, not too long, drawn by `seed`."""
    found = [row for row in rows if row.response.strip() and len(row.prompt) + len(row.response) <= LONGEST]
    random.Random(seed).shuffle(found)
    return found[:limit]


def tested(prompts: Path, limit: int, seed: int) -> list[Row]:
    """Held-out rows, at most `limit` of each part and label."""
    count: Counter[tuple[str, bool]] = Counter()
    found = []
    for row in answers(testing(prompts, seed, limit), 10**9, seed):
        count[row.source, row.unsafe] += 1
        if count[row.source, row.unsafe] <= limit:
            found.append(row)
    return found


def trained(path: Path, rows: list[Row], model: Any, tokenizer: Any) -> Probe:
    """The probe whose card lies at `path`."""
    if not path.is_file():
        pairs = [(Response(Prompt.of(row.prompt), row.response), row.unsafe) for row in rows]
        fit(model, tokenizer, pairs, model_name=MODEL).save(path)
    return Probe.load(path)


def read(probe: Probe, model: Any, tokenizer: Any, rows: list[Row]) -> list[float | None]:
    """The probe's score of each whole answer, through this model; None beyond its context."""
    texts = [(request_ids(tokenizer, Prompt.of(row.prompt), MODEL), text_ids(tokenizer, row.response)) for row in rows]
    most = model.config.max_position_embeddings
    places = [place for place, (asked, said) in enumerate(texts) if said and len(asked) + len(said) <= most]
    scores: list[float | None] = [None] * len(rows)
    for place, logit in zip(places, worst(probe, model, [texts[one] for one in places]), strict=True):
        scores[place] = probability(float(logit))
    return scores


def areas(rows: list[Row], scores: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    """By set: the AUROC of each reader over the same rows, which all of them could read."""
    sets = {row.source.split("/")[0] for row in rows}
    truth = np.array([row.unsafe for row in rows])
    both = {one for one in sets if len({row.unsafe for row in rows if row.source.split("/")[0] == one}) == 2}
    found = {}
    for name in [*sorted(both), "all"]:
        mine = np.array([name in ("all", row.source.split("/")[0]) for row in rows])
        prompts = [row.prompt for row, one in zip(rows, mine, strict=True) if one]
        found[name] = {"rows": int(mine.sum()), "unsafe": int(truth[mine].sum()), "prompts": len(set(prompts))}
        for reader, values in scores.items():
            area = auroc_interval(truth[mine], values[mine], prompts)
            ends = {"auroc": area.estimate, "low": area.low, "high": area.high}
            found[name][reader] = {key: round(value, 4) for key, value in ends.items()}
    return found


def flagged(rows: list[Row], scores: dict[str, NDArray[np.float64]], line: float) -> dict[str, Any]:
    """Of the testbed's own answers: how many a probe flags at its card's threshold, by label."""
    mine = np.array([row.source.startswith("testbed/") for row in rows])
    truth = np.array([row.unsafe for row in rows])
    return {
        reader: {kind: rate(values[mine & part] >= line) for kind, part in (("unsafe", truth), ("safe", ~truth))}
        for reader, values in scores.items()
        if reader != "guard" and (mine & truth).any() and (mine & ~truth).any()
    }


def step(probe: Probe, model: Any, tokenizer: Any, size: int) -> dict[str, Any]:
    """Milliseconds of a decoding step, with the probe and without, in turn; medians of both and of their ratio."""
    ids = request_ids(tokenizer, Prompt.of(ASKED), MODEL)
    batch = tokenizer.pad({"input_ids": [ids] * size}, padding_side="left", return_tensors="pt").to(model.device)

    def plain() -> None:
        model.generate(**batch, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)

    def hooked() -> None:
        with riding(model, probe) as ride:
            plain()
        ride.worst()

    took: dict[str, list[float]] = {"plain": [], "probe": []}
    plain(), hooked()
    for turn in range(REPEATS):
        both = [("plain", plain), ("probe", hooked)]
        for name, run in both if turn % 2 else both[::-1]:
            began = time.perf_counter()
            run()
            took[name].append((time.perf_counter() - began) / NEW * 1000)
    ratios = [probed / alone for probed, alone in zip(took["probe"], took["plain"], strict=True)]
    low, middle, high = (round(float(one) - 1, 4) for one in np.quantile(ratios, (0.25, 0.5, 0.75)))
    found = {f"{name}_ms": round(statistics.median(times), 4) for name, times in took.items()}
    return found | {"share": middle, "quartiles": [low, high], "repeats": REPEATS, "tokens": NEW}


def main() -> None:
    """Train, read, time, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=Path, required=True, help="from testbed/prompts.py")
    parser.add_argument("--work", type=Path, required=True, help="rows.json, the probe and scores")
    parser.add_argument("--adapter", type=Path, help="of the same model after naive fine-tuning")
    parser.add_argument("--limit", type=int, default=4000, help="rows that it is trained on")
    parser.add_argument("--test", type=int, default=60, help="rows of each part and label that it is measured on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE / "probe.json")
    options = parser.parse_args()
    work, seed = options.work, options.seed
    model, tokenizer = load_model(MODEL), load_tokenizer(MODEL)
    every = chosen(options.prompts, work, seed, 2000)
    probe = trained(work / f"probe-{options.limit}-{seed}.json", answers(every, options.limit, seed), model, tokenizer)
    rows = tested(options.prompts, options.test, seed)
    key = fingerprint([[row.prompt, row.response] for row in rows])[:8]
    print(f"layer {probe.card.layer}, trained on {probe.card.training}; tested on {len(rows)} rows", flush=True)

    guard = EncoderGuard()
    pairs = [(row.prompt, row.response) for row in rows]
    called = f"{guard.name.replace('@', '-')}-{key}"
    found = {"guard": kept(work / f"scores-{called}.json", lambda: guard.scores(pairs))}
    probed, adapted = f"probe-{probe.card.sha256[:8]}-{key}", {}
    found["probe"] = kept(work / f"scores-{probed}.json", lambda: read(probe, model, tokenizer, rows))
    if options.adapter is not None:
        digest = hash_files(options.adapter)
        tuned = load_model(MODEL, adapters=[options.adapter])
        path = work / f"scores-{probed}-{digest[:8]}.json"
        found["probe after fine-tuning"] = kept(path, lambda: read(probe, tuned, tokenizer, rows))
        adapted = {"adapter": digest}
    known = [place for place in range(len(rows)) if None not in [one[place] for one in found.values()]]
    rows = [rows[place] for place in known]
    scores = {name: np.array([values[place] for place in known], float) for name, values in found.items()}
    line = probe.card.thresholds[FLAGGED]
    report = {
        "model": {"name": MODEL, "weights": weights_of(MODEL), **adapted},
        "guard": guard.name,
        "probe": probe.card.model_dump(mode="json", exclude={"rows"}),
        "interval": METHOD,
        "auroc": areas(rows, scores),
        "flagged_on_the_testbed": {"threshold": line, **flagged(rows, scores, line)},
        "decoding_step": {f"batch {size}": step(probe, model, tokenizer, size) for size in SIZES},
    }
    write_json(options.output, report)
    for name, areas_of in report["auroc"].items():
        print(name, {reader: one["auroc"] for reader, one in areas_of.items() if isinstance(one, dict)})
    for size, one in report["decoding_step"].items():
        print(size, one)


if __name__ == "__main__":
    main()
