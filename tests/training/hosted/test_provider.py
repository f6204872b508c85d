"""Laws of the provider's client: retried where that is safe, looked for where it is not."""

from __future__ import annotations

import time

import pytest
from hosted import Desk, Provider, status

from safeft.errors import ModelError, SafeftError
from training.hosted.conftest import Run

MAKING = ["POST files", "POST jobs"]
READING = ["GET jobs/*", "GET jobs/*/events", "GET jobs/*/checkpoints"]


def once(call: str, code: int) -> object:
    """A fault of the first attempt at `call`."""
    say = status(code, "not now")
    return lambda desk, found, attempt: found == call and attempt == 1 and say(desk)


@pytest.mark.parametrize("code", [429, 500, 503])
@pytest.mark.parametrize("call", [*MAKING, *READING])
def test_what_passes_is_tried_again(run: Run, server: Provider, call: str, code: int) -> None:
    """Too many requests and a server that stumbles cost time alone."""
    server.broken = once(call, code)
    run()
    assert server.calls[call] > 1
    assert len(server.files) == len(server.jobs) == 1


@pytest.mark.parametrize("call", MAKING)
def test_a_request_that_was_served_without_an_answer_is_not_sent_again(
    run: Run, server: Provider, call: str
) -> None:
    """After a timeout what was made is looked for, and found by the run's mark."""
    server.lost = {call}
    run(endpoint={"timeout": 0.3})
    assert server.calls[call] == 1
    assert len(server.files) == len(server.jobs) == 1


@pytest.mark.parametrize("call", MAKING)
def test_a_cut_connection_is_looked_into_and_tried_again(
    run: Run, server: Provider, call: str
) -> None:
    """Nothing was made: the second attempt makes it."""

    def hang_up(desk: Desk, found: str, attempt: int) -> bool:
        desk.close_connection = True
        return found == call and attempt == 1

    server.broken = hang_up
    run()
    assert server.calls[call] == 2
    assert len(server.files) == len(server.jobs) == 1


def test_a_job_is_found_by_its_file_where_metadata_are_not_kept(run: Run, server: Provider) -> None:
    """Its file is this run's alone, and stands behind others' in the list."""
    server.keeps_metadata = False
    for other in ("a", "b", "c"):
        run(output=other)
    server.lost = {"POST jobs"}
    run(endpoint={"timeout": 0.3})
    assert len(server.jobs) == 4


def test_a_server_that_stays_down_is_named_and_the_run_goes_on_later(
    run: Run, server: Provider
) -> None:
    """Exit code 1: which call, which answer, and what to do."""
    server.broken = lambda desk, call, _: call == "POST jobs" and status(503, "closed")(desk)
    with pytest.raises(SafeftError, match=r"asking for the job: .*503.*run the same command again"):
        run(endpoint={"retries": 1})
    assert server.calls["POST jobs"] == 2
    server.broken = lambda *_: False
    run()
    assert server.calls["POST files"] == 1


def test_an_empty_purse_is_not_asked_again(run: Run, server: Provider) -> None:
    """It answers 429 like a crowd, but waiting does not help."""
    empty = status(429, "You exceeded your quota.", code="insufficient_quota")
    server.broken = lambda desk, call, _: call == "POST jobs" and empty(desk)
    with pytest.raises(ModelError, match="no money or quota left"):
        run()
    assert server.calls["POST jobs"] == 1


def test_the_pause_that_the_server_asks_for_is_kept(run: Run, server: Provider) -> None:
    """`retry-after` in seconds, instead of a pause of ours."""

    def busy(desk: Desk, call: str, attempt: int) -> bool:
        if call == "POST files" and attempt == 1:
            desk.answer(429, {"error": {"message": "wait"}}, {"retry-after": "1"})
            return True
        return False

    server.broken = busy
    start = time.monotonic()
    run()
    assert time.monotonic() - start > 1
