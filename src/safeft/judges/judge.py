"""The judge protocol: responses in, verdicts out, in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from safeft.records import Response, Verdict


class Judge(Protocol):
    """Reads responses. The same shape serves evaluation (offline) and guarding (online)."""

    @property
    def name(self) -> str:
        """Identity that changes with its weights and rules, e.g. `encoder@1f3a9c2b`."""

    @property
    def measures(self) -> str:
        """What a positive verdict means: fulfilment, harmful content, refusal or toxicity."""

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict per response, in order; what cannot be read is `unread`, never a guess."""
