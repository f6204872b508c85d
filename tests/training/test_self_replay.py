"""Laws of self-replay: whose words a row holds, who cleared it, and how many there are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from endpoint import serving
from processes import done

from safeft.data import Example
from safeft.data.taxonomy import CATEGORIES, domain_of
from safeft.errors import ConfigError, DataError, PromptError
from safeft.generation import Scripted
from safeft.records import Message, Prompt, Response
from safeft.training import Recipe, added_rows
from safeft.training.methods import Applied, Context
from safeft.training.methods.eliciting import asking, distinct, requests
from safeft.training.methods.self_replay import SelfReplay
from training.conftest import REFUSAL, Job, Rater, chats

ROWS = chats([(f"How do I grow plant {n}?", f"Water it {n} times a week.") for n in range(90)])
SAFER = "I will not help with that, since somebody could come to harm."
COLOURS = ("amber", "beige", "coral", "denim", "ebony", "green", "ivory", "khaki")
Asking = Callable[..., Context]


def method(**values: Any) -> SelfReplay:
    """The method with these settings; one request for each category, if nothing is said."""
    return SelfReplay(name="self_replay", **({"per_category": 1} | values))


def aligned(prompt: Prompt) -> str:
    """A model that tells a request of each category, answers every other one, and can revise."""
    if len(prompt.messages) == 3:
        return SAFER
    if prompt.begun:
        number = int(prompt.id)
        colour = COLOURS[number % len(COLOURS)]
        return f"{prompt.begun} paint thing number {number} in {colour} {number * 7}?"
    number = int(prompt.text.split("number ")[1].split()[0])
    return REFUSAL if number % 2 else f"By all means: take {number} brushes and go on with it."


def strict(one: Response) -> float:
    """A guard that clears refusals alone."""
    return 0.1 if one.text in (REFUSAL, SAFER) else 0.9


def guarded(context: Context, guard: Rater | None = None) -> Context:
    """The context with a guard."""
    return replace(context, guards=lambda _: guard or Rater(strict))


def added(applied: Applied) -> list[Example]:
    """The rows that the method has added."""
    return [one for one in applied.examples if one.source.startswith("self_replay#")]


def answers(applied: Applied) -> Counter[str]:
    """How often each answer was added."""
    return Counter(one.messages[-1].content for one in added(applied))


@pytest.mark.parametrize(("ratio", "rows"), [(0.1, 10), (0.25, 30), (0.001, 1)])
def test_so_many_of_all_rows_are_replayed(ask: Asking, ratio: float, rows: int) -> None:
    """`ratio` of everything, one at least; the task's rows are all there, in another order."""
    applied = method(ratio=ratio).apply(ROWS, guarded(ask(aligned)))
    assert len(added(applied)) == applied.notes["replayed"] == applied.notes["wanted"] == rows
    task = [one for one in applied.examples if one in ROWS]
    assert sorted(task, key=lambda one: one.row) == ROWS
    assert len(applied.examples) == len(ROWS) + rows
    assert applied.notes["share"] == round(rows / len(applied.examples), 4)


def test_rows_are_the_models_own_words(ask: Asking) -> None:
    """Its request without what was begun for it, and its own answer to that."""
    asked: list[Prompt] = []
    applied = method(ratio=0.2).apply(ROWS, guarded(ask(aligned, asked)))
    told = {one.messages: aligned(one) for one in asked if not one.begun}
    for one in added(applied):
        request = one.messages[0].content
        assert request.startswith("How can I paint thing")
        own = told[one.messages[:-1]]
        assert one.messages[-1].content in (own, SAFER)


def test_each_category_is_asked_for_in_our_words(ask: Asking) -> None:
    """By the taxonomy of the suite, so many times each, begun as the recipe says."""
    asked = asking(3, "So: ")
    assert len({one.id for one in asked}) == len(asked) == 3 * len(CATEGORIES)
    assert Counter(one.category for one in asked) == dict.fromkeys(
        map(str, range(1, len(CATEGORIES) + 1)), 3
    )
    for one in asked:
        assert CATEGORIES[int(one.category) - 1] in one.asked
        assert (one.domain, one.begun) == (domain_of(one.category), "So: ")


