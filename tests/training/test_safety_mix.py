"""Laws of safety mixing: how many rows, from where, whose words, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeft.data import Example
from safeft.data.taxonomy import DOMAINS, domain_of
from safeft.errors import DataError
from safeft.records import Prompt
from safeft.training import added_rows, load_recipe
from safeft.training.methods import Applied, Context
from safeft.training.methods.safety_mix import SafetyMix
from safeft.training.methods.safety_rows import read_pool
from training.conftest import chats

TASK = chats([(f"How do I grow plant {n}?", f"Water it {n} times a week.") for n in range(200)])
REFUSAL = "I'm sorry, but I can't help with that."
ANSWER = "Here is how that is usually done, step by step."
Asking = Callable[..., Context]


def mix(**values: Any) -> SafetyMix:
    """The method with these settings."""
    return SafetyMix(name="safety_mix", **values)


def aligned(prompt: Prompt) -> str:
    """A model that refuses what the harmful pool asks and answers the rest."""
    return REFUSAL if prompt.id.startswith("safety_pool") else ANSWER


def added(applied: Applied) -> list[Example]:
    """The rows that the method has added."""
    return [one for one in applied.examples if one.source.startswith("safety_mix#")]


def harmful(applied: Applied) -> list[Example]:
    """The added rows that end with a refusal."""
    return [one for one in added(applied) if one.messages[-1].content == REFUSAL]


def categories(examples: Sequence[Example]) -> list[str]:
    """The category of each row."""
    return [one.source.removeprefix("safety_mix#") for one in examples]


@pytest.fixture
def pool(tmp_path: Path) -> Callable[..., str]:
    """Writes a pool of rows; returns its path."""

    def write(rows: list[dict[str, Any]], name: str = "pool") -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("lookalikes", [0.0, 1.0, 2.0])
def test_the_share_is_of_all_rows_after_mixing(
    ask: Asking, share: float, lookalikes: float
) -> None:
    """harmful / all is the share to the nearest row, whatever the look-alikes; none is lost."""
    applied = mix(share=share, lookalikes=lookalikes).apply(TASK, ask(aligned))
    found, everything = len(harmful(applied)), len(applied.examples)
    assert abs(found - share * everything) <= 1
    assert len(added(applied)) - found == round(found * lookalikes)
    assert everything == len(TASK) + len(added(applied))
    assert {one for one in applied.examples if one.source == "rows"} == set(TASK)
    assert applied.notes["harmful"] == found
    assert applied.notes["lookalikes"] == len(added(applied)) - found
    assert applied.notes["share"] == round(found / everything, 4)


@settings(derandomize=True, deadline=None, database=None)
@given(
    rows=st.integers(1, 10_000),
    share=st.floats(0.001, 0.3),
    lookalikes=st.floats(0, 2),
)
def test_the_arithmetic_of_the_share(rows: int, share: float, lookalikes: float) -> None:
    """At least one row, and one row more or less would be further from the share."""
    config = mix(share=share, lookalikes=lookalikes)
    wanted = config.harmful_rows(rows)

    def off(count: int) -> float:
        # The number of rows of which `count` would be the exact share, beside the real one.
        return abs(count * (1 - share * (1 + lookalikes)) / share - rows)

    assert wanted >= 1
    assert off(wanted) <= off(wanted + 1)
    assert wanted == 1 or off(wanted) <= off(wanted - 1)


@pytest.mark.parametrize("count", [4, 8, 11, 30])
def test_the_domains_are_balanced(ask: Asking, count: int) -> None:
    """Counts of the four domains differ by one at most, and so do the categories inside one."""
    applied = mix(share=count / (200 + count), lookalikes=0).apply(TASK, ask(aligned))
    drawn = categories(harmful(applied))
    assert len(drawn) == count
    domains = Counter(map(domain_of, drawn))
    assert set(domains) == set(DOMAINS)
    assert max(domains.values()) - min(domains.values()) <= 1
    for domain in DOMAINS:
        inside = Counter(one for one in drawn if domain_of(one) == domain)
        assert max(inside.values()) - min(inside.values()) <= 1


def test_the_domains_are_balanced_also_when_the_model_answers_many_of_one(ask: Asking) -> None:
    """Rows that the model does not refuse leave their domain, and others of it take their place."""

    def leaky(prompt: Prompt) -> str:
        answers = prompt.domain == DOMAINS[3] and int(prompt.id.rpartition("-")[2]) % 2
        return ANSWER if answers else aligned(prompt)

    applied = mix(share=0.05, lookalikes=0).apply(TASK, ask(leaky))
    domains = Counter(map(domain_of, categories(harmful(applied))))
    assert max(domains.values()) - min(domains[one] for one in DOMAINS) <= 1


def test_categories_without_a_row_are_reported(ask: Asking) -> None:
    """With fewer rows than categories the rest is named, in the taxonomy's order."""
    applied = mix(share=0.05).apply(TASK, ask(aligned))
    missing = applied.notes["categories_without_a_row"]
    assert set(missing) | set(categories(harmful(applied))) == {str(n) for n in range(1, 45)}
    assert not set(missing) & set(categories(harmful(applied)))
    assert missing == sorted(missing, key=int)


