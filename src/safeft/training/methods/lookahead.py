"""Look-ahead tuning: the beginning of the answer stands in the request already.

Liu et al. (arXiv 2503.19041). `virtual` appends a fixed text P to the request and begins the answer
with it, so that the first tokens, on which refusals hang, are the same in every row and nothing is
learnt about them. `real` appends the answer's own first m tokens to the request. Requests are asked
as they are once the model is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.data import Example
from safeft.errors import DataError
from safeft.training.methods.context import Applied, Context
from safeft.training.methods.method import DataMethod


class Lookahead(DataMethod):
    """Show in the request how the answer begins."""

    source: ClassVar[str] = "2503.19041"
    evidence: ClassVar[str] = (
        "for: keeps safety at no cost (2503.19041); "
        "against: with `virtual` the served answers begin with the text too"
    )

    name: Literal["lookahead"]
    mode: Literal["virtual", "real"] = Field(
        "virtual", description="virtual: `prefix` in request and answer; real: the answer's tokens"
    )
    prefix: str = Field("Let's solve this problem.", min_length=1, description="virtual: P")
    tokens: int = Field(6, gt=0, description="real: m, tokens of the answer in the request")

    def apply(self, examples: Sequence[Example], context: Context) -> Applied:
        """Change the last request, and with `virtual` the last answer, of every row.

        Raises DataError for plain texts, and for `real` without the model's tokenizer.
        """
        if any(example.text for example in examples):
            raise DataError("lookahead: plain `text` rows have no requests; give chats")
        if self.mode == "virtual":
            changed = [_told(one, self.prefix, f"{self.prefix} ") for one in examples]
        else:
            tokenizer = _tokenizer(context)
            changed = [_told(one, self._begin(one, tokenizer), "") for one in examples]
        return Applied(tuple(changed), {"rows": len(changed), "mode": self.mode})

    def _begin(self, example: Example, tokenizer: Any) -> str:
        """The text of the answer's first tokens."""
        answer = example.messages[-1].content
        spans = tokenizer(answer, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in spans["offset_mapping"][: self.tokens]]
        return answer[: max(ends, default=0)].strip()


def _tokenizer(context: Context) -> Any:
    if context.tokenizer is None:
        raise DataError(
            "lookahead: mode real counts the model's tokens, and its tokenizer is not to be had "
            "behind an endpoint; use mode: virtual"
        )
    return context.tokenizer()


def _told(example: Example, shown: str, begun: str) -> Example:
    """The row with `shown` at the end of its last request and `begun` before its last answer."""
    *before, request, answer = example.messages
    asked = replace(request, content=f"{request.content} {shown}")
    said = replace(answer, content=f"{begun}{answer.content}")
    return replace(example, messages=(*before, asked, said))
