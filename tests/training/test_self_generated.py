"""Laws of self-generated data: whose words a row holds, what is reused, and what falls back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from safeft.data import Example
from safeft.errors import DataError
from safeft.generation import Scripted
from safeft.records import Decoding, Message, Prompt, Response
from safeft.runs import read_lines
from safeft.training.methods import Context
from safeft.training.methods.context import BATCH
from safeft.training.methods.self_generated import SelfGenerated
from safeft.training.schema import Recipe
from training.conftest import chats

ROWS = chats([(f"How do I grow plant {n}?", f"Reference {n}.") for n in range(40)])
Asking = Callable[..., Context]


def method(**values: Any) -> SelfGenerated:
    """The method with these settings."""
    return SelfGenerated(name="self_generated", **values)


def own(prompt: Prompt) -> str:
    """What the scripted model says."""
    return f"Own words on: {prompt.text}"


def answers(examples: tuple[Example, ...]) -> list[str]:
    """The last answers."""
    return [one.messages[-1].content for one in examples]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_all_but_the_reference_share_is_the_models_own(ask: Asking, share: float) -> None:
    """`reference_share` of the rows keep the reference, to the row; the notes say how many."""
    applied = method(reference_share=share).apply(ROWS, ask(own))
    kept = [answer for answer in answers(applied.examples) if answer.startswith("Reference")]
    assert len(kept) == round(40 * share)
    assert applied.notes["self_generated"] == 40 - len(kept)
    assert applied.notes["kept_by_design"] == len(kept)
    assert applied.notes["keep_rate"] == (None if share == 1 else 1.0)


def test_the_requests_stay_as_they_are(ask: Asking) -> None:
    """Only the last answer changes: prompts, order, rows and sources stay."""
    for before, after in zip(ROWS, method().apply(ROWS, ask(own)).examples, strict=True):
        assert after.messages[:-1] == before.messages[:-1]
        assert (after.row, after.source) == (before.row, before.source)
        assert after.messages[-1] == Message("assistant", own(Prompt("", before.messages[:-1])))


def test_earlier_turns_are_the_context_of_the_answer(ask: Asking) -> None:
    """In a longer chat the model sees everything before its last answer; the others are counted."""
    turns = [("system", "S"), ("user", "A?"), ("assistant", "B."), ("user", "C?")]
    before = tuple(Message(*turn) for turn in turns)
    asked: list[Prompt] = []
    row = Example((*before, Message("assistant", "D.")), 1, "x")
    applied = method().apply([row], ask(own, asked))
    assert [one.messages for one in asked] == [before]
    assert applied.notes["earlier_answers_kept"] == 1
    assert "earlier_answers_kept" not in method().apply(ROWS, ask(own)).notes


def test_the_seed_draws_which_rows_keep_the_reference(ask: Asking) -> None:
    """The same seed keeps the same rows, another one others."""
    drawn = [
        answers(method(reference_share=0.5, seed=seed).apply(ROWS, ask(own)).examples)
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_stored_texts_are_reused(ask: Asking) -> None:
    """The second run with the same model, prompts and decoding asks nothing."""
    asked: list[Prompt] = []
    context = ask(own, asked)
    first = method().apply(ROWS, context)
    assert len(asked) == 40
    assert method(reference_share=0.5).apply(ROWS, context).examples != first.examples
    assert len(asked) == 40


@pytest.mark.parametrize(
    "other", [method(temperature=0.7), method(max_new_tokens=9), method(mode="rewrite")]
)
def test_another_decoding_or_mode_asks_anew(ask: Asking, other: SelfGenerated) -> None:
    """What was written under other conditions is not what would be written now."""
    asked: list[Prompt] = []
    context = ask(own, asked)
    method().apply(ROWS, context)
    other.apply(ROWS, context)
    assert len(asked) == 80


def test_the_model_is_loaded_once_for_all_batches(tmp_path: Any) -> None:
    """However many batches there are; and not at all when nothing is to be written."""
    from safeft.training.train import write_ahead

    loads: list[int] = []

    def load(*_: object) -> Scripted:
        loads.append(1)
        return Scripted(lambda prompt, _: own(prompt))

    recipe = Recipe(name="own", lora={}, methods=[method()])
    rows = chats([(f"Question {n}?", "Reference.") for n in range(2 * BATCH + 1)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(write_ahead.__globals__, "generator_of", load)
        for _ in range(2):
            write_ahead(recipe, str(tmp_path), rows, tmp_path / "store")
    assert len(loads) == 1


def test_what_the_texts_cost_is_kept_with_them(ask: Asking) -> None:
    """Also for a run that finds them: seconds and tokens of the writing, not of the reading."""
    context = ask(own)
    assert set(context.spent.values()) == {0}
    method().apply(ROWS, context)
    (path,) = context.store.glob("written-*.jsonl")
    texts = [record["text"] for record in read_lines(path)]
    assert context.spent["generation_tokens"] == sum(len(text.split()) for text in texts)
    assert 0 < context.spent["generation_seconds"] < 60
    later = Context(context.model, lambda: pytest.fail("asked again"), context.store)
    method(reference_share=0.5).apply(ROWS, later)
    assert later.spent == context.spent


def test_another_model_asks_anew(ask: Asking) -> None:
    """The words of one model are not another's own."""
    asked: list[Prompt] = []
    context = ask(own, asked)
    method().apply(ROWS, context)
    method().apply(ROWS, Context("another", context.generator, context.store))
    assert len(asked) == 80


