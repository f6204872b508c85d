"""Which of the guard's categories a harmful prompt belongs to, where its set or our goals say so."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared" / "data"

CATEGORIES = (
    "violence", "weapons", "illegal_activity", "cyber", "fraud", "hate", "harassment", "self_harm",
    "sexual", "privacy", "misinformation", "advice", "other",
)  # fmt: skip
# SORRY-Bench's 44 categories (2025-03), in which our goals and pools are numbered.
NUMBERED = {
    "violence": (7, 19, 21, 24, 27, 36), "weapons": (18, 31), "illegal_activity": (10, 11, 16, 20, 22, 23),
    "cyber": (12, 13), "fraud": (14, 15), "hate": (2, 30, 35), "harassment": (1, 3, 5, 8), "self_harm": (6, 39),
    "sexual": (4, 9, 25, 26), "privacy": (17,), "misinformation": (28, 29, 37, 38), "advice": (40, 41, 42, 43, 44),
    "other": (32, 33, 34),
}  # fmt: skip
BY_NUMBER = {str(number): kind for kind, numbers in NUMBERED.items() for number in numbers}
CATQA = {
    "Illegal Activity": "illegal_activity", "Weapon:": "weapons", "Cybercrime:": "cyber", "Child Abuse": "illegal_activity",
    "Content Sexual exploitation": "sexual", "Online predation": "sexual", "Physical abuse": "violence",
    "Racial or ethnic hate": "hate", "Religious intolerance": "hate", "Gender-based violence": "violence",
    "Cyberbullying": "harassment", "Terrorism and extremism": "violence", "Malware Viruses": "cyber",
    "Self-harm": "self_harm", "Assault and battery": "violence", "Hazardous material handling": "weapons",
    "Weapon making": "weapons", "Economic Harm": "fraud", "Intellectual property theft": "illegal_activity",
    "Fraud/Deception": "fraud", "False advertising": "misinformation", "Adult Content": "sexual",
    "Political Campaigning": "other", "Political misinformation": "misinformation", "Election advertising": "misinformation",
    "Privacy Violation Activity": "privacy", "Tailored Financial Advice": "advice",
}  # fmt: skip
HARMBENCH = {
    "copyright": "illegal_activity", "cybercrime_intrusion": "cyber", "illegal": "illegal_activity",
    "misinformation_disinformation": "misinformation", "chemical_biological": "weapons", "harassment_bullying": "harassment",
}  # fmt: skip
AART = (  # the first word that a row's "crime" contains
    ("cyber", "cyber"), ("hate", "hate"), ("motivated by", "hate"), ("prostit", "sexual"), ("pornograph", "sexual"), ("sex", "sexual"),
    ("rape", "sexual"), ("fraud", "fraud"), ("ponzi", "fraud"), ("pyramid", "fraud"), ("financial crime", "fraud"), ("embezzle", "fraud"),
    ("tax evasion", "fraud"), ("identity theft", "privacy"), ("bombing", "weapons"), ("terror", "violence"), ("assassin", "violence"),
    ("violence", "violence"), ("kidnap", "violence"), ("cockfight", "violence"), ("dog fight", "violence"), ("hijack", "violence"),
    ("assault", "violence"), ("murder", "violence"), ("arson", "violence"), ("cruelty", "violence"), ("animal abuse", "violence"),
    ("drug addiction", "self_harm"), ("drug abuse", "self_harm"), ("alcohol abuse", "self_harm"), ("drug", "illegal_activity"),
    ("trafficking", "illegal_activity"), ("smuggling", "illegal_activity"), ("laundering", "illegal_activity"), ("theft", "illegal_activity"),
    ("burgl", "illegal_activity"), ("robbery", "illegal_activity"), ("shoplift", "illegal_activity"), ("vandal", "illegal_activity"),
    ("property crime", "illegal_activity"), ("dumping", "illegal_activity"), ("environmental", "illegal_activity"), ("other crimes", "other"),
)  # fmt: skip


def plain(text: str) -> str:
    """How prompts are told apart: without case and double spaces."""
    return " ".join(text.lower().split())


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _catqa() -> dict[str, str]:
    nested = json.loads((SHARED / "catqa/catqa_english.json").read_text())
    return {
        plain(text): CATQA.get(second) or CATQA.get(first, "")
        for first, parts in nested.items()
        for second, texts in parts.items()
        for text in texts
    }


def _table(path: str) -> list[dict[str, str]]:
    with (SHARED / path).open(newline="") as file:
        return list(csv.DictReader(file))


def known() -> dict[str, str]:
    """The category of each prompt that has one, by its plain text."""
    harmbench = {
        plain(row["Behavior"]): HARMBENCH.get(row["SemanticCategory"], "")
        for row in _table("harmbench/harmbench_behaviors_text_all.csv")
    }
    aart = {
        plain(row["prompt"]): next((kind for word, kind in AART if word in row["crime"].lower()), "")
        for row in _table("aart/aart-v1-20231117.csv")
    }
    return {text: kind for text, kind in {**_catqa(), **harmbench, **aart, **_goals()}.items() if kind}


def _goals() -> dict[str, str]:
    """Our own goals: every frame that the testbed's prompts put them in ends up with their kind."""
    return {
        plain(row["harmful"]): BY_NUMBER[row["category"]]
        for path in sorted((HERE.parent / "testbed").glob("goals_*.jsonl"))
        for row in _lines(path)
    }


def kind_of(text: str, table: dict[str, str], goals: dict[str, str]) -> str:
    """A prompt's category, or nothing; our goals are found inside their frames."""
    words = plain(text)
    return table.get(words) or next((kind for goal, kind in goals.items() if goal in words), "")
