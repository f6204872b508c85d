"""Responses and verdicts are written once; an interrupted run ends in the very same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from safeft.errors import RunError, SafeftError, StoredError
from safeft.evaluation import judged, read_verdicts, respond, stored
from safeft.generation import Generator, Scripted
from safeft.generation.transformers import TransformersGenerator
from safeft.judges import Judge
from safeft.models import load_model, load_tokenizer
from safeft.records import Decoding, Label, Prompt, Response, Verdict
from safeft.runs import Lines

Make = Callable[..., Any]
SAMPLED = Decoding(0.7, 2, 8)
PROMPTS = [Prompt.of(f"how does one grow {n} plants", f"s/harm/{n}") for n in range(100)]
RESPONSES = [
    Response(prompt, f"answer {n}\u2028", "stop", n)
    for n, prompt in enumerate(Prompt.of(str(n), f"s/harm/{n}") for n in range(600))
]


def never() -> Any:
    raise AssertionError("a finished file loads no model")


def test_responses_come_in_prompt_order_with_their_own_text(fake: Make, tmp_path: Path) -> None:
    """Whatever the order of the file, each prompt gets what was answered to it."""
    made = fake()
    found = respond(lambda: made, PROMPTS, SAMPLED, tmp_path / "r.jsonl")
    assert [one.prompt for one in found] == PROMPTS
    assert [one.tokens for one in found] == [len(one.text) for one in PROMPTS]
    assert {one.finish for one in found} == {"length"}
    assert len({one.text for one in found}) == len(PROMPTS)


def test_a_finished_file_is_read_and_never_asked_again(fake: Make, tmp_path: Path) -> None:
    """The second call gives the same records without a generator, and changes no byte."""
    path, made = tmp_path / "r.jsonl", fake()
    first = respond(lambda: made, PROMPTS, SAMPLED, path)
    before = path.read_bytes()
    assert respond(never, PROMPTS, SAMPLED, path) == first == stored(path, PROMPTS)
    assert path.read_bytes() == before
    with pytest.raises(RunError, match="finished"):
        Lines(path)


@pytest.mark.parametrize("fails", [0, 1, 3])
def test_a_run_that_failed_goes_on_where_it_stopped(
    fake: Make, interrupted: type[Exception], tmp_path: Path, fails: int
) -> None:
    """After an exception only batches that lack an answer are asked; the bytes are the same."""
    whole, failing, resuming = fake(), fake(fails), fake()
    expected = respond(lambda: whole, PROMPTS, SAMPLED, tmp_path / "whole.jsonl")
    path = tmp_path / "r.jsonl"
    with pytest.raises(interrupted):
        respond(lambda: failing, PROMPTS, SAMPLED, path)
    assert not path.exists()
    assert respond(lambda: resuming, PROMPTS, SAMPLED, path) == expected
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert resuming.calls == whole.calls - fails


def test_a_kill_inside_a_batch_is_invisible(fake: Make, tmp_path: Path) -> None:
    """Cut after any line or inside one: no answer is drawn in another batch than before."""
    whole = fake()
    respond(lambda: whole, PROMPTS, SAMPLED, tmp_path / "whole.jsonl")
    data = (tmp_path / "whole.jsonl").read_bytes()
    for cut in (0, 1, len(data) // 3, len(data) // 2, len(data) - 1, len(data)):
        path, resuming = tmp_path / f"{cut}.jsonl", fake()
        path.with_name(path.name + ".partial").write_bytes(data[:cut])
        respond(lambda made=resuming: made, PROMPTS, SAMPLED, path)  # type: ignore[misc]
        assert path.read_bytes() == data
    assert resuming.calls == 0  # the last one lacked nothing but its name


def test_a_sampling_model_resumes_to_the_same_bytes(tiny_model: Path, tmp_path: Path) -> None:
    """With a real model: what an uninterrupted run would have drawn is what a resumed one draws."""
    model, tokenizer = load_model(str(tiny_model)), load_tokenizer(str(tiny_model))
    made = TransformersGenerator(model, tokenizer, "tiny", batch_size=4)
    prompts = PROMPTS[5:18]
    expected = respond(lambda: made, prompts, SAMPLED, tmp_path / "whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "r.jsonl.partial").write_bytes(b"".join(lines[:6]) + lines[6][:10])
    assert respond(lambda: made, prompts, SAMPLED, tmp_path / "r.jsonl") == expected
    assert (tmp_path / "r.jsonl").read_bytes() == b"".join(lines)


def test_a_file_of_other_prompts_is_refused(tmp_path: Path) -> None:
    """A finished file that lacks a prompt is named, with the prompt."""
    path = tmp_path / "r.jsonl"
    echo = Scripted(lambda prompt, decoding: prompt.text)
    respond(lambda: echo, PROMPTS[:3], SAMPLED, path)
    with pytest.raises(StoredError, match=r"r\.jsonl: holds no record of 's/harm/3'"):
        respond(never, PROMPTS[:4], SAMPLED, path)
    with pytest.raises(StoredError, match=r"holds no record of 's/harm/9'"):
        judged(never, [Response(PROMPTS[9], "")], path)


def test_verdicts_are_stored_with_what_was_judged(reader: Make, tmp_path: Path) -> None:
    """A record ties label, judge and scores to the words, by their hash, and to their finish."""
    path, judge = tmp_path / "v.jsonl", reader()
    found = judged(lambda: judge, RESPONSES[:2], path)
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [record["id"] for record in records] == ["s/harm/0", "s/harm/1"]
    assert records[1]["response"] == hashlib.sha256("answer 1\u2028".encode()).hexdigest()[:16]
    assert records[1]["label"] == "refused" and records[1]["finish"] == "stop"
    assert records[1]["judge"] == "reader@1" and set(records[1]["scores"]) == {"p"}
    assert judged(never, RESPONSES[:2], path) == found
    assert read_verdicts(path, PROMPTS[:2]) == found


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_judging_goes_on_where_it_stopped(
    reader: Make, interrupted: type[Exception], tmp_path: Path, fails: int
) -> None:
    """After an exception, what was judged is not judged again, and the bytes are the same."""
    whole, failing, resuming = reader(), reader(fails), reader()
    expected = judged(lambda: whole, RESPONSES, tmp_path / "whole.jsonl")
    path = tmp_path / "v.jsonl"
    with pytest.raises(interrupted):
        judged(lambda: failing, RESPONSES, path)
    assert not path.exists()
    assert judged(lambda: resuming, RESPONSES, path) == expected
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert resuming.calls == whole.calls - fails == 3 - fails


class Streamed:
    """A judge behind an endpoint: hands its verdicts over last to first, and fails on request."""

    name = "streamed@1"
    measures = "fulfilment"

    def __init__(self, fails: int | None = None) -> None:
        self.fails, self.read = fails, list[str]()

    def verdicts(self, responses: Sequence[Response]) -> Iterator[Verdict]:
        for one in responses[::-1]:
            if len(self.read) == self.fails:
                raise SafeftError("no answer")
            self.read.append(one.text)
            yield Verdict(one.prompt.id, Label.REFUSED, self.name)

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        raise AssertionError("a judge that streams is asked for its stream")


@pytest.mark.parametrize("fails", [0, 1, 299, 599])
def test_a_verdict_that_was_paid_for_is_kept(tmp_path: Path, fails: int) -> None:
    """Of a judge that hands verdicts over as they come, nothing is lost and nothing asked twice."""
    failing, resuming, path = Streamed(fails), Streamed(), tmp_path / "v.jsonl"
    with pytest.raises(SafeftError, match="no answer"):
        judged(lambda: failing, RESPONSES, path)
    assert len(path.with_name("v.jsonl.partial").read_text().splitlines()) == fails
    found = judged(lambda: resuming, RESPONSES, path)
    assert [one.prompt_id for one in found] == [one.prompt.id for one in RESPONSES]
    texts = [one.text for one in RESPONSES]
    assert sorted([*failing.read, *resuming.read]) == sorted(texts)
    assert judged(never, RESPONSES, path) == found


@pytest.mark.parametrize("count", [0, 2], ids=["one too few", "one too many"])
def test_a_stream_that_does_not_match_is_refused(tmp_path: Path, count: int) -> None:
    """Every response gets one verdict, whatever the order."""

    class Confused(Streamed):
        def verdicts(self, responses: Sequence[Response]) -> Iterator[Verdict]:
            yield from [*super().verdicts(responses[:1])] * count

    with pytest.raises(SafeftError, match="judge streamed@1 did not return one verdict per"):
        judged(Confused, RESPONSES[:1], tmp_path / "v.jsonl")


def test_a_kill_while_verdicts_are_written_is_invisible(reader: Make, tmp_path: Path) -> None:
    """A score may depend on its batch, so a cut part is read again whole, to the same bytes."""
    judge = reader()
    expected = judged(lambda: judge, RESPONSES, tmp_path / "whole.jsonl")
    data = (tmp_path / "whole.jsonl").read_bytes()
    for cut in (1, len(data) // 3, len(data) - 1):
        path = tmp_path / f"{cut}.jsonl"
        path.with_name(path.name + ".partial").write_bytes(data[:cut])
        assert judged(lambda: judge, RESPONSES, path) == expected
        assert path.read_bytes() == data


def test_no_file_holds_the_verdicts_of_two_judges(
    reader: Make, interrupted: type[Exception], tmp_path: Path
) -> None:
    """A judge that has changed does not go on where the former stopped; both are named."""
    path, failing, other = tmp_path / "v.jsonl", reader(1), reader()
    with pytest.raises(interrupted):
        judged(lambda: failing, RESPONSES, path)
    begun = path.with_name("v.jsonl.partial").read_bytes()
    other.name = "reader@2"
    said = r"v\.jsonl\.partial: begun by judge reader@1, .* continued by reader@2; restore"
    with pytest.raises(StoredError, match=said):
        judged(lambda: other, RESPONSES, path)
    assert path.with_name("v.jsonl.partial").read_bytes() == begun
    assert other.calls == 0


@pytest.mark.parametrize(
    "change",
    [lambda found: found[::-1], lambda found: found[:-1], lambda found: [*found, found[0]]],
    ids=["turned round", "one too few", "one too many"],
)
def test_verdicts_that_do_not_match_are_refused(
    reader: Make, tmp_path: Path, change: Callable[[list[Verdict]], list[Verdict]]
) -> None:
    """A verdict is never stored for another response than the one it read."""

    class Confused:
        name = "confused"
        measures = "fulfilment"

        def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
            return change(list(reader()(responses)))

    judge: Judge = Confused()
    with pytest.raises(SafeftError, match="judge confused did not return one verdict per response"):
        judged(lambda: judge, RESPONSES[:3], tmp_path / "v.jsonl")
    assert (tmp_path / "v.jsonl.partial").read_bytes() == b""


def test_unread_verdicts_survive_the_file(tmp_path: Path) -> None:
    """`unread` without scores is read back as unread, not as safe."""

    class Mute:
        name = "mute"
        measures = "fulfilment"

        def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
            return [Verdict(one.prompt.id, Label.UNREAD, self.name) for one in responses]

    judge: Judge = Mute()
    [verdict] = judged(lambda: judge, RESPONSES[:1], tmp_path / "v.jsonl")
    assert verdict == Verdict("s/harm/0", Label.UNREAD, "mute") and verdict.unsafe is None


def test_no_prompt_is_no_work(tmp_path: Path) -> None:
    """Nothing to ask or judge loads nothing and leaves a finished, empty file."""
    nothing: Callable[[], Generator] = never
    assert respond(nothing, [], SAMPLED, tmp_path / "r.jsonl") == []
    assert judged(never, [], tmp_path / "v.jsonl") == []
    assert (tmp_path / "r.jsonl").read_bytes() == (tmp_path / "v.jsonl").read_bytes() == b""