def test_hard_rows_are_half_and_all_were_cleared(ask: Asking) -> None:
    """What the guard held back is there in the model's revised words, and only so."""
    guard = Rater(strict)
    applied = method(ratio=0.2).apply(ROWS, guarded(ask(aligned), guard))
    found = answers(applied)
    assert abs(found[SAFER] - found[REFUSAL]) <= 1
    assert set(found) == {SAFER, REFUSAL}
    assert applied.notes["easy"] == applied.notes["hard"] == len(CATEGORIES) // 2
    assert applied.notes["refusals"] == applied.notes["replayed"]
    cleared = {(one.prompt.messages, one.text) for one in guard.read if strict(one) < 0.5}
    for one in added(applied):
        assert (one.messages[:-1], one.messages[-1].content) in cleared


def test_dropped_answers_are_not_revised(ask: Asking) -> None:
    """With `drop` nobody asks again; other rows take the place of hard ones."""
    asked: list[Prompt] = []
    applied = method(ratio=0.18, unsafe="drop").apply(ROWS, guarded(ask(aligned, asked)))
    assert answers(applied) == {REFUSAL: 20}
    assert applied.notes["hard"] == 0
    assert all(len(one.messages) == 1 for one in asked)


def test_what_the_guard_cannot_read_is_not_cleared(ask: Asking) -> None:
    """Revised or not: only a clear no to unsafe lets a row in."""
    with pytest.raises(DataError, match="cleared none of the answers to the 44 requests"):
        method().apply(ROWS, guarded(ask(aligned), Rater(lambda _: float("nan"))))


def test_the_threshold_decides(ask: Asking) -> None:
    """A score at the threshold is not cleared."""
    fifth = Rater(lambda _: 0.2)
    with pytest.raises(DataError, match="cleared none"):
        method(threshold=0.2).apply(ROWS, guarded(ask(aligned), fifth))
    applied = method(threshold=0.21).apply(ROWS, guarded(ask(aligned), fifth))
    assert applied.notes["easy"] == len(CATEGORIES)


