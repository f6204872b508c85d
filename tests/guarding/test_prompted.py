"""Laws of what guard models say, on tiny checkpoints of their architectures.

The judges are the shipped ones, found in the Hub's cache at their pinned revision. Fitted weights
answer in the documented format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guarding.conftest import Loaded
from guarding.families import GUARDS, GuardFamily, shipped, written
from guarding.lessons import BREAD, HARM, LESSONS, TREE, every, verdicts
from safeft.assets import folder
from safeft.generation import Scripted
from safeft.guarding.checker import Checker
from safeft.guarding.policy import Policy, Stage
from safeft.guarding.prompted import PromptedGuard
from safeft.guarding.schema import Kind, PromptedFile
from safeft.records import Label, Prompt, Response


def test_every_shipped_judge_has_a_family_here() -> None:
    """A judge that ships is loaded and read on its own architecture, from a pinned revision."""
    names = [path.stem for path in folder("guardrails/judges").glob("*.yaml")]
    assert sorted(GUARDS) == sorted(names)
    for family in GUARDS.values():
        spec = written(family)
        assert spec.name == family.judge
        assert len(spec.model.partition("@")[2]) == 40
        assert spec.endpoint.timeout <= 10  # a guard waits for it


@every
def test_the_documented_format_is_read_from_the_models_own_words(
    family: GuardFamily, loaded: Loaded
) -> None:
    """Its architecture loads; harm is harm of its categories, and the odd answer is unread."""
    judge = loaded(family)
    assert judge.categories == written(family).categories
    for kind in ("exchange", "request"):
        harm, harmless, odd = verdicts(judge, kind)
        assert [one.unsafe for one in (harm, harmless, odd)] == [True, False, None]
        assert [one.prompt_id for one in (harm, harmless, odd)] == [HARM, BREAD, TREE]
        assert {one.judge for one in (harm, harmless, odd)} == {judge.name}
        high = tuple(name for name, score in harm.scores.items() if score > 0.5)
        assert sorted(high) == sorted(family.names)
        assert tuple(harm.scores) == tuple(harmless.scores) == judge.categories
        assert max(harmless.scores.values()) < 0.5
        assert odd.scores == {}


@every
def test_the_score_is_the_softmax_of_the_verdicts_first_token(
    family: GuardFamily, loaded: Loaded, repositories: Path
) -> None:
    """By hand: a forward pass up to the verdict's word, and the tokens that begin its words."""
    import transformers

    where = repositories / family.judge / "fitted"
    judge = loaded(family)
    tokenizer = transformers.AutoTokenizer.from_pretrained(where)
    model = getattr(transformers, family.architecture).from_pretrained(where).eval()
    for place, kind in ((0, "exchange"), (1, "request")):
        for which in (0, 1):
            verdict = verdicts(judge, kind)[which]
            _, request, answer = LESSONS[3 * place + which]
            name = family.criteria[0]
            said = family.answers[kind][which]
            spec = written(family, brief=True)
            read = family.about(tokenizer, spec, kind, request, answer, name)
            score = verdict.scores[name or (family.names[0] if which == 0 else "unsafe")]
            assert score == pytest.approx(
                by_hand(family, kind, model, tokenizer, read, said), abs=1e-4
            )


def by_hand(
    family: GuardFamily, kind: Kind, model: Any, tokenizer: Any, read: list[int], said: str
) -> float:
    """P(unsafe), where the last word of the label in `said` begins."""
    import torch

    words = written(family).ways()[kind][1].words
    ids = tokenizer(said, add_special_tokens=False)["input_ids"]
    word = {"granite-guardian": "score>", "gpt-oss-safeguard": 'violation": '}.get(family.judge)
    word = word or {"wildguard": f"Harmful {'response' if kind == 'exchange' else 'request'}:"}.get(
        family.judge, "Safety:" if family.judge == "qwen3guard" else ""
    )
    begin = said.index(word) + len(word) if word else 0
    begin += len(said[begin:]) - len(said[begin:].lstrip())
    step = next(n for n in range(len(ids)) if len(tokenizer.decode(ids[: n + 1])) > begin)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*read, *ids[:step]]])).logits[0, -1].double()
    shares = logits.softmax(-1)
    sums = {"safe": 0.0, "unsafe": 0.0}
    for token in range(len(tokenizer)):
        letters = tokenizer.decode([token]).lower().strip(" \n\t_-:,.\"'<>|(){}[]!?*#/\\&+=;$%@^`~")
        begun = [one for one in words if letters and one.startswith(letters)]
        if len(begun) == 1:
            sums[words[begun[0]]] += float(shares[token])
    return sums["unsafe"] / (sums["safe"] + sums["unsafe"])


