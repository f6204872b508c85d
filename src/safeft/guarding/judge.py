"""What a guard's judge is: a judge with categories that also reads requests.

Its verdicts carry a score from 0 to 1 for each of its `categories`; without any, one named
`unsafe`. Where it only says yes or no, the scores are left out and the label speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from safeft.records import Prompt, Response, Verdict


class GuardJudge(Protocol):
    """Reads answers, and requests before there is an answer."""

    @property
    def name(self) -> str:
        """Identity that changes with its weights and rules."""

    @property
    def measures(self) -> str:
        """What a positive verdict means."""

    @property
    def categories(self) -> tuple[str, ...]:
        """The scores that its verdicts carry."""

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict per text that wants to leave, in order."""

    def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        """One verdict per conversation whose last turn is a request, in order.

        Raises ConfigError when this judge reads answers only.
        """
