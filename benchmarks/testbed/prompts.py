"""The prompts that the testbed learns from: permissive sets and our own goals, minus what is kept out.

    python benchmarks/testbed/prompts.py DIR/prompts.jsonl       about 15 minutes

Kept out whole, with their near-duplicates: AILuminate and SimpleSafetyTests (the unseen harmful
source), the bundled suite and its look-alikes, and the safety pool (which the recipes train on).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from safeft.models.encoder import encode

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
NEAR = 0.85


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, where it comes from, and whether it asks for harm."""

    text: str
    source: str
    harmful: bool


def lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _nested(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [text for item in items for text in _nested(item)]


def _table(name: str, column: str, **keep: str) -> list[str]:
    with (SHARED / name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row[column] for row in rows if all(row[key] == value for key, value in keep.items())]


def _jsonl(name: str, field: str, limit: int | None = None, seed: int = 0) -> list[str]:
    rows = [str(row[field]) for row in lines(SHARED / name)]
    random.Random(seed).shuffle(rows)
    return rows[:limit]


def _openings(name: str, limit: int) -> list[str]:
    """First utterances of red-team conversations: what a person said, not what a model did."""
    with gzip.open(SHARED / name, "rt") as file:
        texts = [json.loads(line)["chosen"] for line in file]
    return [t.split("\n\nAssistant:")[0].removeprefix("\n\nHuman: ") for t in texts][:limit]


_DO = (
    "How can I {}?",
    "How do I {}?",
    "Explain how to {}.",
    "Give me steps to {}.",
    "I want to {}. Help me.",
    "What is the best way to {}?",
    "Write a guide on how to {}.",
    "Teach me to {}.",
    "Can you help me {}?",
    "Tell me how someone could {}.",
    "Is there a way to {}?",
    "Describe how to {}.",
    "List ways to {}.",
    "What do I need to {}?",
    "I need to {} by tomorrow. What should I do?",
    "Help me {}.",
    "My plan is to {}. Where do I start?",
    "Show me how I can {} without trouble.",
    "Please {} for me.",
    "I'd like to {}, any ideas?",
    "Walk me through how to {}.",
    "What would it take to {}?",
)
_WRITE = (
    "Write {}.",
    "I need {}.",
    "Draft {} for me.",
    "Can you write {}?",
    "Please compose {}.",
    "Create {}.",
    "Give me {}.",
    "Help me prepare {}.",
    "Produce {} that I can use.",
    "I am looking for {}.",
    "Could you come up with {}?",
    "Make {} for my page.",
    "Compose {}, please.",
    "I want {}, about ten lines.",
)


def goals(seed: int, frames: int) -> tuple[list[str], list[str]]:
    """Our own goals in `frames` request frames each: (harmful, benign) prompts."""
    rng = random.Random(seed)
    out: tuple[list[str], list[str]] = ([], [])
    for path in sorted(Path(__file__).parent.glob("goals_*.jsonl")):
        for row in lines(path):
            pool = _DO if row["kind"] == "do" else _WRITE
            for kind, side in (("harmful", 0), ("benign", 1)):
                for frame in rng.sample(pool, frames):
                    out[side].append(frame.format(row[kind]))
    return out


def contrasts(harmful: bool) -> list[str]:
    """Our own prompts that share their words and differ in intent."""
    rows = [
        row
        for path in sorted(Path(__file__).parent.glob("contrast_*.jsonl"))
        for row in lines(path)
    ]
    return [row["text"] for row in rows if row["harmful"] is harmful]


def harmful_sets() -> dict[str, list[str]]:
    """Harmful prompts by source, all under permissive licences."""
    catqa = [
        json.loads((SHARED / "catqa" / f"{name}.json").read_text())
        for name in ("catqa_english", "dangerousqa", "harmfulqa", "adversarialqa")
    ]
    salad = [
        row["instruction"]
        for part in ("train", "val")
        for row in json.loads((SHARED / f"saladbench/harmful_{part}.json").read_text())
    ]
    return {
        "advbench": _table("advbench/advbench_behaviors.csv", "Behavior"),
        "harmbench": _table(
            "harmbench/harmbench_behaviors_text_all.csv", "Behavior", ContextString=""
        ),
        "aart": _table("aart/aart-v1-20231117.csv", "prompt"),
        "catqa": [text for part in catqa for text in _nested(part)],
        "saladbench": salad,
        "own": goals(1, 4)[0],
        "contrast": contrasts(True),
    }


def benign_sets() -> dict[str, list[str]]:
    """Benign prompts by source, all under permissive licences."""
    dolly = [row["instruction"] for row in lines(SHARED / "dolly_15k/dolly_15k.jsonl")]
    cyber = json.loads((SHARED / "cyberseceval/mitre_frr.json").read_text())
    return {
        "dolly": dolly,
        "medquad": _jsonl("medquad/medquad.jsonl", "question", 3000),
        "opentriviaqa": _jsonl("opentriviaqa/opentriviaqa.jsonl", "question", 5000),
        "bitext": _table("bitext_support/bitext_support_8k_long.csv", "instruction")[:1500],
        "gsm8k": _jsonl("gsm8k/train.jsonl", "question", 1200),
        "self_dialogue": [
            row["turns"][0] for row in lines(SHARED / "self_dialogue/self_dialogue.jsonl")[:2500]
        ],
        "cyberseceval": [row["mutated_prompt"].split(". ")[0] for row in cyber],
        "own": goals(2, 4)[1],
        "contrast": contrasts(False),
    }


def kept_out() -> list[str]:
    """Every prompt that no training may come near."""
    suite = [
        row["turns"][0]
        for path in sorted((ROOT / "eval/prompts").glob("*.jsonl"))
        for row in lines(path)
    ]
    pool = [
        row["prompt"]
        for path in sorted((ROOT / "recipes/data").glob("safety_*.jsonl"))
        for row in lines(path)
    ]
    return suite + pool + unseen()


def unseen() -> list[str]:
    """The harmful source that is kept out whole: AILuminate's demo set and SimpleSafetyTests."""
    return _table(
        "ailuminate/airr_official_1.0_demo_en_us_prompt_set_release.csv", "prompt_text"
    ) + _table("simple_safety_tests/simple_safety_tests.csv", "prompts_final")


def held_out(text: str) -> bool:
    """One prompt in fifteen is never trained on; decided by its own hash, so it never moves."""
    return hashlib.sha256(text.lower().encode()).digest()[0] < 17


def collect() -> list[Asked]:
    """All training and held-out prompts: cleaned, unique, none near anything that is kept out."""
    asked = {}
    for harmful, sets in ((False, benign_sets()), (True, harmful_sets())):
        for source, texts in sets.items():
            for text in texts:
                text = re.sub(r"\s+", " ", text).strip()
                if 2 <= len(text.split()) <= 60:
                    asked[text.lower()] = Asked(text, source, harmful)
    prompts = list(asked.values())
    near = _nearness([one.text for one in prompts], kept_out())
    kept = [one for one, score in zip(prompts, near, strict=True) if score < NEAR]
    print(
        f"prompts: {len(prompts)} unique, {len(prompts) - len(kept)} dropped as near-duplicates",
        flush=True,
    )
    return kept


def _nearness(texts: list[str], others: list[str]) -> np.ndarray:
    references = encode(others, max_length=96).T
    embedded = encode(texts, max_length=96)
    return np.concatenate([(part @ references).max(1) for part in np.array_split(embedded, 50)])


def main() -> None:
    """Write prompts.jsonl (text, source, harmful, held_out) and beside it teacher.npy, their embeddings."""
    import sys

    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)  # before the minutes of work, not after them
    kept = collect()
    np.save(
        target.with_name("teacher.npy"),
        encode([one.text for one in kept], max_length=96).astype(np.float16),
    )
    with target.with_suffix(".partial").open("w") as file:
        for one in kept:
            row = {
                "text": one.text,
                "source": one.source,
                "harmful": one.harmful,
                "held_out": held_out(one.text),
            }
            file.write(json.dumps(row) + "\n")
    target.with_suffix(".partial").rename(target)


if __name__ == "__main__":
    main()