def test_a_text_beyond_the_context_is_unread_and_stops_no_other(loaded: Loaded) -> None:
    """It cannot be shortened without leaving something unread."""
    judge = loaded(GUARDS["llama-guard-3"])
    prompt = Prompt.of(BREAD, "a")
    long = Response(Prompt.of(BREAD, "b"), "word " * 3000)
    found = judge([long, Response(prompt, LESSONS[1][2]), long])
    assert [one.unsafe for one in found] == [None, False, None]
    assert judge([]) == [] == judge.requests([])


def test_scores_by_words_are_one_and_zero(loaded: Loaded) -> None:
    """Where no probability is wanted none is computed."""
    judge = loaded(GUARDS["llama-guard-3"], score="words")
    harm, harmless, odd = verdicts(judge, "exchange")
    assert {name for name, one in harm.scores.items() if one == 1} == {
        *GUARDS[judge.spec.name].names
    }
    assert set(harmless.scores.values()) == {0.0}
    assert odd.label is Label.UNREAD


@pytest.mark.parametrize(("other", "unsafe"), [("no", True), ("perhaps", None)])
def test_one_criterion_unread_leaves_the_text_unread(other: str, unsafe: bool | None) -> None:
    """Whatever the others say: one that nobody could tell is no reason to let a text go."""
    spec = PromptedFile.model_validate(
        shipped(GUARDS["granite-guardian"])
        | {"model": "testbed:aligned", "score": "words", "criteria": {"a": {}, "b": {}}}
    )
    words = {"exchange/a": "<score>yes</score>", "exchange/b": f"<score>{other}</score>"}
    judge = PromptedGuard(spec, lambda _: Scripted(lambda prompt, _: words[prompt.category]))
    verdict = judge([Response(Prompt.of(HARM), "Take a mask.")])[0]
    assert verdict.unsafe is unsafe
    assert verdict.scores == ({"a": 1.0, "b": 0.0} if unsafe else {})


def test_a_cascade_asks_the_second_judge_about_the_band_and_the_unread(
    loaded: Loaded,
) -> None:
    """Cheap first: the sure stays with it, and only the rest costs the second model an answer."""
    first = loaded(GUARDS["llama-guard-3"])
    second = loaded(GUARDS["qwen3guard"])
    texts = [Response(Prompt.of(request, request), answer) for _, request, answer in LESSONS[:3]]
    alone = first(texts)
    scores = [max(one.scores.values(), default=-1.0) for one in alone]
    assert scores[0] > 0.5 > scores[1] and alone[2].unsafe is None

    def decided(low: float, high: float) -> list[tuple[bool, str]]:
        escalate = {"judge": "qwen3guard", "low": low, "high": high}
        stage = Stage.model_validate(
            {"judge": "llama-guard-3", "escalate": escalate, "timeout": 600}
        )
        policy = Policy(name="two", output=stage, refusal="No.")
        checker = Checker(policy, {"output": first}, {"output": second})
        found = checker.decide("output", texts)
        checker.close()
        return [(one.escalated, one.judge) for one in found]

    own, other = (False, first.name), (True, second.name)
    sure = decided(scores[1] + 1e-3, scores[0] - 1e-3)
    assert sure[:2] == [own, own]
    assert sure[2][1] == second.name  # and what the first could not read
    assert decided(0.0, scores[1] + 1e-3)[:2] == [own, other]
    assert decided(scores[0] - 1e-3, 1.0)[:2] == [other, own]
