"""Texts alone: OpenAI's moderations, and the call of LiteLLM's generic guardrail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from guarding.reading import REFUSAL, Reading, checking, having, raising

from safeft.guarding.decision import Decision
from safeft.records import Response
from serve.scripted import LONG, Counting, Place, proxied

GUARDRAIL = "/beta/litellm_basic_guardrail_api"
CALLED = {"request_data": {}, "litellm_call_id": "1", "additional_provider_specific_params": {}}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with proxied(checking(having("MARK"), input={}, tool_calls={})) as found:
        yield found


def guardrail(place: Place, kind: str, **more: Any) -> Any:
    got = place.ask(CALLED | {"input_type": kind} | more, GUARDRAIL)
    assert got.status_code == 200
    return got.json()


@pytest.mark.parametrize(
    ("given", "flagged"),
    [
        ("MARK", [True]),
        (["fine", "MARK", "fine"], [False, True, False]),
        ([{"type": "text", "text": "fine"}, {"type": "text", "text": "MARK"}], [True]),
    ],
)
def test_the_official_client_reads_moderations(
    place: Place, given: Any, flagged: list[bool]
) -> None:
    """Of a text, of some, and of one in parts."""
    got = place.client.moderations.create(input=given, model="omni-moderation-latest")
    assert [one.flagged for one in got.results] == flagged
    assert got.model == "reading@1" and got.id.startswith("modr-")
    for one in got.results:
        assert (one.categories.model_extra or {})["unsafe"] == one.flagged
        assert not one.categories.violence


def test_without_a_stage_for_requests_a_text_is_read_as_an_answer() -> None:
    """In the windows of an answer, so that a long one is read to its end."""
    judge = having("MARK")
    with proxied(checking(judge)) as place:
        got = place.client.moderations.create(input=[f"{LONG} MARK", LONG])
        assert [one.flagged for one in got.results] == [True, False]
    assert max(map(len, judge.read)) > 3


@pytest.mark.parametrize(
    "given", [None, [], {}, 7, [7], ["a", 7], ["a"] * 257, [{"type": "image_url", "image_url": {}}]]
)
def test_what_is_no_text_is_refused(place: Place, given: Any) -> None:
    """An image is not waved through."""
    got = place.ask({"input": given}, "/v1/moderations")
    assert (got.status_code, got.json()["error"]["param"]) == (400, "input")


def test_a_guardrail_reads_requests(place: Place) -> None:
    """Each text; with the messages given, the conversation and the text that was asked last."""
    assert guardrail(place, "request", texts=["fine", "fine"]) == {"action": "NONE"}
    blocked = {"action": "BLOCKED", "blocked_reason": "unsafe (input)"}
    assert guardrail(place, "request", texts=["MARK", "fine"]) == blocked
    old = [
        {"role": "user", "content": "MARK of an old turn"},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "And now?"},
    ]
    said = [one["content"] for one in old]
    assert guardrail(place, "request", texts=said, structured_messages=old) == {"action": "NONE"}
    changed = [*said[:-1], "MARK"]
    assert guardrail(place, "request", texts=changed, structured_messages=old) == blocked
    assert guardrail(place, "request", texts=None) == {"action": "NONE"}


def test_a_guardrail_reads_answers(place: Place) -> None:
    """Every choice of them in its windows, and the arguments of tools."""
    assert guardrail(place, "response", texts=[LONG, "fine"]) == {"action": "NONE"}
    assert guardrail(place, "response", texts=["fine", f"{LONG} MARK"]) == {
        "action": "BLOCKED",
        "blocked_reason": "unsafe (output)",
    }
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "MARK"}}
    assert guardrail(place, "response", texts=["fine"], tool_calls=[call]) == {
        "action": "BLOCKED",
        "blocked_reason": "unsafe (tool_calls)",
    }


def test_a_guardrail_changes_answers() -> None:
    """Redacted and replaced ones go on with other words."""
    short = {"first_window": 4, "window": 4, "overlap": 0}
    with proxied(checking(having("MARK"), output={"action": "redact", **short})) as place:
        got = guardrail(place, "response", texts=["fine", "This is fine. MARK is not."])
        assert got == {
            "action": "GUARDRAIL_INTERVENED",
            "texts": ["fine", "This is fine.[removed]"],
        }
    with proxied(checking(having("MARK"), output={"action": "replace"})) as place:
        got = guardrail(place, "response", texts=["MARK"], structured_messages=[{"role": "user"}])
        assert got == {"action": "GUARDRAIL_INTERVENED", "texts": [REFUSAL]}


class Ids(Counting):
    """An observer that keeps the requests' ids."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []

    def decided(self, decision: Decision, seconds: float, text: Response) -> None:
        self.ids.append(text.prompt.id)

    def taken(self) -> list[str]:
        """Those since the last time, each once."""
        found, self.ids = list(dict.fromkeys(self.ids)), []
        return found


@pytest.mark.parametrize("stages", [{"input": {}}, {}])
def test_each_check_has_an_id_of_its_own(stages: dict[str, Any]) -> None:
    """By which a log of decisions tells it from the others: the one that a moderation returns."""
    observer = Ids()
    with proxied(checking(having("MARK"), **stages), observer=observer) as place:
        for _ in range(2):
            got = place.client.moderations.create(input=["fine", LONG])
            assert observer.taken() == [got.id]
        seen: list[str] = []
        for kind in ("request", "response") if stages else ("response",):
            for more in ({}, {"structured_messages": [{"role": "user", "content": "?"}]}):
                guardrail(place, kind, texts=["fine", LONG], **more)
                (one,) = observer.taken()
                seen.append(one)
        assert len({*seen}) == len(seen) and "0" not in seen


@pytest.mark.parametrize(
    "body",
    [
        {"texts": ["a"]},
        {"texts": ["a"], "input_type": "both"},
        {"texts": "a", "input_type": "request"},
        {"texts": [7], "input_type": "response"},
        {"texts": ["a"], "input_type": "response", "tool_calls": "x"},
        {"texts": ["a"], "input_type": "request", "structured_messages": "x"},
    ],
)
def test_another_call_than_litellms_is_refused(place: Place, body: dict[str, Any]) -> None:
    """With an error that LiteLLM takes for a failure, not for a clearance."""
    assert place.ask(body, GUARDRAIL).status_code == 400


def test_a_failure_of_the_guard_is_neither_a_block_nor_a_clearance() -> None:
    """503 at both, for requests and answers."""
    with proxied(checking(Reading(raising), input={})) as place:
        for path, body in (
            ("/v1/moderations", {"input": "a"}),
            (GUARDRAIL, {"texts": ["a"], "input_type": "request"}),
            (GUARDRAIL, {"texts": ["a"], "input_type": "response"}),
        ):
            got = place.ask(body, path)
            assert (got.status_code, got.json()["error"]["code"]) == (503, "guard_failed")