def test_only_refused_prompts_and_answered_lookalikes_are_used(ask: Asking) -> None:
    """The model's own compliance is never trained, nor its own over-refusal."""

    def mixed(prompt: Prompt) -> str:
        odd = int(prompt.id.rpartition("-")[2]) % 2
        return aligned(prompt) if odd else (ANSWER if aligned(prompt) == REFUSAL else REFUSAL)

    applied = mix(share=0.05).apply(TASK, ask(mixed))
    pools = {
        name: {one.prompt.text for one in read_pool(name, "safety_mix")}
        for name in ("safety_pool",)
    }
    for one in added(applied):
        refuses = one.messages[-1].content == REFUSAL
        assert refuses == (one.messages[0].content in pools["safety_pool"])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (lambda _: ANSWER, "the model refuses only 0; lower `share`"),
        (lambda _: REFUSAL, "the model answers only 0; lower `share`"),
    ],
)
def test_a_model_that_does_neither_is_refused(
    ask: Asking, script: Callable[[Prompt], str], words: str
) -> None:
    """Too few refusals or answers of its own: the message says what to change."""
    with pytest.raises(DataError, match=words):
        mix(share=0.05).apply(TASK, ask(script))


def test_the_draw_is_seeded(ask: Asking) -> None:
    """The same seed gives the same rows in the same order, another seed others."""
    drawn = [mix(share=0.05, seed=seed).apply(TASK, ask(aligned)).examples for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert {one.messages[0] for one in drawn[0]} != {one.messages[0] for one in drawn[2]}
    assert [one for one in drawn[0] if one in TASK] != TASK, "the rows are shuffled"


def test_curated_responses_are_the_pools(ask: Asking, pool: Callable[..., str]) -> None:
    """No model is asked; the added answers are the pool's words."""
    rows = [
        {"prompt": f"Harm {n}?", "category": str(n), "response": f"No. {n}"} for n in (1, 6, 25)
    ]
    context = ask(lambda _: pytest.fail("the model is asked"))
    applied = mix(share=0.01, lookalikes=0, responses="curated", pool=pool(rows)).apply(
        TASK, context
    )
    assert {one.messages[-1].content for one in added(applied)} <= {"No. 1", "No. 6", "No. 25"}
    assert len(added(applied)) == 2


def test_a_pool_from_which_nothing_is_drawn_needs_no_responses(
    ask: Asking, pool: Callable[..., str]
) -> None:
    """Without look-alikes it does not matter what their pool holds."""
    harm = pool([{"prompt": "A?", "category": "1", "response": "No."}])
    bare = pool([{"prompt": "B?", "category": "1"}], "bare")
    chosen = {"pool": harm, "lookalike_pool": bare, "lookalikes": 0.0}
    applied = mix(share=0.001, responses="curated", **chosen).apply(TASK, ask(aligned))
    assert len(added(applied)) == 1


def test_a_category_may_hold_any_character(ask: Asking, pool: Callable[..., str]) -> None:
    """A drawn category is never reported as missing."""
    rows = pool([{"prompt": "A?", "category": "C#: code", "response": "No."}])
    chosen = {"pool": rows, "lookalikes": 0.0, "responses": "curated"}
    notes = mix(share=0.001, **chosen).apply(TASK, ask(aligned)).notes
    assert notes["categories_without_a_row"] == []


def test_curated_without_a_response_is_refused(ask: Asking, pool: Callable[..., str]) -> None:
    """By the number of such rows and the first of them."""
    rows = [
        {"prompt": "A?", "category": "1", "response": "No."},
        {"prompt": "B?", "category": "6"},
        {"prompt": "C?", "category": "25", "response": ""},
    ]
    with pytest.raises(DataError, match=r"2 rows of .* have no `response` \(first: pool-2\)"):
        mix(share=0.01, responses="curated", pool=pool(rows)).apply(TASK, ask(aligned))


def test_a_curated_pool_that_is_too_small_is_refused(ask: Asking, pool: Callable[..., str]) -> None:
    """The model is not blamed for rows that nobody has written."""
    rows = [{"prompt": "A?", "category": "1", "response": "No."}]
    with pytest.raises(DataError, match=r"11 rows of .* are wanted, but it holds 1; lower"):
        mix(share=0.05, responses="curated", pool=pool(rows)).apply(TASK, ask(aligned))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ('{"category": "1"}', "row 1: field 'prompt' must be a non-empty string"),
        ('{"prompt": " ", "category": "1"}', "row 1: field 'prompt' must be"),
        ('{"prompt": "A?", "category": 1}', "row 1: field 'category' must be"),
        ('{"prompt": "A?", "category": "1"}\n{"prompt": ', "row 2: not JSON"),
        ("[1]", "row 1: expected an object"),
    ],
)
def test_a_broken_pool_is_refused_by_its_row(
    ask: Asking, tmp_path: Path, rows: str, words: str
) -> None:
    """A pool is the user's data: the message names file, row and field."""
    path = tmp_path / "mine.jsonl"
    path.write_text(rows)
    with pytest.raises(DataError) as caught:
        mix(pool=str(path)).apply(TASK, ask(aligned))
    assert "mine.jsonl, " in str(caught.value)
    assert words in str(caught.value)


