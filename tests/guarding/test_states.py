"""Laws of who is told of the served model: judges that read its states, and no others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from guarding.reading import Reading, checking
from safeft.errors import ConfigError
from safeft.guarding import Guarded
from safeft.guarding.plainly import reading
from safeft.guarding.states import Request, StateJudge, attach, note, riding, state_judges
from safeft.records import Decoding, Message, Prompt, Response

TURNS = tuple(Message("user" if place % 2 == 0 else "assistant", f"t{place}") for place in range(5))


class Inside(Reading):
    """A judge that is told; it keeps what it hears."""

    def __init__(self, *, fits: bool = True) -> None:
        super().__init__(lambda text: 0.1)
        self.heard: list[Any] = []
        self.fits = fits

    def attach(self, model: Any, tokenizer: Any) -> None:
        if not self.fits:
            raise ConfigError("another width")
        self.heard.append(("model", model, tokenizer))

    def note(self, responses: Sequence[Response]) -> None:
        self.heard.append(("noted", list(responses)))

    @contextmanager
    def riding(self, requests: Sequence[Request]) -> Iterator[None]:
        self.heard.append(("on", list(requests)))
        yield
        self.heard.append("off")


def test_only_judges_of_states_are_told() -> None:
    """Also behind what reads disguises, also as a second judge, and each once."""
    inside, other = Inside(), Reading(lambda text: 0.1)
    assert isinstance(inside, StateJudge) and not isinstance(other, StateJudge)
    both = {"escalate": {"judge": "another"}}
    for judge, second in ((inside, other), (reading(inside), inside), (other, reading(inside))):
        made = checking(judge, second, output=both, reasoning={})
        assert state_judges(made) == [inside]
    assert state_judges(checking(other)) == []


def test_all_of_them_read_one_model() -> None:
    """One that does not fit it says so at once."""
    one, two = Inside(), Inside()
    assert attach(checking(one, two, output={"escalate": {"judge": "b"}}), "m", "t") == [one, two]
    assert one.heard == two.heard == [("model", "m", "t")]
    with pytest.raises(ConfigError, match="another width"):
        attach(checking(Inside(fits=False)), "m", "t")


def test_whole_answers_come_with_what_a_judge_will_see() -> None:
    """Of a conversation as many turns as the policy shows."""
    one = Inside()
    note(checking(one, turns=2), [Response(Prompt("a", TURNS), "an answer")])
    assert one.heard == [("noted", [Response(Prompt("a", TURNS[-2:]), "an answer")])]


def test_everyone_rides_and_gets_off() -> None:
    """In the end, whatever happened."""
    judges = [Inside(), Inside()]
    asked: list[Request] = [(TURNS[:1], [1, 2])]
    with riding(judges, asked):
        assert [one.heard for one in judges] == [[("on", asked)]] * 2
    assert [one.heard[-1] for one in judges] == ["off", "off"]


def test_a_guarded_generator_tells_of_its_answers_before_they_are_judged() -> None:
    """Whole, and then their windows are asked about; it has no model to tell of."""

    class Answers:
        name, engine = "mine", "own"

        def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
            return [Response(one, "An answer. " * 20) for one in prompts]

    one = Inside()
    asked = Prompt.of("a")
    Guarded(Answers(), checking(one))([asked], Decoding())
    assert one.heard == [("noted", [Response(asked, "An answer. " * 20)])]
    assert len(one.read[0]) > 2
