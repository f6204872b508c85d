"""Laws of the guarded Transformers model: `generate` is the model's own, but what it withholds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from guarding.conftest import Guarding
from guarding.reading import REFUSAL, Reading, checking, having
from guarding.tiny import ASKED, NEW, WHOLE, answers


def unsafe(*texts: str) -> Reading:
    """Finds these very answers unsafe."""
    return Reading(lambda text: float(text in texts))


KINDS = [
    NEW,
    NEW | {"num_return_sequences": 2, "num_beams": 3},
    {"max_new_tokens": 9, "do_sample": True, "num_return_sequences": 3},
    NEW | {"return_dict_in_generate": True, "output_scores": True, "output_hidden_states": True},
]


@pytest.mark.parametrize("options", KINDS)
def test_what_is_cleared_is_the_models_own_output(
    model: Any, batch: Any, guarding: Guarding, options: dict[str, Any]
) -> None:
    """To the bit, of the same type, with everything that was asked for beside it."""
    torch.manual_seed(0)
    plain = model.generate(**batch, **options)
    torch.manual_seed(0)
    found = guarding(checking(having())).generate(**batch, **options)
    assert type(found) is type(plain)
    if isinstance(plain, torch.Tensor):
        assert torch.equal(found, plain)
    else:
        assert torch.equal(found.sequences, plain.sequences)
        assert len(found.scores) == len(plain.scores)


def test_a_withheld_row_carries_the_refusal(
    model: Any, batch: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """After its prompt, ended and padded; the rows beside it are as they were."""
    plain = model.generate(**batch, **NEW)
    start = batch["input_ids"].shape[1]
    said = answers(tiny_tokenizer, plain, start)
    found = guarding(checking(unsafe(said[1]), output=WHOLE)).generate(**batch, **NEW)
    assert torch.equal(found[:, :start], batch["input_ids"])
    refusal = [*tiny_tokenizer(REFUSAL)["input_ids"], tiny_tokenizer.eos_token_id]
    width = found.shape[1] - start
    pad = tiny_tokenizer.pad_token_id
    assert found[1, start:].tolist() == refusal + [pad] * (width - len(refusal))
    for row in (0, 2):
        kept = plain[row, start:].tolist()
        assert found[row, start:].tolist() == kept + [pad] * (width - len(kept))
    assert answers(tiny_tokenizer, found, start) == [said[0], REFUSAL, said[2]]


def test_each_row_of_a_prompt_is_judged_by_itself(
    model: Any, batch: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """With several answers to each prompt, and the prompt that they answer."""
    options = NEW | {"num_return_sequences": 2, "num_beams": 2}
    start = batch["input_ids"].shape[1]
    said = answers(tiny_tokenizer, model.generate(**batch, **options), start)
    judge = unsafe(said[3])
    found = guarding(checking(judge, output=WHOLE)).generate(**batch, **options)
    expected = [REFUSAL if one == said[3] else one for one in said]
    assert answers(tiny_tokenizer, found, start) == expected
    assert [one.text for one in judge.seen] == [one for one in ASKED for _ in range(2)]


def test_nothing_else_tells_of_a_withheld_row(
    batch: Any, guarding: Guarding, model: Any, tiny_tokenizer: Any
) -> None:
    """Scores, hidden states and the cache are of the withheld tokens too: they are dropped."""
    options = NEW | {
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
        "output_hidden_states": True,
        "output_attentions": True,
    }
    plain = model.generate(**batch, **options)
    judge = unsafe(answers(tiny_tokenizer, plain.sequences, batch["input_ids"].shape[1])[0])
    found = guarding(checking(judge, output=WHOLE)).generate(**batch, **options)
    assert type(found) is type(plain)
    assert set(found.keys()) == {"sequences"}


def test_the_request_is_read_without_padding_and_special_tokens(
    batch: Any, guarding: Guarding
) -> None:
    """As text, whether there is a mask or only the padding token."""
    for given in (batch, {"input_ids": batch["input_ids"]}):
        judge = having()
        guarding(checking(judge, input={}, output=None)).generate(**given, **NEW)
        assert judge.read == [ASKED]


def test_a_blocked_request_is_answered_with_the_refusal(
    batch: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """In its row of the batch; its answer is not even read."""
    judge = having("garden")
    found = guarding(checking(judge, input={})).generate(**batch, **NEW)
    said = answers(tiny_tokenizer, found, batch["input_ids"].shape[1])
    assert [one == REFUSAL for one in said] == [False, True, False]
    assert all("garden" not in one.text for one in judge.seen[len(ASKED) :])


@pytest.mark.parametrize("options", [NEW, KINDS[3], KINDS[1]])
def test_a_batch_of_blocked_requests_costs_one_token(
    model: Any, batch: Any, guarding: Guarding, options: dict[str, Any]
) -> None:
    """The type is the model's own; the model reads the prompts once and is not asked again."""
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    try:
        found = guarding(checking(having(*ASKED), input={})).generate(**batch, **options)
    finally:
        handle.remove()
    plain = model.generate(**batch, **options)
    assert type(found) is type(plain)
    assert len(calls) == 1
    assert len(getattr(found, "sequences", found)) == len(getattr(plain, "sequences", plain))


def test_redacted_windows_are_redacted(
    model: Any, batch: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """The row says the rest of its answer, and the policy's words in the window's place."""
    start = batch["input_ids"].shape[1]
    said = answers(tiny_tokenizer, model.generate(**batch, **NEW), start)
    judge = Reading(lambda text: float(text == said[0]))
    made = checking(judge, output=WHOLE | {"action": "redact"}, redaction="gone")
    found = guarding(made).generate(**batch, **NEW)
    assert answers(tiny_tokenizer, found, start) == ["gone", *said[1:]]


def test_answers_are_drawn_again_where_the_model_samples(
    batch: Any, guarding: Guarding, tiny_tokenizer: Any
) -> None:
    """Until one is cleared; the rows that were cleared at first stay."""
    reads = []

    def score(text: str) -> float:
        reads.append(text)
        return float(len(reads) == 2)  # the second row's first answer

    keys = WHOLE | {"action": "regenerate"}
    torch.manual_seed(3)
    options = {"max_new_tokens": 12, "do_sample": True}
    found = guarding(checking(Reading(score), output=keys)).generate(**batch, **options)
    said = answers(tiny_tokenizer, found, batch["input_ids"].shape[1])
    assert said == [reads[0], reads[3], reads[2]]
    assert len(reads) == 4


@pytest.mark.parametrize(
    "options", [NEW, {"generation_config": GenerationConfig(max_new_tokens=5)}]
)
def test_greedy_answers_are_not_drawn_again(
    batch: Any, guarding: Guarding, tiny_tokenizer: Any, options: dict[str, Any]
) -> None:
    """They would be the same: they are withheld at once."""
    judge = Reading(lambda text: 1.0)
    made = checking(judge, output=WHOLE | {"action": "regenerate"})
    found = guarding(made).generate(**batch, **options)
    assert set(answers(tiny_tokenizer, found, batch["input_ids"].shape[1])) == {REFUSAL}
    assert len(judge.read) == 1
