"""Laws of a guarded Transformers model's streamers: they get what is cleared, and then the end."""

from __future__ import annotations

import threading
from typing import Any

import torch
from transformers import TextIteratorStreamer

from guarding.conftest import Guarding
from guarding.reading import REFUSAL, Reading, checking, having, raising
from guarding.streamers import Kept
from guarding.tiny import NEW, answers


def test_a_streamer_gets_what_it_would_get(model: Any, one: Any, guarding: Guarding) -> None:
    """The prompt, every token, and the end, when all of it is cleared."""
    plain, kept = Kept(), Kept()
    expected = model.generate(**one, **NEW, streamer=plain)
    found = guarding(checking(having())).generate(**one, **NEW, streamer=kept)
    assert torch.equal(found, expected)
    assert (kept.tokens, kept.ended) == (plain.tokens, 1)
    assert kept.given[0] == plain.given[0]


def test_text_streamers_work_from_another_thread(
    model: Any, one: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """As Transformers documents it: the words come while `generate` runs elsewhere."""

    def streamed(made: Any) -> str:
        words = TextIteratorStreamer(tiny_tokenizer, skip_prompt=True, skip_special_tokens=True)
        thread = threading.Thread(target=made.generate, kwargs={**one, **NEW, "streamer": words})
        thread.start()
        text = "".join(words)
        thread.join()
        return text

    assert streamed(guarding(checking(having()))) == streamed(model)
    assert streamed(guarding(checking(Reading(raising)))) == REFUSAL


def test_a_blocked_stream_is_stopped_early(
    one: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """The generation too: a long answer is not written to its end."""
    kept, judge = Kept(), Reading(lambda text: 1.0)
    made = checking(judge, output={"window": 4, "first_window": 4})
    found = guarding(made).generate(**one, max_new_tokens=200, do_sample=False, streamer=kept)
    refusal = [*tiny_tokenizer(REFUSAL)["input_ids"], tiny_tokenizer.eos_token_id]
    assert kept.tokens == refusal
    assert found[0, one["input_ids"].shape[1] :].tolist()[: len(refusal)] == refusal


def test_after_a_blocked_window_a_streamer_gets_nothing(
    model: Any, one: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """What had left before was cleared; no refusal follows, and the tensor holds one."""
    options = {"max_new_tokens": 60, "do_sample": False}
    whole = model.generate(**one, **options)[0, one["input_ids"].shape[1] :].tolist()
    reads: list[str] = []

    def score(text: str) -> float:
        reads.append(text)
        return float(len(reads) == 3)

    kept = Kept()
    made = checking(Reading(score), output={"window": 4, "first_window": 4, "overlap": 0})
    found = guarding(made).generate(**one, **options, streamer=kept)
    assert 0 < len(kept.tokens) < len(whole)
    assert kept.tokens == whole[: len(kept.tokens)]
    assert "".join(reads[:2]).startswith(tiny_tokenizer.decode(kept.tokens))
    assert answers(tiny_tokenizer, found, one["input_ids"].shape[1]) == [REFUSAL]


def test_a_blocked_request_is_streamed_as_the_refusal(
    one: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """One token is written, and thrown away."""
    kept = Kept()
    found = guarding(checking(having("grow"), input={})).generate(**one, **NEW, streamer=kept)
    assert tiny_tokenizer.decode(kept.tokens, skip_special_tokens=True) == REFUSAL
    assert answers(tiny_tokenizer, found, one["input_ids"].shape[1]) == [REFUSAL]


def test_what_a_user_stops_by_still_stops(model: Any, one: Any, guarding: Guarding) -> None:
    """The guard's own criterion stands beside others."""

    def third(ids: Any, scores: Any, **_: Any) -> Any:
        return torch.full((len(ids),), ids.shape[1] >= one["input_ids"].shape[1] + 3)

    kept = Kept()
    guarding(checking(having())).generate(**one, **NEW, stopping_criteria=[third], streamer=kept)
    assert len(kept.tokens) == 3
