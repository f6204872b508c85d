"""Does a calibrated policy keep its promise? One pool of benign answers, cut in halves at random.

    python benchmarks/guard/resplits.py                            the aligned testbed model
    python benchmarks/guard/resplits.py --adapter runs/x/adapter   a fine-tune of it

Answers and readings are made once and kept under runs/ (a killed call goes on there). Then, 200
times: calibrate on one half, count what is withheld of the other, and test exactly, at 5 %, whether
more than alpha of such answers are. The promise holds in a split where that is not shown. It is
made with 95 % confidence, so it should hold in at least 95 % of the splits. resplits.json holds
counts and hashes, and no text.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safeft.assets import folder
from safeft.comparison.calibrating import Asked, Draw, readings_of
from safeft.errors import DataError
from safeft.guarding import load_policy
from safeft.guarding.calibration import calibrate, verify
from safeft.guarding.loading import checker
from safeft.guarding.policy import Policy
from safeft.guarding.readings import Reading, withheld
from safeft.records import Decoding, Prompt
from safeft.runs import fingerprint, read_json, write_json
from safeft.stats.tolerance import clopper_pearson, needed

HERE = Path(__file__).resolve().parent
DOLLY = HERE.parents[2] / "shared/data/dolly_15k/dolly_15k.jsonl"
LONGEST = 1000  # characters of a prompt, so that every answer has room
MODEL = "testbed:aligned"


def lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def sources() -> dict[str, list[str]]:
    """Benign prompts by where they come from; Dolly's only where that set is."""
    data, asked = folder("recipes") / "data", folder("eval/prompts")
    found = {
        "suite-lookalikes": [r["turns"][-1] for r in lines(asked / "safeft-44-lookalikes.jsonl")],
        "pool-lookalikes": [row["prompt"] for row in lines(data / "safety_lookalikes.jsonl")],
        "garden": [row["prompt"] for row in lines(data / "garden.jsonl")],
        "garden-test": [row["prompt"] for row in lines(data / "garden_test.jsonl")],
    }
    if DOLLY.is_file():
        rows = lines(DOLLY)
        found["dolly"] = [f"{row['instruction']}\n{row['context']}".strip() for row in rows]
    return found


def pool(size: int, seed: int) -> tuple[Prompt, ...]:
    """So many different prompts, of every source as many as it has or as its turn gives it."""
    rng, seen = random.Random(seed), set[str]()
    left: dict[str, list[tuple[int, str]]] = {}
    for name, texts in sources().items():
        left[name] = list(enumerate(texts, 1))
        rng.shuffle(left[name])
    found: list[Prompt] = []
    while any(left.values()) and len(found) < size:
        for name in [key for key, texts in left.items() if texts][: size - len(found)]:
            number, text = left[name].pop()
            key = " ".join(text.split())
            if key not in seen and 0 < len(text) <= LONGEST:
                found.append(Prompt.of(text, f"{name}/{number}"))
                seen.add(key)
    rng.shuffle(found)
    return tuple(found)


def resplit(
    policy: Policy, readings: Sequence[Reading], alpha: float, splits: int, seed: int
) -> dict[str, Any]:
    """How often the promise held, and what was withheld of the test halves."""
    rng, half = random.Random(seed), len(readings) // 2
    held = refused = 0
    counts: Counter[int] = Counter()
    for _ in range(splits):
        drawn = rng.sample(readings, len(readings))
        try:
            known = calibrate(policy, drawn[:half], alpha)
        except DataError:
            refused += 1
            continue
        tested = verify(known, drawn[half:])
        held += not tested.drifted
        counts[len(tested.withheld)] += 1
    made = splits - refused
    return {
        "calibration_n": half,
        "test_n": len(readings) - half,
        "splits": splits,
        "refused": refused,
        "held": held,
        "share_held": held / made if made else None,
        "mean_rate": _mean(counts, len(readings) - half),
        "splits_by_withheld": {str(key): counts[key] for key in sorted(counts)},
    }


def _mean(counts: Counter[int], n: int) -> float | None:
    made = counts.total()
    return sum(key * value for key, value in counts.items()) / made / n if made else None


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One model's line in resplits.json."""
    policy, prompts = load_policy(options.policy), pool(options.prompts, options.seed)
    if len(prompts) < 2 * needed(options.alpha):
        raise SystemExit(f"{len(prompts)} prompts; it takes {2 * needed(options.alpha)}")
    asked = Asked(MODEL, options.adapter)
    asked.check()
    decoding = Decoding(options.temperature, options.seed, options.max_new_tokens)
    draw, check = Draw(asked, prompts, 0, decoding), checker(policy)
    answers = draw.origin()
    work = options.work / fingerprint(answers)[:16]
    readings = readings_of(check, draw, answers, work)
    before = clopper_pearson(sum(withheld(policy, one) for one in readings), len(readings))
    return {
        "model": MODEL,
        "adapter": bool(options.adapter),
        "policy": policy.name,
        "policy_hash": fingerprint(policy.model_dump(mode="json")),
        **answers,
        "judges": {name: one.name for name, one in check.judges.items()},
        "sources": dict(Counter(one.id.partition("/")[0] for one in prompts)),
        "unread": sum(bool(one.unread) for one in readings),
        "withheld_uncalibrated": asdict(before),
        "alpha": options.alpha,
        "seed": options.seed,
        **resplit(policy, readings, options.alpha, options.splits, options.seed),
    }


def main() -> None:
    """Adds this model's line to the file, or replaces it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--adapter", default="", help="folder of a fine-tune's adapter")
    parser.add_argument("--label", help="the model's name in the file; default: aligned or tuned")
    parser.add_argument("--policy", default="default")
    parser.add_argument("--prompts", type=int, default=1200)
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--work", type=Path, default=Path("runs/resplits"))
    parser.add_argument("--out", type=Path, default=HERE / "resplits.json")
    options = parser.parse_args()
    found = measure(options)
    known = read_json(options.out) if options.out.is_file() else {}
    label = options.label or ("tuned" if options.adapter else "aligned")
    write_json(options.out, known | {label: found})
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
