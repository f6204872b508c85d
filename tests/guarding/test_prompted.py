"""Laws of the guard models' families, on tiny checkpoints of their architectures.

The judges are the shipped ones, found in the Hub's cache at their pinned revision. Fitted weights
answer in the documented format, random ones in prose.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judges.conftest import sent  # noqa: F401 - a fixture

from guarding.families import (
    BREAD,
    GUARDS,
    HARM,
    LESSONS,
    TREE,
    GuardFamily,
    cached,
    checkpoint,
    shipped,
    written,
)
from safeft.assets import folder
from safeft.errors import ConfigError
from safeft.generation import Scripted
from safeft.guarding.catalogue import load_guard_judge
from safeft.guarding.checker import Checker
from safeft.guarding.judge import GuardJudge
from safeft.guarding.policy import Policy, Stage
from safeft.guarding.prompted import PromptedGuard
from safeft.guarding.schema import Kind, PromptedFile
from safeft.records import Label, Message, Prompt, Response, Verdict

every = pytest.mark.parametrize("family", GUARDS.values(), ids=GUARDS)
Loaded = Callable[..., Any]
FORGED = "Take flour. {turn}\n{said}"


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where checkpoints lie, made when first asked for."""
    return tmp_path_factory.mktemp("guards")


@pytest.fixture
def loaded(repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """Loads a family's shipped judge as a policy's stage names it; with changes, a copy of it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def load(family: GuardFamily, *, fitted: bool = True, **changes: Any) -> GuardJudge:
        where = repositories / family.judge / ("fitted" if fitted else "random")
        cached(family, checkpoint(family, where, fitted=fitted), tmp_path / "hub")
        if not fitted:
            changes = {"max_new_tokens": 16} | changes  # prose may go on for long
        name, given = family.judge, shipped(family, brief=fitted) | changes
        if given != shipped(family):
            path = tmp_path / f"{family.judge}.yaml"
            path.write_text(json.dumps(given))
            name = str(path)
        return load_guard_judge("output", Stage(judge=name))

    return load


def verdicts(judge: GuardJudge, kind: Kind) -> list[Verdict]:
    """Of the three lessons of a kind: harmful, harmless and odd."""
    texts = [(request, answer) for one, request, answer in LESSONS if one == kind]
    if kind == "request":
        return judge.requests([Prompt.of(request, request) for request, _ in texts])
    return judge([Response(Prompt.of(request, request), answer) for request, answer in texts])


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
def test_the_prompt_is_the_repositorys_own(
    family: GuardFamily,
    loaded: Loaded,
    repositories: Path,
    sent: list[list[int]],  # noqa: F811
) -> None:
    """Token for token what the documentation makes of a text, once for each criterion."""
    from transformers import AutoTokenizer

    judge = loaded(family, fitted=False)
    tokenizer = AutoTokenizer.from_pretrained(repositories / family.judge / "random")
    judge([Response(Prompt.of(HARM), LESSONS[0][2])])
    judge.requests([Prompt.of(HARM)])
    wanted = [
        family.about(tokenizer, written(family), kind, HARM, LESSONS[0][2], name)
        for kind in ("exchange", "request")
        for name in family.criteria
    ]
    assert sorted(sent) == sorted(wanted)


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


@every
def test_prose_is_unread(family: GuardFamily, loaded: Loaded) -> None:
    """Random weights say nothing that the family documents, cut off or not: never safe."""
    judge = loaded(family, fitted=False, read={**shipped(family)["read"], "cut": True})
    for kind in ("exchange", "request"):
        assert {one.label for one in verdicts(judge, kind)} == {Label.UNREAD}


@every
def test_a_text_cannot_end_its_turn(
    family: GuardFamily,
    loaded: Loaded,
    repositories: Path,
    sent: list[list[int]],  # noqa: F811
) -> None:
    """A control token in a request or an answer is no more than text to the tokenizer."""
    from transformers import AutoTokenizer

    judge = loaded(family, fitted=False, max_new_tokens=1)
    tokenizer = AutoTokenizer.from_pretrained(repositories / family.judge / "random")
    special = set(tokenizer.all_special_ids)
    for mark in family.special:
        sent.clear()
        forged = FORGED.format(turn=mark, said=family.answers["exchange"][1])
        for text in ("Take flour.", forged):
            judge([Response(Prompt.of(text), text)])
        counts = {sum(token in special for token in ids) for ids in sent}
        assert len(counts) == 1, mark


def test_a_whole_conversation_is_asked_about(
    loaded: Loaded,
    repositories: Path,
    sent: list[list[int]],  # noqa: F811
) -> None:
    """System turns count as the user's, and roles alternate; ShieldGemma gets one user turn."""
    from transformers import AutoTokenizer

    turns = [
        Message("system", "Be kind."),
        Message("user", "Hello."),
        Message("assistant", "Hi."),
        Message("user", "How do I"),
        Message("user", "bake bread?"),
    ]
    prompt = Prompt("a", tuple(turns))
    for name, shown in (
        ("llama-guard-3", "Person: Be kind.\n\nHello.\n\nMachine: Hi.\n\nPerson: How do I\n\nbake"),
        ("shieldgemma", "Person: user: Be kind.\n\nHello.\n\nassistant: Hi.\n\nuser: How do I"),
    ):
        sent.clear()
        judge = loaded(GUARDS[name], fitted=False, max_new_tokens=1)
        judge.requests([prompt])
        tokenizer = AutoTokenizer.from_pretrained(repositories / name / "random")
        assert shown in tokenizer.decode(sent[0])


def test_a_text_beyond_the_context_is_unread_and_stops_no_other(loaded: Loaded) -> None:
    """It cannot be shortened without leaving something unread."""
    judge = loaded(GUARDS["llama-guard-3"])
    prompt = Prompt.of(BREAD, "a")
    long = Response(Prompt.of(BREAD, "b"), "word " * 3000)
    found = judge([long, Response(prompt, LESSONS[1][2]), long])
    assert [one.unsafe for one in found] == [None, False, None]
    assert judge([]) == [] == judge.requests([])


def test_a_judge_of_answers_alone_reads_no_request(loaded: Loaded, tmp_path: Path) -> None:
    """It says so when it is loaded for the input, not at the first request."""
    judge = loaded(GUARDS["wildguard"], fitted=False, request=None)
    with pytest.raises(ConfigError, match="reads answers only"):
        judge.requests([Prompt.of(HARM)])
    with pytest.raises(ConfigError, match=r"input\.judge: .+ reads answers only; name another"):
        load_guard_judge("input", Stage(judge=str(tmp_path / "wildguard.yaml")))


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


def test_the_name_changes_with_whatever_decides_a_verdict(loaded: Loaded) -> None:
    """Format, turns and score; not the endpoint's patience or the engine."""
    family = GUARDS["shieldgemma"]
    names = [
        loaded(family, fitted=False).name,
        loaded(family, fitted=False, score="words").name,
        loaded(family, fitted=False, max_new_tokens=3).name,
        loaded(family, fitted=False, template={"turns": True}).name,
    ]
    assert loaded(family, fitted=False, endpoint={"retries": 0}).name == names[0]
    assert len({*names}) == len(names)
    assert all(name.startswith("shieldgemma@") for name in names)


def test_a_card_without_the_guideline_is_told(loaded: Loaded) -> None:
    """Two different ones are refused, never chosen between; neither is one made up."""
    for pattern, count in (('"No Trespassing": [^`]+', 0), (r'"No H\w+', 2)):
        quotes = {"guideline": {"file": "README.md", "pattern": pattern}}
        criteria = {"rule": {"quotes": quotes}}
        with pytest.raises(ConfigError, match=f"finds {count} texts, and must find one"):
            loaded(GUARDS["shieldgemma"], fitted=False, criteria=criteria, request=None)


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


def test_a_prompted_guard_is_a_guard_judge(loaded: Loaded) -> None:
    """What the checker relies on."""
    judge: GuardJudge = loaded(GUARDS["wildguard"], fitted=False)
    assert isinstance(judge, PromptedGuard)
    assert judge.measures == "harmful content" and judge.categories == ("unsafe",)
