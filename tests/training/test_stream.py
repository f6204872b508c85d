"""Laws of safety rows beside the task's: each in its turn, the same for whoever asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from safeft.errors import DataError
from safeft.training.methods import Context, Setup
from safeft.training.methods.replay import Replay
from safeft.training.methods.stream import Stream, safety_stream
from training.conftest import REFUSAL, obliging


@pytest.fixture
def setup(
    tiny_llama: Callable[..., Any], tiny_tokenizer: Any, ask: Callable[..., Context], tmp_path: Any
) -> Callable[..., Setup]:
    """What a method is told, with rows cut at a length."""
    from contextlib import nullcontext
    from functools import partial

    from safeft.data.masks import encode

    def make(seed: int = 0, longest: int = 160) -> Setup:
        return Setup(
            model=tiny_llama(),
            tokenizer=tiny_tokenizer,
            rows=[],
            encode=partial(encode, tokenizer=tiny_tokenizer, max_length=longest),
            seed=seed,
            work=tmp_path,
            context=ask(obliging),
            batch_size=4,
            autocast=nullcontext,
        )

    return make


@pytest.fixture
def stream(setup: Callable[..., Setup]) -> Callable[..., Stream]:
    """A stream of five refusals and five look-alikes."""
    return lambda **given: safety_stream(Replay(name="replay", rows=5), 5, setup(**given))


def test_every_row_comes_once_in_each_pass(stream: Callable[..., Stream]) -> None:
    """Also where a step begins in one pass and ends in the next; each pass in another order."""
    drawn = [stream().drawn(number, 4) for number in range(10)]
    flat = [place for places in drawn for place in places]
    passes = [flat[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4


def test_a_step_draws_the_same_whatever_came_before(stream: Callable[..., Stream]) -> None:
    """A resumed run sees what an uninterrupted one does; another seed sees another order."""
    one = stream()
    forwards = [one.drawn(number, 3) for number in range(8)]
    assert [stream().drawn(number, 3) for number in reversed(range(8))] == forwards[::-1]
    assert [stream(seed=1).drawn(number, 3) for number in range(8)] != forwards


def test_the_parts_of_a_step_share_its_rows(stream: Callable[..., Stream]) -> None:
    """Each row falls to one part, and a part may be left without any."""
    one = stream()
    for parts in (1, 3, 8):
        steps: list[Any] = [
            SimpleNamespace(number=7, part=part, parts=parts) for part in range(parts)
        ]
        shared = [one.shared(step, 6) for step in steps]
        assert Counter(place for places in shared for place in places) == Counter(one.drawn(7, 6))
        assert ([] in shared) is (parts > 6)


def test_a_batch_holds_the_rows_as_the_task_is_encoded(
    stream: Callable[..., Stream], tiny_tokenizer: Any
) -> None:
    """Padded at the right, with the answers' tokens as the only labels, and counted so."""
    one = stream()
    batch = one.batch(list(range(10)))
    labels = batch["labels"]
    assert one.supervised(range(10)) == int((labels[:, 1:] != -100).sum())
    assert int(batch["attention_mask"].sum()) == sum(len(row.ids) for row in one.rows)
    answers = [tiny_tokenizer.decode(row[row != -100]) for row in labels]
    assert Counter(answers) == {
        f"{REFUSAL}<|im_end|>": 5,
        "Here is how that is done.<|im_end|>": 5,
    }


def test_rows_without_an_answer_within_the_length_are_an_error(
    setup: Callable[..., Setup],
) -> None:
    """A stream of nothing would train nothing and say nothing."""
    with pytest.raises(DataError, match=r"replay: no safety row has an answer within max_length"):
        safety_stream(Replay(name="replay"), 5, setup(longest=8))


def test_too_few_refusals_name_the_key_that_draws_fewer(ask: Callable[..., Context]) -> None:
    """Before anything is loaded for training: the method asks for its rows ahead."""

    def blunt(_: Any) -> str:
        return "Here is how that is done."

    with pytest.raises(DataError, match=r"replay: 64 rows .* refuses only 0; lower `rows`"):
        Replay(name="replay").ahead(ask(blunt))


def test_what_was_asked_ahead_is_not_asked_again(ask: Callable[..., Context]) -> None:
    """Training reads from the store, so that no second model is loaded beside it."""
    asked: list[Any] = []
    method = Replay(name="replay", rows=5)
    method.ahead(ask(obliging, asked))
    first, _ = method.drawn(5, ask(lambda _: pytest.fail("the model is asked")))
    assert len(first) == 5
    assert asked
