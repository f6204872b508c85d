"""The encoder judge, its encoder in bfloat16: several times as fast where processors have AMX."""

from __future__ import annotations

from collections.abc import Sequence

from safeft.judges.encoder import EncoderJudge
from safeft.models.encoder import precision
from safeft.records import Response, Verdict


class Bfloat16Judge(EncoderJudge):
    """`encoder` with rounded embeddings: a judge of its own name, since verdicts near a threshold
    may differ, here and from machine to machine.
    """

    def __init__(self) -> None:
        """Raises ModelError when the shipped weights are missing."""
        super().__init__()
        self.name = self.name.replace("encoder@", "encoder-bf16@")

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict per response, in order; scores as `encoder` gives them."""
        with precision("bfloat16"):
            return super().__call__(responses)
