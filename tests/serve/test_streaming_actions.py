"""Actions on a stream beside a block, and a change of policy while one is under way."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from guarding.reading import REFUSAL, checking, having

from serve.scripted import LONG, PATIENCE, Place, Script, answered, proxied, sse
from serve.streamed import STREAM, content, events, plays, read, reasons


def test_a_redacted_stream_goes_on(place: Place) -> None:
    """Its chunks are rewritten where a window was redacted, and nowhere else."""
    short = {"first_window": 4, "window": 4, "overlap": 0, "action": "redact"}
    texts = ["One is fine. ", "MARK is", " not. ", "Three is fine."]
    chunks = [one | {"odd": 1} for one in answered(texts)]
    with proxied(checking(having("MARK"), output=short)) as redacting:
        plays(redacting, chunks)
        got = events(redacting)
    said = "".join(one["choices"][0]["delta"].get("content") or "" for one in got)
    assert said == "One is fine.[removed] Three is fine."
    assert [one.get("odd") for one in got if "is fine" in json.dumps(one)][-1] == 1
    assert got[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_replaced_stream_ends_with_the_refusal() -> None:
    """Behind what had left, and as if it had ended by itself."""
    with proxied(checking(having("MARK"), output={"action": "replace"})) as place:
        plays(place, answered(["MARK"]), "stay")
        got = read(place)
        assert (content(got), reasons(got)) == (REFUSAL, [(0, "stop")])


def test_a_stream_is_asked_for_again_while_nothing_has_left() -> None:
    """With another seed, up to as often as the policy says; afterwards it is a block."""
    output = {"action": "regenerate", "regenerate": 2}
    with proxied(checking(having("MARK"), output=output)) as place:
        said = iter(["MARK", "MARK", "fine"])
        place.upstream.answer = lambda _: Script(sse(answered([next(said)])))
        got = read(place, seed=5)
        assert (content(got), reasons(got)) == ("fine", [(0, "stop")])
        assert len({one.json["seed"] for one in place.upstream.asked}) == 3
        plays(place, answered(["MARK"]))
        got = read(place)
        assert (content(got), reasons(got)) == (REFUSAL, [(0, "content_filter")])
        assert len(place.upstream.asked) == 6
        answers = iter([Script(sse(answered(["MARK"]))), Script(status=500)])
        place.upstream.answer = lambda _: next(answers)
        assert events(place)[-1]["error"]["code"] == "upstream_failed"


def test_optimistic_streams_leak_and_say_so() -> None:
    """Opt-in: text leaves before it is read, and what had left is counted."""
    with proxied(checking(having("MARK"), streaming="optimistic")) as place:
        plays(place, answered([f"MARK {LONG}"])[:-1], "stay")
        got = read(place)
        assert content(got) == f"MARK {LONG}" and reasons(got) == [(0, "content_filter")]
        place.observer.wait_for(1)
        assert place.observer.tokens > 10


def test_a_policy_is_changed_without_dropping_a_stream() -> None:
    """A stream ends by the policy that it began with; the next one gets the new one."""
    begun, go_on = threading.Event(), threading.Event()
    pieces = sse(answered([LONG, "MARK"]))

    async def held(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        kind = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        await send({"type": "http.response.body", "body": b"".join(pieces[:2]), "more_body": True})
        begun.set()
        await asyncio.to_thread(go_on.wait, PATIENCE)
        await send({"type": "http.response.body", "body": b"".join(pieces[2:])})

    old, new = checking(having("MARK"), name="old"), checking(having("other"), name="new")
    with proxied(old, held) as place:  # type: ignore[arg-type]
        with place.http.stream("POST", "/v1/chat/completions", json=STREAM) as response:
            assert begun.wait(PATIENCE) and response.headers["x-safeft-policy"] == "old"
            place.app.state.guardroom.swap(new)
            go_on.set()
            assert "content_filter" in "".join(response.iter_text())
        with place.http.stream("POST", "/v1/chat/completions", json=STREAM) as response:
            assert response.headers["x-safeft-policy"] == "new"
            assert "content_filter" not in "".join(response.iter_text())
