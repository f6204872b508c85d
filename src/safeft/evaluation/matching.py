"""Right or wrong answers on the user's own test rows, where a reference can be matched at all.

Which way applies is read off the reference: a letter is a choice, `#### 42` a final answer (as in
GSM8K), a few words are matched whole. A longer reference has no right or wrong answer.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from safeft.data import Example
from safeft.records import Response
from safeft.runs import Lines

MOST_WORDS = 10  # of a reference that an answer may match whole
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_CHOICE = re.compile(r"^\W*([A-H])\W*$")
_SAID = re.compile(r"(?:answer|option|choice)\b\W*(?:is|:)?\W*\(?([A-H])\b", re.IGNORECASE)
_FIRST = re.compile(r"^\W*([A-H])(?:[).:,\]]|\s*$)")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_FINAL = re.compile(r"####\s*(.+)")


def exact_match(answer: str, reference: str) -> float | None:
    """Equal after case, punctuation, articles and white space are folded (SQuAD's rule)."""
    if len(reference.split()) > MOST_WORDS or _FINAL.search(reference):
        return None
    return float(_folded(answer) == _folded(reference))


def final_answer(answer: str, reference: str) -> float | None:
    """Whether the last number said is the one behind `####` (GSM8K's rule)."""
    marked = _FINAL.search(reference)
    wanted = _NUMBER.findall(marked[1]) if marked else []
    if not wanted:
        return None
    said = _NUMBER.findall(answer.partition("####")[2] or answer)
    return float(bool(said) and _value(said[-1]) == _value(wanted[-1]))


def choice(answer: str, reference: str) -> float | None:
    """Whether the letter chosen is the reference's; `The answer is B` and `(B) …` choose B."""
    wanted = _CHOICE.match(reference)
    if not wanted:
        return None
    said = _FIRST.match(answer) or _SAID.search(answer)
    return float(said is not None and said[1].upper() == wanted[1])


WAYS: Mapping[str, Callable[[str, str], float | None]] = {
    "exact_match": exact_match,
    "final_answer_accuracy": final_answer,
    "choice_accuracy": choice,
}


def matched(examples: Sequence[Example], responses: Sequence[Response], path: Path) -> None:
    """Write what each answer is worth in each way; null where the reference has no such answer."""
    if path.is_file():
        return
    with Lines(path) as lines:
        pairs = list(zip(responses, examples, strict=True))[len(lines.done) :]
        lines.append(
            {"id": one.prompt.id}
            | {name: way(one.text, row.messages[-1].content) for name, way in WAYS.items()}
            for one, row in pairs
        )


def _folded(text: str) -> str:
    plain = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(_ARTICLES.sub(" ", plain).split())


def _value(number: str) -> float:
    return float(number.replace(",", ""))
