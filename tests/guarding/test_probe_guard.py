"""Laws of a probe as a judge: a text is scored where it stands in an answer, or by itself."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guarding.probing import probing, saved
from guarding.reading import policy
from guarding.riding import ASKED, MODEL, at_its_place
from safeft.errors import ConfigError
from safeft.generation.transformers import prompt_ids
from safeft.guarding.catalogue import load_guard_judge
from safeft.guarding.loading import checker
from safeft.guarding.policy import Stage
from safeft.guarding.probe import Probe, probability
from safeft.guarding.probe_guard import ProbeGuard, request_ids, text_ids
from safeft.guarding.probe_ride import token_logits
from safeft.guarding.rows import common, marks
from safeft.models import load_model, load_tokenizer
from safeft.records import Message, Prompt, Response


def test_a_text_by_itself_is_read_by_force(judge: ProbeGuard, probe: Probe) -> None:
    """Through the card's own model, as the beginning of the answer to its conversation."""
    turns = (Message("user", ASKED[1]), Message("assistant", "An oak."), Message("user", "More?"))
    texts = [
        Response(Prompt("a", turns), "A beech is a tree."),
        Response(Prompt.of("b"), "A tree."),
    ]
    verdicts = judge(texts)
    assert [one.prompt_id for one in verdicts] == ["a", "0"]
    model, tokenizer = load_model(MODEL), load_tokenizer(MODEL)
    for verdict, one in zip(verdicts, texts, strict=True):
        asked = prompt_ids(tokenizer, one.prompt, MODEL), text_ids(tokenizer, one.text)
        (logits,) = token_logits(model, probe, [asked])
        wanted = probability(probe.smoothed(logits).max())
        assert verdict.scores == {"unsafe": pytest.approx(wanted, abs=1e-4)}
        assert verdict.unsafe is (wanted >= 0.5)


