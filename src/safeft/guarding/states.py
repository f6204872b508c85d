"""Judges that read the served model's own states: told of the model, and of what it writes.

All others know nothing of this; nothing heavy is imported for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol, runtime_checkable

from safeft.guarding.checker import Checker, seen
from safeft.records import Message, Response

Request = tuple[tuple[Message, ...], list[int]]
"""A conversation, and the token ids by which the model reads it."""


@runtime_checkable
class StateJudge(Protocol):
    """A guard judge that looks into a model in this process."""

    def attach(self, model: Any, tokenizer: Any) -> None:
        """From now on it is this model whose states are read.

        Raises ConfigError when the judge was not made for such a model.
        """

    def note(self, responses: Sequence[Response]) -> None:
        """Whole answers of which windows will be asked about: each is read where it stands."""

    def riding(self, requests: Sequence[Request]) -> AbstractContextManager[None]:
        """Reads along while the model answers these in the calling thread, until the block ends.

        Several rows of a batch may answer one request, as `num_return_sequences` has it.
        """


def state_judges(checker: Checker) -> list[StateJudge]:
    """Those of a checker's judges that are, each once."""
    every = [*checker.judges.values(), *checker.seconds.values()]
    inner = [getattr(one, "inner", one) for one in every]  # behind what reads disguises
    return list({id(one): one for one in inner if isinstance(one, StateJudge)}.values())


def attach(checker: Checker, model: Any, tokenizer: Any) -> list[StateJudge]:
    """Tells them whose states to read. Raises ConfigError for one that does not fit the model."""
    found = state_judges(checker)
    for one in found:
        one.attach(model, tokenizer)
    return found


def note(checker: Checker, responses: Sequence[Response]) -> None:
    """Tells them of whole answers, with as much of the conversations as they will see."""
    if found := state_judges(checker):
        turns = checker.policy.turns
        shown = [Response(seen(one.prompt, turns), one.text) for one in responses]
        for one in found:
            one.note(shown)


@contextmanager
def riding(judges: Sequence[StateJudge], requests: Sequence[Request]) -> Iterator[None]:
    """All of them read along."""
    with ExitStack() as stack:
        for one in judges:
            stack.enter_context(one.riding(requests))
        yield
