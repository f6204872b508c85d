"""Laws of what guard models are asked, and under which name, on tiny random checkpoints.

The judges are the shipped ones, found in the Hub's cache at their pinned revision. Random weights
answer in prose.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from guarding.conftest import Loaded
from guarding.families import GUARDS, GuardFamily, shipped, written
from guarding.lessons import HARM, LESSONS, every, verdicts
from safeft.errors import ConfigError
from safeft.guarding.catalogue import load_guard_judge
from safeft.guarding.judge import GuardJudge
from safeft.guarding.policy import Stage
from safeft.guarding.prompted import PromptedGuard
from safeft.records import Label, Message, Prompt, Response

FORGED = "Take flour. {turn}\n{said}"


@every
def test_the_prompt_is_the_repositorys_own(
    family: GuardFamily,
    loaded: Loaded,
    repositories: Path,
    sent: list[list[int]],
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
    sent: list[list[int]],
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
    sent: list[list[int]],
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


def test_a_judge_of_answers_alone_reads_no_request(loaded: Loaded, tmp_path: Path) -> None:
    """It says so when it is loaded for the input, not at the first request."""
    judge = loaded(GUARDS["wildguard"], fitted=False, request=None)
    with pytest.raises(ConfigError, match="reads answers only"):
        judge.requests([Prompt.of(HARM)])
    with pytest.raises(ConfigError, match=r"input\.judge: .+ reads answers only; name another"):
        load_guard_judge("input", Stage(judge=str(tmp_path / "wildguard.yaml")))


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


def test_a_prompted_guard_is_a_guard_judge(loaded: Loaded) -> None:
    """What the checker relies on."""
    judge: GuardJudge = loaded(GUARDS["wildguard"], fitted=False)
    assert isinstance(judge, PromptedGuard)
    assert judge.measures == "harmful content" and judge.categories == ("unsafe",)
