"""Laws of STAR-DSS: likelihood where the guard is sure, the divergence alone where it is not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from safeft.data import Example
from safeft.errors import ConfigError, DataError
from safeft.guarding.catalogue import output_judge
from safeft.guarding.encoder import EncoderGuard
from safeft.records import Label, Message, Prompt, Response, Verdict
from safeft.runs import read_lines
from safeft.training.methods import Context
from safeft.training.methods.guard import AT_ONCE, rated, safe
from safeft.training.methods.star_dss import StarDss
from safeft.training.methods.windows import cut, turns
from training.conftest import TASK, Rater, Taken, alike, by_characters, chats, take

WHOLE = {"per_device_train_batch_size": 8}
SURE, UNSURE = Rater(lambda _: 0.0), Rater(lambda _: 1.0)
Fit = Callable[..., Any]


def method(every: int = 3) -> StarDss:
    """The method with windows of so many tokens."""
    return StarDss(name="star_dss", every=every)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_where_all_is_safe_it_is_plain_likelihood(fit: Fit, noise: float) -> None:
    """s = 1: the loss and the gradients of plain fine-tuning, before and after the weights move."""
    plain = take(fit(work="plain", **WHOLE), noise=noise)
    alike(plain, take(fit(method(), guard=SURE, **WHOLE), noise=noise), 1e-6)


def test_where_nothing_is_safe_nothing_moves_before_training(fit: Fit) -> None:
    """s = 0: the divergence alone, which is 0 of the model from itself, without a gradient."""
    step = take(fit(method(), guard=UNSURE, **WHOLE))
    assert float(step.loss) == pytest.approx(0, abs=1e-6)
    assert all(float(one.abs().max()) < 1e-6 for one in step.gradients.values())


def double(trainer: Any, shares: Callable[[Any], Any]) -> float:
    """The paper's loss over the first batch's labels in float64, `shares` being P(safe)."""
    batch = dict(next(iter(trainer.get_train_dataloader())))
    model = trainer.model.double().eval()
    plain = {name: value for name, value in batch.items() if name != "labels"}
    mask = batch["labels"][:, 1:] != -100
    with torch.no_grad():
        now = model(**plain).logits[:, :-1][mask].log_softmax(-1)
        with model.disable_adapter():
            before = model(**plain).logits[:, :-1][mask].log_softmax(-1)
    likely = now.gather(-1, batch["labels"][:, 1:][mask].unsqueeze(-1)).squeeze(-1)
    apart = (before.exp() * (before - now)).sum(-1)
    s = shares(batch)[mask].double()
    return float((s * -likely + (1 - s) * apart).mean())


def test_where_nothing_is_safe_it_is_the_divergence_alone(fit: Fit) -> None:
    """After the weights have moved, to float64's value."""
    trainer = fit(method(), guard=UNSURE, **WHOLE)
    step = take(trainer, noise=0.1)
    expected = double(trainer, lambda batch: torch.zeros(batch["labels"][:, 1:].shape))
    assert float(step.loss) == pytest.approx(expected, rel=1e-4)
    assert expected > 0.01


