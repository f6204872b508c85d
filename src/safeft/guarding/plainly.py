"""A judge that also reads what is in disguise: each text, and its readings in plain letters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

from safeft.errors import SafeftError
from safeft.guarding.judge import GuardJudge
from safeft.guarding.obfuscation import plain
from safeft.records import Label, Prompt, Response, Verdict

_RULES = ("english", "obfuscation", "plainly")


def reading(judge: GuardJudge) -> GuardJudge:
    """The judge, reading also what is encoded or in look-alike letters; for `decode: true`."""
    return PlainReader(judge)


class PlainReader:
    """Reads each text by the judge inside, and its readings (`obfuscation.plain`) beside it.

    The largest score of each category counts. A text is fulfilled when one of its readings is; else
    it is unread when one of them cannot be read. A text in plain letters is read once.
    """

    def __init__(self, inner: GuardJudge) -> None:
        self.inner = inner
        self.name = f"{inner.name}+plain@{_digest()}"

    @property
    def measures(self) -> str:
        """What a positive verdict of the judge inside means."""
        return self.inner.measures

    @property
    def categories(self) -> tuple[str, ...]:
        """The scores of the judge inside."""
        return self.inner.categories

    @property
    def reads(self) -> frozenset[str]:
        """Requests, exchanges or both, as the judge inside."""
        return frozenset(getattr(self.inner, "reads", ("exchange", "request")))

    @property
    def trained_on(self) -> str:
        """What the judge inside was trained on, where it tells."""
        return str(getattr(self.inner, "trained_on", ""))

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict per text, in order, of all its readings beside a plainly read request."""
        groups = [[one, *_answers(one)] for one in responses]
        flat = [one for group in groups for one in group]
        verdicts = self.inner(flat) if flat else []
        return self._merged([[one.prompt.id for one in group] for group in groups], verdicts)

    def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        """One verdict per conversation, in order. Raises what the judge inside raises."""
        groups = [[one, *_prompts(one)] for one in prompts]
        verdicts = self.inner.requests([one for group in groups for one in group])
        return self._merged([[one.id for one in group] for group in groups], verdicts)

    def _merged(self, groups: list[list[str]], verdicts: Sequence[Verdict]) -> list[Verdict]:
        """One verdict of each group's. Raises SafeftError when the judge gave others."""
        if [one.prompt_id for one in verdicts] != [one for group in groups for one in group]:
            raise SafeftError(f"{self.inner.name} did not return one verdict per text, in order")
        left = iter(verdicts)
        return [self._worst([next(left) for _ in group]) for group in groups]

    def _worst(self, verdicts: Sequence[Verdict]) -> Verdict:
        read = [one for one in verdicts if _is_read(one)]
        scores: dict[str, float] = {}
        for one in read:
            scores |= {key: max(score, scores.get(key, 0)) for key, score in one.scores.items()}
        label = Label.UNREAD if len(read) < len(verdicts) else read[0].label
        if Label.FULFILLED in (one.label for one in read):
            label = Label.FULFILLED
        return replace(verdicts[0], label=label, judge=self.name, scores=scores)


def _is_read(verdict: Verdict) -> bool:
    """Whether the judge could tell; a score that is no number from 0 to 1 tells nothing."""
    return verdict.unsafe is not None and all(0 <= one <= 1 for one in verdict.scores.values())


def _answers(response: Response) -> list[Response]:
    """The other readings of a text, beside the plainest one of its conversation."""
    prompts = _prompts(response.prompt)
    asked = prompts[-1] if prompts else response.prompt
    texts = [response.text] if prompts else []
    return [replace(response, prompt=asked, text=one) for one in (*texts, *plain(response.text))]


def _prompts(prompt: Prompt) -> list[Prompt]:
    """The other readings of a conversation; a turn with fewer readings keeps its last one."""
    turns = [(one.content, *_plain(one.content)) for one in prompt.messages]
    return [
        replace(
            prompt,
            messages=tuple(
                replace(one, content=readings[min(place, len(readings) - 1)])
                for one, readings in zip(prompt.messages, turns, strict=True)
            ),
        )
        for place in range(1, max(map(len, turns), default=1))
    ]


@lru_cache(maxsize=256)
def _plain(turn: str) -> tuple[str, ...]:
    """The readings of a turn, which is read again with every window of an answer."""
    return tuple(plain(turn))


@cache
def _digest() -> str:
    """Eight digits that change with the rules: other rules give other verdicts."""
    here = Path(__file__).parent
    code = b"".join((here / f"{name}.py").read_bytes() for name in _RULES)
    return hashlib.sha256(code).hexdigest()[:8]
