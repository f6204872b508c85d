"""Whole answers, as the official client reads them: cleared, or a block that looks like one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from guarding.reading import REFUSAL, Reading, checking, having, raising

from serve.scripted import ASKED, LONG, Place, Script, choice, completion, proxied, whole

MARKED: list[Any] = [{"role": "user", "content": "MARK my words"}]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": "MARK"}'}}


def answers(place: Place, *choices: Any, **more: Any) -> None:
    place.upstream.answer = lambda _: whole(completion(*choices, **more))


def asking(place: Place, **more: Any) -> Any:
    return place.client.chat.completions.create(**{"model": "m", "messages": ASKED} | more)


def test_what_is_cleared_leaves_as_it_came(place: Place) -> None:
    """With its decision in a header."""
    body = completion(choice(LONG, reasoning="thought", tool_calls=[]))
    place.upstream.answer = lambda _: whole(body)
    got = place.ask()
    assert got.json() == body
    assert (got.headers["x-safeft-decision"], got.headers["x-safeft-policy"]) == ("allow", "test")


@pytest.mark.parametrize(
    "said",
    [
        {"content": f"{LONG} MARK"},
        {"content": [{"type": "text", "text": LONG}, {"type": "text", "text": "MARK"}]},
        {"content": LONG, "reasoning": "MARK"},
        {"content": LONG, "reasoning_content": f"{LONG} MARK {LONG}"},
        {"content": None, "tool_calls": [CALL]},
        {"content": None, "function_call": CALL["function"]},
        {"content": None, "refusal": "MARK"},
        {"content": LONG, "field_of_tomorrow": {"deep": ["MARK"]}},
    ],
    ids=range(8),
)
def test_a_block_keeps_nothing_of_the_answer(place: Place, said: dict[str, Any]) -> None:
    """Whichever of its texts it is for; the usage stays, since it was paid for."""
    withheld = choice(finish="tool_calls", **said) | {
        "logprobs": {"content": [{"token": "MARK", "logprob": -1, "top_logprobs": []}]},
        "token_ids": [1],
        "unknown": "MARK",
    }
    answers(place, withheld, prompt_logprobs=[1], prompt_token_ids=[2], unknown="MARK")
    got = asking(place)
    assert "MARK" not in got.model_dump_json()
    (only,) = got.choices
    assert (only.finish_reason, only.message.content) == ("content_filter", REFUSAL)
    assert only.message.tool_calls is None and only.logprobs is None
    assert set(only.model_extra) == set()
    assert set(got.model_extra) == set()
    assert (got.usage.total_tokens, got.id, got.model) == (16, "chatcmpl-1", "m")
    (result,) = got.moderation.output.results
    assert result.flagged and result.categories == {"unsafe": True}
    assert not got.moderation.input.results[0].flagged


def test_one_of_two_choices_is_withheld(place: Place) -> None:
    """The other one leaves, and what neither needs is dropped with the first."""
    fine = choice("fine", 1, tool_calls=[CALL | {"function": {"name": "f", "arguments": "{}"}}])
    answers(place, choice(f"{LONG} MARK"), fine | {"token_ids": [5]}, prompt_logprobs=["MARK"])
    got = asking(place, n=2)
    assert [one.finish_reason for one in got.choices] == ["content_filter", "stop"]
    assert [one.message.content for one in got.choices] == [REFUSAL, "fine"]
    assert got.choices[1].message.tool_calls[0].function.arguments == "{}"
    assert got.choices[1].model_extra == {"token_ids": [5]}
    assert "MARK" not in got.model_dump_json()
    assert [one.flagged for one in got.moderation.output.results] == [True, False]


def test_text_beside_the_choices_is_read(place: Place) -> None:
    """A server that repeats the answer there is no way around."""
    answers(place, choice("fine"), choice("fine", 1), __verbose={"content": "MARK"})
    got = place.ask({"model": "m", "messages": ASKED, "n": 2})
    assert "MARK" not in got.text and got.headers["x-safeft-decision"] == "block"


def test_a_withheld_request_is_not_passed_on(place: Place) -> None:
    """The upstream is not asked; each choice says the refusal."""
    before = len(place.upstream.asked)
    got = asking(place, messages=MARKED, n=2)
    assert [one.finish_reason for one in got.choices] == ["content_filter"] * 2
    assert [one.message.content for one in got.choices] == [REFUSAL] * 2
    assert (got.model, got.usage.total_tokens) == ("m", 0)
    assert got.moderation.input.results[0].flagged and got.moderation.output.results == []
    text = place.client.completions.create(model="m", prompt=["fine", "MARK"])
    assert [(one.text, one.finish_reason) for one in text.choices] == [
        (REFUSAL, "content_filter")
    ] * 2
    assert len(place.upstream.asked) == before


def test_completions_are_guarded_too(place: Place) -> None:
    """Each by the prompt that it answers."""
    texts = [{"index": 0, "text": LONG}, {"index": 1, "text": "MARK", "logprobs": {"tokens": []}}]
    body = completion(*(one | {"finish_reason": "stop"} for one in texts))
    place.upstream.answer = lambda _: whole(body | {"object": "text_completion"})
    got = place.client.completions.create(model="m", prompt=["a", "b"])
    assert [(one.text, one.finish_reason) for one in got.choices] == [
        (LONG, "stop"),
        (REFUSAL, "content_filter"),
    ]
    assert place.upstream.asked[-1].path == "/v1/completions"
    answers(place, {"index": 0, "text": LONG, "finish_reason": "length"})
    assert place.ask({"prompt": "a"}, "/v1/completions").json()["choices"][0]["text"] == LONG


def test_all_windows_of_all_choices_are_read_at_once() -> None:
    """And as a stream would be read: each with the words before it."""
    judge = having("MARK")
    with proxied(checking(judge, reasoning={})) as place:
        answers(place, choice(LONG, reasoning=LONG), choice(LONG, 1))
        asking(place, n=2)
    assert len(judge.read) == 2, "one call a stage"
    assert max(map(len, judge.read)) > 2


def test_a_failure_of_the_guard_is_no_block() -> None:
    """503, typed, with the failure as a moderation value; or nothing, where the policy is open."""
    stages = {"input": {"on_error": "open"}}
    with proxied(checking(Reading(raising), **stages)) as place:
        answers(place, choice(LONG), choice("fine", 1))
        got = place.ask({"model": "m", "messages": ASKED, "n": 2})
        error = got.json()
        assert (got.status_code, error["error"]["code"]) == (503, "guard_failed")
        assert error["moderation"]["output"]["type"] == "error"
        assert "one two" not in got.text
    with proxied(checking(Reading(raising), output={"on_error": "open"})) as place:
        answers(place, choice(LONG))
        got = place.ask()
        assert got.json()["choices"][0]["message"]["content"] == LONG
        assert got.headers["x-safeft-decision"] == "bypass"
    with proxied(checking(Reading(raising), input={})) as place:
        got = place.ask({"model": "m", "messages": ASKED, "stream": True})
        assert (got.status_code, got.json()["error"]["code"]) == (503, "guard_failed")
        assert got.json()["moderation"]["input"]["code"] == "guard_failed"
        assert place.upstream.asked == []


def test_redacted_and_replaced_answers_end_as_they_did() -> None:
    """The windows that were reached are gone, the others stay; or the refusal stands alone."""
    short = {"first_window": 4, "window": 4, "overlap": 0}
    with proxied(checking(having("MARK"), output={"action": "redact", **short})) as place:
        answers(place, choice("One is fine. MARK is not. Three is fine.", unknown=5))
        got = place.ask()
        assert (
            got.json()["choices"][0]["message"]["content"] == "One is fine.[removed] Three is fine."
        )
        assert "unknown" not in got.text and got.headers["x-safeft-decision"] == "modify"
        assert got.json()["choices"][0]["finish_reason"] == "stop"
    with proxied(checking(having("MARK"), output={"action": "replace"})) as place:
        answers(place, choice("fine MARK"))
        got = asking(place)
        assert (got.choices[0].message.content, got.choices[0].finish_reason) == (REFUSAL, "stop")
        assert got.moderation.output.results[0].flagged


def test_logged_answers_leave_untouched() -> None:
    """In the shadow of a policy that is being tried."""
    with proxied(checking(having("MARK"), output={"action": "log"})) as place:
        body = completion(choice("MARK"))
        place.upstream.answer = lambda _: whole(body)
        got = place.ask()
        assert got.json() == body and got.headers["x-safeft-decision"] == "log"


def test_an_answer_is_asked_for_again_with_another_seed() -> None:
    """Until one is cleared, as often as the policy says; only the withheld choice changes."""
    output = {"action": "regenerate", "regenerate": 2}
    with proxied(checking(having("MARK"), output=output)) as place:
        said = iter(["MARK", "MARK", "fine"])
        place.upstream.answer = lambda _: whole(
            completion(choice(next(said)), choice(f"other {len(place.upstream.asked)}", 1))
        )
        got = place.ask({"model": "m", "messages": ASKED, "n": 2, "seed": 5, "unknown": 1})
        contents = [one["message"]["content"] for one in got.json()["choices"]]
        assert contents == ["fine", "other 1"]
        assert got.json()["usage"]["total_tokens"] == 3 * 16
        assert got.headers["x-safeft-decision"] == "modify"
        bodies = [one.json for one in place.upstream.asked]
        assert len({one.pop("seed") for one in bodies}) == 3
        assert bodies[0] == bodies[1] == bodies[2]
        place.upstream.answer = lambda _: whole(completion(choice("MARK"), choice("b", 1)))
        got = place.ask({"model": "m", "messages": ASKED, "n": 2})
        reasons = [one["finish_reason"] for one in got.json()["choices"]]
        assert reasons == ["content_filter", "stop"]
        assert got.headers["x-safeft-decision"] == "block"
        assert len(place.upstream.asked) == 3 + 3


def test_halves_of_characters_are_no_failure(place: Place) -> None:
    """An upstream may send what no encoder takes; a block of it is sent all the same."""
    raw = json.dumps(completion(choice("smile \ud83d"), choice("MARK", 1))).encode()
    place.upstream.answer = lambda _: Script([raw], kind="application/json")
    got = place.ask({"model": "m", "messages": ASKED, "n": 2})
    assert got.status_code == 200
    assert got.json()["choices"][0]["message"]["content"] == "smile \ud83d"
    assert got.json()["choices"][1]["message"]["content"] == REFUSAL


def test_the_conversation_is_what_is_judged() -> None:
    """The judge of an answer sees what was asked; of a request it sees the turns before."""
    judge = having("MARK")
    turns = [
        {"role": "user", "content": "MARK of an old turn"},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
    ]
    with proxied(checking(judge, input={})) as place:
        answers(place, choice("fine"))
        assert asking(place, messages=turns).choices[0].message.content == "fine"
    assert all(
        [one.content for one in prompt.messages] == ["MARK of an old turn", "No.", "And now?"]
        for prompt in judge.seen
    )