def test_the_cards_model_is_not_taken_for_another(
    tmp_path: Path, probe: Probe, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights that have changed since are warned of; a model of another width is refused."""
    text = [Response(Prompt.of("a"), "A tree.")]
    moved = replace(probe, card=probe.card.model_copy(update={"revision": "1" * 64}))
    with caplog.at_level(logging.WARNING, "safeft"):
        ProbeGuard(saved(tmp_path, moved))(text)
    assert "other weights than the probe was trained on" in caplog.text
    with pytest.raises(ConfigError, match=r"states of 64 numbers.* have 256"):
        ProbeGuard(saved(tmp_path, probing()))(text)


def test_windows_of_a_whole_answer_are_read_where_they_stand(
    aligned: tuple[Any, Any], judge: ProbeGuard, probe: Probe, forced_texts: list[str]
) -> None:
    """The answer is read once, when one of its windows is asked about; another's is not."""
    model, tokenizer = aligned
    judge.attach(model, tokenizer)
    answer, other = "Take good soil and some seeds. Water the soil.", "Water the soil."
    whole = [Response(Prompt.of(ASKED[0], "0"), answer), Response(Prompt.of("x", "1"), answer)]
    judge.note(whole)
    assert forced_texts == []
    windows = [replace(whole[0], text="Water the soil."), replace(whole[0], text="Take good soil")]
    found = [one.scores["unsafe"] for one in judge(windows)]
    score = at_its_place(aligned, probe, ASKED[0], text_ids(tokenizer, answer))
    assert found == pytest.approx([score(one.text) for one in windows], abs=1e-4)
    assert forced_texts == [answer]
    (alone,) = judge([Response(Prompt.of(ASKED[1]), other)])
    assert forced_texts == [answer, other]
    assert abs(alone.scores["unsafe"] - found[0]) > 1e-3


def test_what_one_model_said_is_forgotten_with_it(
    aligned: tuple[Any, Any], judge: ProbeGuard, tiny_tokenizer: Any
) -> None:
    """Another model's states of the same answer are others."""
    text = [Response(Prompt.of(ASKED[0]), "Water the soil.")]
    judge.attach(*aligned)
    judge.note(text)
    before = judge(text)[0].scores["unsafe"]
    judge.attach(load_model("testbed:base"), aligned[1])
    assert abs(judge(text)[0].scores["unsafe"] - before) > 1e-3
    judge.attach(*aligned)
    assert judge(text)[0].scores["unsafe"] == pytest.approx(before)


def test_a_text_beyond_the_models_context_is_unread(
    aligned: tuple[Any, Any], judge: ProbeGuard
) -> None:
    """And takes nobody with it, whether it was noted as a whole answer or not."""
    judge.attach(*aligned)
    texts = [
        Response(Prompt.of("a", "0"), "tree " * 2500),
        Response(Prompt.of("a", "1"), "A tree."),
    ]
    for _ in range(2):
        assert [one.unsafe is None for one in judge(texts)] == [True, False]
        judge.note(texts)


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_blank_answer_is_safe(judge: ProbeGuard, text: str) -> None:
    """It says nothing, and no model is loaded for it."""
    (verdict,) = judge([Response(Prompt.of("a"), text)])
    assert verdict.unsafe is False and verdict.scores == {"unsafe": 0.0}
    assert judge([]) == []


def test_a_control_token_that_is_spelled_is_read_as_letters(aligned: tuple[Any, Any]) -> None:
    """An answer cannot end itself for the judge; a model without a template reads plain words."""
    _, tokenizer = aligned
    spelled = f"A tree.{tokenizer.eos_token} Harm."
    assert tokenizer.eos_token_id not in text_ids(tokenizer, spelled)
    assert tokenizer.decode(text_ids(tokenizer, spelled)) == spelled
    bare = load_tokenizer(MODEL)
    bare.chat_template = None
    assert request_ids(bare, Prompt.of("Name a tree."), MODEL) == bare("Name a tree.")["input_ids"]
    assert request_ids(tokenizer, Prompt.of("a"), MODEL) == prompt_ids(
        tokenizer, Prompt.of("a"), MODEL
    )


def test_it_reads_answers_only(tmp_path: Path, judge: ProbeGuard) -> None:
    """A policy that names it for requests is refused when it is loaded."""
    with pytest.raises(ConfigError, match="reads answers only"):
        judge.requests([Prompt.of("a")])
    path = str(tmp_path / "probe.json")
    assert isinstance(load_guard_judge("output", Stage(judge=path)), ProbeGuard)
    with pytest.raises(ConfigError, match=r"input\.judge: .*probe\.json reads answers only"):
        checker(policy(input={"judge": path}))


def test_its_name_changes_with_what_decides_a_verdict(tmp_path: Path, probe: Probe) -> None:
    """Weights, layer, smoothing and the model's revision; and it tells whose rows it learnt."""
    changes: list[dict[str, Any]] = [
        {},
        {"layer": 1},
        {"smoothing": 0.1},
        {"start": 1.0},
        {"revision": "2"},
    ]
    cards = [probe.card.model_copy(update=one) for one in changes]
    made = [ProbeGuard(saved(tmp_path, replace(probe, card=one))) for one in cards]
    made.append(ProbeGuard(saved(tmp_path, replace(probe, bias=0.2))))
    assert len({one.name for one in made}) == len(made)
    rows = probe.card.model_copy(update={"rows": marks(["a", "b"])})
    told = ProbeGuard(saved(tmp_path, replace(probe, card=rows))).trained_on
    assert common(told, marks(["b", "c"])) == 1


def test_a_card_is_valid_json_of_a_known_kind(tmp_path: Path, probe: Probe) -> None:
    """What names no kind that there is says which there are."""
    path = saved(tmp_path, probe)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": "prob"}))
    with pytest.raises(ConfigError, match="did you mean 'probe'"):
        load_guard_judge("output", Stage(judge=str(path)))


def test_scores_are_numbers_from_0_to_1(aligned: tuple[Any, Any], tmp_path: Path) -> None:
    """Also of logits far away from 0."""
    for bias in (-1e4, 1e4):
        judge = ProbeGuard(saved(tmp_path, probing(3, bias, hidden_size=256, layer=2)))
        judge.attach(*aligned)
        (verdict,) = judge([Response(Prompt.of("a"), "A tree.")])
        assert verdict.scores["unsafe"] == np.clip(bias, 0, 1)
