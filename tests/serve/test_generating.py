"""One answer of a local model: what other engines would write, in pieces, and cut where asked."""

from __future__ import annotations

import copy
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safeft.errors import PromptError, TooLongError
from safeft.generation.transformers import TransformersGenerator
from safeft.records import Decoding, Message, Prompt
from safeft.serve.generating import Cut, Wanted, Writer, Written

QUESTION = "How do I grow tomatoes in a garden?"
GREEDY = Wanted((Message("user", QUESTION),), temperature=0.0, max_new_tokens=64)
DRAWN = replace(GREEDY, temperature=1.5, seed=3)


@pytest.fixture(scope="module")
def writer(aligned: tuple[Any, Any]) -> Writer:
    """Over the testbed's aligned model."""
    return Writer(*aligned, "aligned")


def written(writer: Writer, wanted: Wanted) -> tuple[str, Written]:
    """An answer, and how it ended."""
    pieces: list[str] = []
    ended = writer.write(writer.ids(wanted), wanted, pieces.append, Event())
    return "".join(pieces), ended


def test_greedy_is_the_answer_of_the_other_engine(writer: Writer, aligned: tuple[Any, Any]) -> None:
    """Word for word what an evaluation under Transformers reads, with the same end."""
    (other,) = TransformersGenerator(*aligned, "aligned")(
        [Prompt.of(QUESTION)], Decoding(0.0, 0, 64)
    )
    text, ended = written(writer, GREEDY)
    assert (text, ended.finish) == (other.text, other.finish) and len(text) > 80
    assert ended.tokens - other.tokens in (0, 1)  # the token that ends it is counted here


def test_pieces_come_while_the_model_writes(writer: Writer) -> None:
    """Not at the end: the first one can stop the model, which then writes little more."""
    pieces: list[str] = []
    gone = Event()

    def put(piece: str) -> None:
        pieces.append(piece)
        gone.set()

    ended = writer.write(writer.ids(GREEDY), GREEDY, put, gone)
    whole, longer = written(writer, GREEDY)
    assert ended.tokens < 8 < longer.tokens
    assert whole.startswith("".join(pieces)) and len(pieces) <= 3


def test_who_left_before_the_beginning_costs_nothing(writer: Writer) -> None:
    """It waited for its turn, and nobody waits for it any more."""
    gone = Event()
    gone.set()
    put: list[str] = []
    assert writer.write(writer.ids(GREEDY), GREEDY, put.append, gone).tokens == 0
    assert put == []


def test_an_answer_that_is_cut_off_says_so(writer: Writer) -> None:
    """`length` at the wanted number of tokens, and the beginning of the whole answer."""
    whole, _ = written(writer, GREEDY)
    text, ended = written(writer, replace(GREEDY, max_new_tokens=5))
    assert (ended.finish, ended.tokens) == ("length", 5)
    assert whole.startswith(text) and text


def test_without_a_limit_the_context_is_one(aligned: tuple[Any, Any]) -> None:
    """The model may write until its context is full."""
    model, tokenizer = aligned
    writer = Writer(model, tokenizer, "aligned")
    wanted = replace(GREEDY, max_new_tokens=None, messages=(Message("user", "tomatoes " * 990),))
    ids = writer.ids(wanted)
    ended = writer.write(ids, wanted, lambda _: None, Event())
    assert ended.finish == "length"
    assert ended.read + ended.tokens == model.config.max_position_embeddings


def test_a_seed_gives_the_same_answer_again(writer: Writer) -> None:
    """And another seed another one, whatever was drawn in between."""
    first, _ = written(writer, DRAWN)
    torch.rand(7)
    assert written(writer, DRAWN)[0] == first
    others = {written(writer, replace(DRAWN, seed=seed))[0] for seed in range(4, 8)}
    assert others != {first}


def test_a_seed_is_the_requests_own(writer: Writer) -> None:
    """The random numbers of the rest of the process go on as if nothing had been drawn."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    written(writer, DRAWN)
    assert torch.equal(torch.rand(3), expected)


def test_a_nucleus_of_nothing_is_greedy(writer: Writer) -> None:
    """top_p near 0 leaves the most likely token alone, at any temperature."""
    assert written(writer, replace(DRAWN, top_p=1e-9))[0] == written(writer, GREEDY)[0]


def test_a_temperature_near_zero_is_greedy(writer: Writer) -> None:
    """And a high one is not."""
    greedy, _ = written(writer, GREEDY)
    assert written(writer, replace(DRAWN, temperature=1e-4))[0] == greedy
    assert written(writer, replace(DRAWN, temperature=5.0))[0] != greedy


def test_a_stop_string_ends_the_answer_and_the_work(writer: Writer) -> None:
    """It is not part of the answer, and little is written after it."""
    whole, longer = written(writer, GREEDY)
    stop = whole[30:36]
    text, ended = written(writer, replace(GREEDY, stop=("never said", stop)))
    assert text == whole[: whole.index(stop)]
    assert ended.finish == "stop" and ended.tokens < longer.tokens


def test_what_does_not_fit_the_context_is_refused(writer: Writer) -> None:
    """A long conversation, or more new tokens than there is room for."""
    with pytest.raises(TooLongError, match=r"exceeds the maximum context length of aligned \(2048"):
        writer.ids(replace(GREEDY, max_new_tokens=2048))
    with pytest.raises(TooLongError):
        writer.ids(replace(GREEDY, messages=(Message("user", "tomatoes " * 3000),)))


def test_what_the_template_refuses_is_refused(tiny_llama: Any, tiny_tokenizer: Any) -> None:
    """With the template's own words."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = "{{ raise_exception('no such role') }}"
    with pytest.raises(PromptError, match="no such role"):
        Writer(tiny_llama(), tokenizer, "tiny").ids(GREEDY)


def fed(cut: Cut, pieces: list[str]) -> list[str]:
    """What left after each piece, and at the end."""
    return [*(cut.feed(piece) for piece in pieces), cut.end()]


@given(
    st.lists(st.text("ab.", max_size=5), max_size=12),
    st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3),
)
def test_however_a_text_comes_it_ends_before_the_first_stop(
    pieces: list[str], stops: list[str]
) -> None:
    """The same for every chunking: up to the earliest completed stop string; without one, all."""
    text = "".join(pieces)
    ends = [text.find(one) + len(one) for one in stops if one in text]
    expected = text
    if ends:  # of those that a text completes first, the one that starts first
        read = text[: min(ends)]
        expected = read[: min(read.find(one) for one in stops if one in read)]
    assert "".join(fed(Cut(stops), pieces)) == "".join(fed(Cut(stops), list(text))) == expected


@given(st.text("ab.", max_size=30), st.text("ab.", min_size=1, max_size=4))
def test_nothing_is_held_that_can_no_longer_be_a_stop(text: str, stop: str) -> None:
    """Only a beginning of the stop string waits, so that a stream does not lag behind."""
    cut, left = Cut([stop]), ""
    for place, letter in enumerate(text, 1):
        left += cut.feed(letter)
        held = text[len(left) : place]
        assert cut.hit or (stop.startswith(held) and held != stop)
