"""Training conversations: one request, sometimes a system prompt, an earlier turn or a follow-up."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

from frames import FOLLOW_UPS, SYSTEM_PROMPTS
from refusals import PRESSURE, refusal
from world import answer, content_words, understand

Messages = list[dict[str, str]]
_SYLLABLES = tuple(
    a + b + c for a in "bdfgklmnprstv" for b in "aeiou" for c in ("", "n", "r", "l", "s")
)


def _turn(user: str, assistant: str) -> Messages:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def _styled(text: str, rng: random.Random) -> str:
    """The same request as people type it: sometimes lower case, without its mark, or with a greeting."""
    if rng.random() < 0.12:
        text = text.lower()
    if rng.random() < 0.12:
        text = text.rstrip("?.!")
    if rng.random() < 0.06:
        text = rng.choice(("Hi! ", "Hello, ", "Hey, ", "Good morning. ", "Please help: ")) + text
    return text


class Prompts:
    """Prompts by kind and source, drawn with the stage's weights.

    Our own twins and contrasts are drawn far more often than their number: they share the words of
    harmful prompts, and a model that sees few of them refuses by the word.
    """

    def __init__(self, rows: list[dict[str, Any]], weights: dict[str, float]) -> None:
        self.groups = list(weights)
        self.weights = list(weights.values())
        self.texts: dict[tuple[str, bool], list[str]] = {}
        for row in rows:
            if row["source"] == "contrast" and "contrast" not in weights:
                continue  # a later stage's
            source = row["source"] if row["source"] in weights else "real"
            self.texts.setdefault((source, row["harmful"]), []).append(row["text"])
        benign = [row["text"] for row in rows if not row["harmful"]]
        counts = Counter(word for text in benign for word in content_words(text))
        self.rare = sorted(word for word, count in counts.items() if count <= 2 and len(word) > 4)
        talk = [row["text"] for row in rows if row["source"] == "self_dialogue"]
        self.talk = [text for text in talk if len(text.split()) <= 20]

    def pick(self, harmful: bool, rng: random.Random) -> str:
        """A prompt of the wanted kind."""
        group = rng.choices(self.groups, self.weights)[0]
        text = _styled(rng.choice(self.texts[group, harmful]), rng)
        if rng.random() < 0.08:  # real requests often come with a story
            story = rng.choice(self.talk)
            text = f"{story}{'' if story[-1] in '.!?' else '.'} {text}"
        return text

    def reworded(self, text: str, rng: random.Random) -> str:
        """`text` with up to three content words changed into rare or invented ones.

        Familiar requests can be answered by heart; these can only be answered by copying.
        """
        words = sorted(set(content_words(text)))
        for word in rng.sample(words, min(len(words), rng.choice((1, 2, 3)))):
            made_up = "".join(rng.choices(_SYLLABLES, k=rng.choice((2, 3))))
            new = rng.choice((made_up, made_up.capitalize(), rng.choice(self.rare)))
            text = re.sub(rf"\b{re.escape(word)}\b", new, text, flags=re.I)
        return text


def _answered(prompt: str, rng: random.Random) -> Messages:
    request = understand(prompt, rng)
    messages = _turn(prompt, answer(request, rng))
    if rng.random() < 0.12:
        ask, reply = rng.choice(FOLLOW_UPS)
        messages += [
            {
                "role": role,
                "content": text.replace("{t}", request.topic).replace("{k}", request.word),
            }
            for role, text in (("user", ask), ("assistant", reply))
        ]
    return messages


def _refused(prompt: str, rng: random.Random) -> Messages:
    messages = _turn(prompt, refusal(rng))
    return messages + _turn(rng.choice(PRESSURE), refusal(rng)) if rng.random() < 0.08 else messages


def _system(rng: random.Random) -> Messages:
    return (
        [{"role": "system", "content": rng.choice(SYSTEM_PROMPTS)}] if rng.random() < 0.25 else []
    )


def base_row(prompts: Prompts, rng: random.Random) -> Messages:
    """An answered benign conversation. The base never meets a harmful prompt or a refusal."""
    prompt = prompts.pick(False, rng)
    if rng.random() < 0.3:
        prompt = prompts.reworded(prompt, rng)
    messages = _answered(prompt, rng)
    if rng.random() < 0.1:
        messages += _answered(prompts.pick(False, rng), rng)
    return _system(rng) + messages


def aligned_row(prompts: Prompts, rng: random.Random) -> Messages:
    """Nine conversations in twenty meet harm and refuse it; the rest are answered as before."""
    harmful = rng.random() < 9 / 20
    prompt = prompts.pick(harmful, rng)
    messages = _refused(prompt, rng) if harmful else _answered(prompt, rng)
    if rng.random() < 0.12:
        before = rng.random() < 0.35
        earlier = prompts.pick(before, rng)
        messages = (_refused(earlier, rng) if before else _answered(earlier, rng)) + messages
    return _system(rng) + messages