@pytest.mark.parametrize("written", [0, 1, 95, 96, 97, 150])
def test_a_kill_in_the_middle_resumes_in_the_same_batches(tmp_path: Any, written: int) -> None:
    """What a model answers may depend on its batch, so a resumed run asks in the same company."""
    rows = chats([(f"Question {n}?", "Reference.") for n in range(200)])
    batches: list[list[str]] = []

    def generator() -> Any:
        class Recording(Scripted):
            def __call__(self, prompts: Any, decoding: Decoding) -> list[Response]:
                batches.append([one.id for one in prompts])
                return super().__call__(prompts, decoding)

        return Recording(lambda prompt, _: f"{prompt.text} in batch of {batches[-1][0]}")

    whole = method().apply(rows, Context("m", generator, tmp_path / "whole"))
    assert [len(batch) for batch in batches] == [BATCH, BATCH, 8]
    path = next((tmp_path / "whole").glob("written-*.jsonl"))
    cut = tmp_path / "cut" / f"{path.name}.partial"
    cut.parent.mkdir()
    lines = path.read_text().splitlines(keepends=True)
    cut.write_text("".join(lines[:written]) + lines[written][:7])
    assert method().apply(rows, Context("m", generator, cut.parent)).examples == whole.examples
    resumed = read_lines(cut.with_name(path.name))
    untimed = [
        [record | {"generation_seconds": 0} for record in records]
        for records in (resumed, read_lines(path))
    ]
    assert untimed[0] == untimed[1]


def rewritten(ask: Asking, reference: str, text: str) -> tuple[str, Any]:
    """The answer that a row ends with, and the keep rate, when the model rewrites it as `text`."""
    applied = method(mode="rewrite").apply(chats([("Q?", reference)]), ask(lambda _: text))
    return answers(applied.examples)[0], applied.notes["keep_rate"]


REFERENCE = "Water tomato seedlings twice every week, using 2 litres of lukewarm water."


@pytest.mark.parametrize(
    "text",
    [
        "Give tomato seedlings lukewarm water twice every week: 2 litres.",
        "Twice every week, tomato seedlings want 2 litres of lukewarm water. That keeps them well.",
    ],
)
def test_a_faithful_rewrite_replaces_the_reference(ask: Asking, text: str) -> None:
    """The same facts and numbers in other words are the model's own answer."""
    assert rewritten(ask, REFERENCE, text) == (text, 1.0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("Prune roses in winter.", "other facts"),
        ("Give tomato seedlings lukewarm water twice every week: 3 litres.", "another number"),
        (f"Here is the reference answer: {REFERENCE}", "talks about the task"),
        (REFERENCE + " water it" * 40, "loops"),
    ],
)
def test_a_rewrite_that_fails_its_checks_falls_back(ask: Asking, text: str, why: str) -> None:
    """The reference stays, and the keep rate says that the model's words were not used."""
    assert rewritten(ask, REFERENCE, text) == (REFERENCE, 0.0), why


def test_the_keep_rate_counts_the_rows_that_were_asked(ask: Asking) -> None:
    """Rows that keep the reference by design are no failures."""

    def script(prompt: Prompt) -> str:
        return "" if "plant 3" in prompt.text else f"Reference {prompt.id}."

    notes = method(mode="rewrite", reference_share=0.5).apply(ROWS, ask(script)).notes
    assert notes["kept_by_design"] == 20
    assert notes["keep_rate"] == round(notes["self_generated"] / 20, 4)
    assert 0 < notes["keep_rate"] < 1


def test_a_rewrite_shows_the_model_the_reference(ask: Asking) -> None:
    """The last user turn holds the request and the reference answer; earlier turns stay."""
    asked: list[Prompt] = []
    method(mode="rewrite").apply(ROWS[:1], ask(own, asked))
    assert "How do I grow plant 0?" in asked[0].text
    assert "Reference 0." in asked[0].text


def test_an_empty_answer_keeps_the_reference(ask: Asking) -> None:
    """Training on nothing would teach silence."""
    applied = method().apply(ROWS, ask(lambda _: " \n"))
    assert answers(applied.examples) == answers(tuple(ROWS))
    assert applied.notes["keep_rate"] == 0


def test_plain_texts_are_refused(ask: Asking) -> None:
    """A document has no answer to replace."""
    with pytest.raises(DataError, match="plain `text` rows have no answers; give chats"):
        method().apply([Example((), 1, "x", "text")], ask(own))