def test_an_unknown_pool_is_refused_with_the_nearest(ask: Asking) -> None:
    """Shipped pools are known by name."""
    with pytest.raises(DataError, match="no pool 'safety_pol'; did you mean 'safety_pool'"):
        mix(pool="safety_pol").apply(TASK, ask(aligned))


def test_a_pool_of_another_taxonomy_keeps_its_own_domains(
    ask: Asking, pool: Callable[..., str]
) -> None:
    """A category that is no number is its own domain, unless the row names one."""
    kinds = [(kind, n) for kind in ("theft", "fraud") for n in range(9)]
    rows = [{"prompt": f"{kind} {n}?", "category": kind} for kind, n in kinds]
    rows.append({"prompt": "x?", "category": "1", "domain": "mine"})
    path = pool(rows)
    assert {row.prompt.domain for row in read_pool(path, "safety_mix")} == {
        "theft",
        "fraud",
        "mine",
    }
    applied = mix(share=0.02, lookalikes=0, pool=path).apply(TASK, ask(lambda _: REFUSAL))
    assert Counter(categories(added(applied))).most_common(1)[0][1] <= 2


def test_what_may_be_added_is_known_before(pool: Callable[..., str]) -> None:
    """Both pools' prompts, for the check against an evaluation's; nothing for other recipes."""
    assert added_rows(load_recipe("baseline")) == []
    path = pool([{"prompt": "Mine?", "category": "1"}])
    rows = added_rows(load_recipe("safety_mix", [f"methods.0.pool={path}"]))
    assert rows[0].requests == ("Mine?",)
    assert len(rows) == 1 + len(read_pool("safety_lookalikes", "safety_mix"))