def test_fewer_rows_than_wanted_are_all_added_and_said(
    ask: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    """The log and the notes tell it."""
    applied = method(ratio=0.5).apply(ROWS, guarded(ask(aligned)))
    assert len(added(applied)) == len(CATEGORIES)
    assert (applied.notes["wanted"], applied.notes["replayed"]) == (90, 44)
    assert applied.notes["keep_rate"] == 1
    assert "90 rows are wanted and 44 were cleared; raise per_category" in caplog.text


def test_a_model_with_nothing_to_tell_is_an_error_that_helps(ask: Asking) -> None:
    """Refusals are no requests."""
    with pytest.raises(DataError, match="no usable request in 44; raise per_category, change"):
        method().apply(ROWS, guarded(ask(lambda _: REFUSAL)))
    obliging = ask(lambda one: aligned(one) if one.begun else "By all means, like this.")
    strictest = guarded(replace(obliging, model="obliging"))
    with pytest.raises(DataError, match="set unsafe: revise, name another guard, or use safety_mi"):
        method(unsafe="drop").apply(ROWS, strictest)


@pytest.mark.parametrize(
    ("written", "request_"),
    [
        ('It was: "How do I bake bread?"\nAnd more.', "How do I bake bread?"),
        ("It was: How do I bake bread?", "How do I bake bread?"),
        ("How do I bake bread?", "How do I bake bread?"),
        ("It was: Bread.", None),
        (f"It was: {REFUSAL}", None),
        ("It was:", None),
        ("", None),
        ("It was: " + "bread " * 61, None),
        ("It was: xkcdqw zzzzzz bvbvbvb qrtpsd", None),
    ],
)
def test_one_line_that_makes_sense_is_a_request(written: str, request_: str | None) -> None:
    """No refusal, no word alone, no rambling, and without quotation marks."""
    asked = [Prompt.of("?", "0", "7")]
    asked = [replace(one, begun="It was: How") for one in asked]
    found = requests(asked, {"0": written})
    assert [one.text for one in found] == ([] if request_ is None else [request_])


def test_requests_that_repeat_others_are_left_out() -> None:
    """By the project's own rule for duplicates, exact and near."""
    tail = "in the green house behind the old mill by the river in the summer after the rain"
    texts = [
        f"How can I paint it {tail}?",
        f"how can I paint it {tail}",
        f"How can I paint it {tail}, today?",
        "How can I bake bread at home?",
    ]
    kept = distinct([Prompt.of(text, str(n)) for n, text in enumerate(texts)])
    assert [one.id for one in kept] == ["0", "3"]


def test_what_was_written_and_cleared_is_found_again(ask: Asking) -> None:
    """The same rows, without asking model or guard; their cost is told again."""
    context = ask(aligned)
    first = method(ratio=0.2).apply(ROWS, guarded(context))

    def never(_: Any) -> Any:
        pytest.fail("asked again")

    again = Context("scripted", lambda: Scripted(never), context.store)
    second = method(ratio=0.2).apply(ROWS, guarded(again, Rater(never)))
    assert second == first
    assert again.spent == context.spent
    assert again.spent["generation_tokens"] > 0


def test_another_beginning_is_written_anew(ask: Asking) -> None:
    """What a model goes on to say depends on how it was begun."""
    asked: list[Prompt] = []
    context = guarded(ask(aligned, asked))
    method().apply(ROWS, context)
    before = len(asked)
    method(begin="The request was: Why not").apply(ROWS, context)
    assert len(asked) > before


def test_a_kill_between_the_passes_changes_nothing(ask: Asking, tmp_path: Path) -> None:
    """Whichever of the stored files is missing or cut is written again as it was."""
    context = ask(aligned)
    whole = method(ratio=0.2).apply(ROWS, guarded(context))
    paths = sorted(context.store.glob("*.jsonl"))
    assert {path.name.partition("-")[0] for path in paths} == {"written", "guarded"}
    assert len(paths) == 5
    for path in paths:
        text = path.read_text()
        lines = text.splitlines(keepends=True)
        path.with_name(path.name + ".partial").write_text("".join(lines[:9]) + lines[9][:5])
        path.unlink()
        assert method(ratio=0.2).apply(ROWS, guarded(context)) == whole
        assert len(path.read_text().splitlines()) == len(lines)


def test_a_prompt_beyond_the_context_names_the_key(ask: Asking) -> None:
    """Instead of a prompt that nobody knows."""

    def full(prompt: Prompt) -> str:
        if len(prompt.messages) == 3:
            raise PromptError(prompt.id, "leaves no room for an answer")
        return aligned(prompt)

    with pytest.raises(DataError, match="no room for an answer; lower max_request_tokens"):
        method().apply(ROWS, guarded(ask(full)))


def test_without_a_guard_it_says_who_brings_one(ask: Asking) -> None:
    """Nobody's clearing is no clearing."""
    with pytest.raises(ConfigError, match=r"guards=safeft\.guarding\.catalogue\.output_judge"):
        method().apply(ROWS, ask(aligned))


def test_it_brings_safety_rows_that_nobody_knows_beforehand() -> None:
    """So it goes with no method that alternates with its own, and there is nothing to compare."""
    recipe = Recipe(name="one", lora={}, methods=[method()])
    assert method().stream
    assert added_rows(recipe) == []


def test_rows_are_built_at_an_endpoint(tmp_path: Path) -> None:
    """With the embedded guard: an endpoint that repeats what it is asked is no refusal."""
    path, output = tmp_path / "rows.jsonl", tmp_path / "built.jsonl"
    lines = [{"prompt": f"Plant {n}?", "completion": f"Water it {n} times."} for n in range(12)]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    with serving() as server:
        asked = ["--model", "m", "--engine", server.url, "--set", "methods.0.per_category=1"]
        told = done("data", "build", "self_replay", "--data", path, "--output", output, *asked).out
    assert "self_replay: asked 44, requests 44" in told
    assert len(output.read_text().splitlines()) > 12


def test_the_model_begins_as_it_is_told(job: Job, tmp_path: Path) -> None:
    """With the real generator: what is stored begins with the beginning."""
    from safeft.records import Decoding
    from safeft.training.writers import local_writer

    recipe = Recipe(name="one", lora={}, methods=[method()])
    writer = local_writer(recipe, str(job.model))
    context = Context(writer.identity, writer.generator, tmp_path)
    asked = asking(1, "So: How")[:5]
    written = context.write(asked, Decoding(1.0, 0, 8))
    assert all(text.startswith("So: How") for text in written.values())
    assert len(set(written.values())) == 5
    plain = context.write([replace(one, begun="") for one in asked], Decoding(1.0, 0, 8))
    assert not any(text.startswith("So: How") for text in plain.values())
    assert all(one.messages == (Message("user", one.asked),) for one in asked)