def by_hand(tokenizer: Any, every: int) -> Callable[[Any], Any]:
    """P(safe) of every label, found without the method: the answer's text up to its window's end.

    The rows of TASK have one answer each, whose tokens are the trained ones.
    """

    def shares(batch: Any) -> Any:
        found = torch.zeros(batch["labels"].shape)
        for row, labels in enumerate(batch["labels"]):
            trained = (labels != -100).nonzero().flatten().tolist()
            for place, token in enumerate(trained):
                end = min((place // every + 1) * every, len(trained))
                ids = [int(labels[one]) for one in trained[:end]]
                said = tokenizer.decode(ids, skip_special_tokens=True)
                found[row, token] = 1 - by_characters(Response(Prompt.of("?"), said))
        return found[:, 1:]

    return shares


@pytest.mark.parametrize("every", [1, 3, 1000])
def test_it_is_what_float64_says(fit: Fit, tiny_tokenizer: Any, every: int) -> None:
    """Token by token, with each token's own share, for short windows and the whole answer."""
    trainer = fit(method(every), **WHOLE)
    step = take(trainer, noise=0.1)
    expected = double(trainer, by_hand(tiny_tokenizer, every))
    assert float(step.loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("packing", [{"packing": True}, {"padding_free": True}])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scores_stay_with_their_tokens_when_documents_share_a_row(
    fit: Fit, packing: dict[str, Any]
) -> None:
    """Step for step the same loss and gradients; the windows differ from row to row."""
    apart = take(fit(method(), work="apart", **WHOLE), noise=0.1)
    alike(apart, take(fit(method(), work="packed", **WHOLE, **packing), noise=0.1), 1e-4)


def test_the_guard_reads_the_conversation_and_what_is_said_so_far(fit: Fit) -> None:
    """For each turn its own request and history, and never a word that is not yet said."""
    said = [("user", "A?"), ("assistant", "Bee bee."), ("user", "C?"), ("assistant", "Dee dee.")]
    talk = Example(tuple(Message(*one) for one in said), 1, "rows")
    guard = Rater(by_characters)
    fit(method(2), rows=[talk], guard=guard)
    assert {len(one.prompt.messages) for one in guard.read} == {1, 3}
    for one in guard.read:
        turn = len(one.prompt.messages)
        assert one.prompt.messages == talk.messages[:turn]
        assert talk.messages[turn].content.startswith(one.text)
    assert {"Bee bee.", "Dee dee."} <= {one.text for one in guard.read}
    assert len(guard.read) > 4


def test_a_character_of_several_tokens_is_read_when_it_is_whole(fit: Fit) -> None:
    """Half of its bytes are no text."""
    guard = Rater(by_characters)
    fit(method(1), rows=chats([("A?", "né 日本")]), guard=guard)
    assert not any("\ufffd" in one.text for one in guard.read)
    assert "né 日本" in {one.text for one in guard.read}


def test_what_is_said_alike_is_read_once(fit: Fit) -> None:
    """The same rows twice cost no second reading, and the loss is theirs."""
    once, twice = Rater(by_characters), Rater(by_characters)
    apart = take(fit(method(), rows=TASK[:4], guard=once, work="once", **WHOLE), noise=0.1)
    both = [*TASK[:4], *TASK[:4]]
    alike(apart, take(fit(method(), rows=both, guard=twice, work="twice", **WHOLE), noise=0.1))
    assert len(once.read) == len(twice.read)


def test_scores_are_read_once_and_kept(fit: Fit, tmp_path: Path) -> None:
    """A second run over the same rows asks nothing; other rows, windows or guards ask anew."""
    first = take(fit(method(), **WHOLE), noise=0.1)
    guard = Rater(lambda _: pytest.fail("asked again"))
    alike(first, take(fit(method(), guard=guard, **WHOLE), noise=0.1), 0)
    assert len(list(tmp_path.glob("work/guard-*"))) == 1
    fit(method(4))
    fit(method(), guard=Rater(by_characters, "another"))
    fit(method(), rows=TASK[:7])
    assert len(list(tmp_path.glob("work/guard-*"))) == 4


@pytest.mark.parametrize("done", [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 5])
def test_a_killed_pass_goes_on_in_the_same_batches(tmp_path: Path, done: int) -> None:
    """What a guard says may depend on its company; what was stored stays as it is."""
    cases = [Response(Prompt.of("?", str(n)), f"answer {n}") for n in range(2 * AT_ONCE + 9)]
    sizes: list[int] = []

    class Social(Rater):
        def __call__(self, responses: Any) -> list[Verdict]:
            sizes.append(len(responses))
            return [
                Verdict(one.prompt.id, Label.NEITHER, "social", {"harm": number / 1000})
                for number, one in enumerate(responses)
            ]

    guard = Social(by_characters)
    whole = rated(tmp_path / "whole.jsonl", guard, cases, lambda one: one)
    assert sizes == [AT_ONCE, AT_ONCE, 9]
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut.jsonl.partial").write_text("".join(lines[:done]) + lines[done][:4])
    assert rated(tmp_path / "cut.jsonl", guard, cases, lambda one: one) == whole
    assert set(sizes) == {AT_ONCE, 9}
    assert len(sizes) == 3 + (3 if done < AT_ONCE else 2)


def test_what_could_not_be_read_counts_as_unsafe() -> None:
    """As a guard withholds it; a score that is no number from 0 to 1 is unread too."""
    read = Verdict("0", Label.NEITHER, "g", {"a": 0.25, "b": 0.5})
    assert safe(read) == 0.5
    assert safe(Verdict("0", Label.UNREAD, "g", {"a": 0.1})) == 0
    assert [safe(Verdict("0", one, "g")) for one in (Label.NEITHER, Label.FULFILLED)] == [1, 0]
    assert [safe(Verdict("0", Label.NEITHER, "g", {"a": one})) for one in (math.nan, 2.0)] == [0, 0]


def test_windows_cover_each_trained_token_once() -> None:
    """In order, none longer than `every`, and none over two turns."""
    messages = tuple(Message(one, "x") for one in ("user", "assistant") * 2)
    mask = [False, True, True, True, False, True, True, True, True, True]
    found = list(cut(0, turns(Example(messages, 1, "rows"), mask, truncated=False), 2))
    covered = [place for one in found for place in range(one.first, one.end)]
    assert covered == [place for place, kept in enumerate(mask) if kept]
    assert max(one.end - one.first for one in found) == 2
    assert {(one.turn, one.start) for one in found} == {(1, 1), (3, 5)}


def test_a_cut_row_lacks_its_last_turns_and_no_others_may() -> None:
    """Otherwise a turn would be read beside another's request."""
    talk = Example(tuple(Message(one, "x") for one in ("user", "assistant") * 2), 1, "rows")
    assert len(turns(talk, [False, True, True], truncated=True)) == 1
    with pytest.raises(DataError, match="rows, row 1: 1 stretches of trained tokens belong to 2"):
        turns(talk, [False, True, True], truncated=False)
    with pytest.raises(DataError, match="3 stretches"):
        turns(talk, [True, False, True, False, True], truncated=True)


def test_plain_texts_are_refused(fit: Fit) -> None:
    """There is no request beside which they could be read."""
    with pytest.raises(DataError, match="rows, row 1: plain `text` has no request"):
        fit(method(), rows=[Example((), 1, "rows", "text")])


def test_without_a_guard_it_says_who_brings_one(tmp_path: Path) -> None:
    """Before any weights load."""
    context = Context("m", lambda: pytest.fail("loaded"), tmp_path)
    with pytest.raises(ConfigError, match=r"guard 'encoder-guard'.*catalogue\.output_judge"):
        method().ahead(context)


def test_a_guard_that_is_not_there_is_named() -> None:
    """With the nearest name; and the one that only a policy can fill."""
    with pytest.raises(ConfigError, match="encoder-guard"):
        output_judge("encoder-gard")
    with pytest.raises(ConfigError, match="needs a policy's sentences"):
        output_judge("examples")


def test_the_embedded_guard_scores_as_it_guards(fit: Fit, tmp_path: Path) -> None:
    """What is stored is what the real guard says of each beginning of the answer."""
    rows = chats([("How do I bake bread?", "Knead it well, and bake it for an hour.")])
    taken = take(fit(method(8), rows=rows, guard=output_judge("encoder-guard")))
    assert isinstance(taken, Taken)
    (path,) = tmp_path.glob("work/guard-*.jsonl")
    answer = rows[0].messages[-1].content
    stored = [json.loads(line)["safe"] for line in path.read_text().splitlines()]
    whole = EncoderGuard().scores([(rows[0].prompt, answer)])[0]
    assert stored[-1] == pytest.approx(1 - whole, abs=1e-4)
    assert len(stored) == len(read_lines(path)) > 2
    assert all(0 <= one <= 1 for one in stored)
