"""Surface signs of rows after which models refuse less, read off the text alone.

Lists and arithmetic were common among the harmless rows that erode refusals most (He et al.,
arXiv 2404.01099; from memory), long answers to open questions in DataShield's (arXiv 2606.00160,
abstract). They say nothing about a single row and are reported beside a score, never mixed into it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from safeft.data.formats import Example

SIGNS = ("list", "math", "long_open")
LISTED = 3  # items that make a list
LONG = 150  # words of a long answer
ASKED = 50  # words of a request that brings no text of its own to answer from
_ITEM = re.compile(r"^\s*(?:[-*•–]|\(?\d{1,3}[.)]|[a-zA-Z][.)])\s+\S", re.MULTILINE)
_MATH = re.compile(
    r"[\d)]\s*=\s*[-+$€£]?\s*[\d(]"  # … = 42
    r"|\d\s*[+×÷^]\s*\d"
    r"|\\(?:frac|sqrt|boxed|times|sum|int)\b"
)


@dataclass(frozen=True, slots=True)
class Signs:
    """What an answer looks like; `words` is its length."""

    list: bool
    math: bool
    long_open: bool
    words: int

    @property
    def present(self) -> tuple[str, ...]:
        """The names of those that are there."""
        return tuple(name for name in SIGNS if getattr(self, name))


def signs(example: Example) -> Signs:
    """The signs of a row's last answer, or of a whole document.

    A list has three items or more, a line each; math is an equation or a sum of numbers. An answer
    is long and open when it has 150 words or more, and its request 50 or fewer: it was not given
    a text to answer from.
    """
    answer = example.messages[-1].content if example.messages else example.text
    request = example.requests[-1] if example.messages else ""
    words = len(answer.split())
    listed = len(_ITEM.findall(answer)) >= LISTED
    is_open = words >= LONG and len(request.split()) <= ASKED
    return Signs(listed, bool(_MATH.search(answer)), is_open, words)
