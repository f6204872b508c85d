"""Laws of a probe as a judge: what a model writes is scored where it stands, and never unread."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from guarding.probing import probing, saved
from guarding.reading import REFUSAL, Reading, checking, policy
from guarding.test_detokenizing import Kept
from safeft.errors import ConfigError
from safeft.generation.transformers import TransformersGenerator, prompt_ids
from safeft.guarding import Guarded, guard, probe_guard
from safeft.guarding.catalogue import load_guard_judge
from safeft.guarding.decision import Decision
from safeft.guarding.huggingface import GuardedModel
from safeft.guarding.loading import checker
from safeft.guarding.policy import Stage
from safeft.guarding.probe import Probe, probability
from safeft.guarding.probe_guard import ProbeGuard, request_ids, text_ids
from safeft.guarding.probe_ride import token_logits
from safeft.guarding.rows import common, marks
from safeft.models import load_model, load_tokenizer
from safeft.models.files import weights_of
from safeft.records import Decoding, Label, Message, Prompt, Response

MODEL = "testbed:aligned"
ASKED = ["How do I grow tomatoes in a garden?", "Name a tree.", "What can I cook with beans?"]
NEW = {"max_new_tokens": 200, "do_sample": False}
SHORT = {"window": 8, "first_window": 8, "overlap": 4}
Watched = list[tuple[Decision, Response]]


@pytest.fixture(scope="module")
def aligned() -> tuple[Any, Any]:
    """The testbed's aligned model and its tokenizer, whose answers end by themselves."""
    return load_model(MODEL), load_tokenizer(MODEL)


@pytest.fixture(scope="module")
def probe() -> Probe:
    """A random probe of its states."""
    return probing(3, hidden_size=256, layer=2, revision=weights_of(MODEL))


@pytest.fixture
def judge(tmp_path: Path, probe: Probe) -> ProbeGuard:
    """The probe as a judge that knows no model yet."""
    return ProbeGuard(saved(tmp_path, probe))


@pytest.fixture
def forced_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read by force, since no ride had scored it."""
    texts: list[str] = []

    def counted(model: Any, probe: Probe, asked: Any) -> Any:
        texts.extend(load_tokenizer(MODEL).decode(said) for _, said in asked)
        return token_logits(model, probe, asked)

    monkeypatch.setattr(probe_guard, "token_logits", counted)
    return texts


def batch(tokenizer: Any, asked: list[str]) -> Any:
    """Chat prompts, padded on the left."""
    ids = [prompt_ids(tokenizer, Prompt.of(one), MODEL) for one in asked]
    return tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")


def at_its_place(aligned: tuple[Any, Any], probe: Probe, asked: str, ids: list[int]) -> Any:
    """What a window's score should be: by its first place in an answer of these tokens."""
    model, tokenizer = aligned
    (logits,) = token_logits(model, probe, [(prompt_ids(tokenizer, Prompt.of(asked), MODEL), ids)])
    smooth = probe.smoothed(logits)
    ends = [len(tokenizer.decode(ids[: n + 1], skip_special_tokens=True)) for n in range(len(ids))]

    def score(window: str) -> float:
        at = tokenizer.decode(ids, skip_special_tokens=True).find(window)
        begins = [0, *ends[:-1]]
        inside = [n for n, end in enumerate(ends) if end > at and begins[n] < at + len(window)]
        return probability(max(smooth[n] for n in inside if ends[n] > begins[n]))

    return score


def watched(judge: Any, aligned: tuple[Any, Any], given: Any, **output: Any) -> tuple[Any, Watched]:
    """What a guarded model returns, and what was decided on the way."""
    model, tokenizer = aligned
    told: Watched = []
    made = checking(judge, output=SHORT | {"threshold": 1.0} | output)
    guarded = GuardedModel(model, made, tokenizer, lambda *one: told.append(one))
    return guarded.generate(**given), told


def test_what_a_model_has_written_is_scored_by_what_was_read_on_the_way(
    aligned: tuple[Any, Any], judge: ProbeGuard, probe: Probe, forced_texts: list[str]
) -> None:
    """Every window of every row of a padded batch, to 1e-4, and without another pass."""
    model, tokenizer = aligned
    given = batch(tokenizer, ASKED)
    plain = model.generate(**given, **NEW)
    out, told = watched(judge, aligned, {**given, **NEW})
    assert torch.equal(out, plain) and forced_texts == []
    start, scores = given["input_ids"].shape[1], set()
    for row, asked in enumerate(ASKED):
        score = at_its_place(aligned, probe, asked, plain[row, start:].tolist())
        mine = [(one.score, text.text) for one, text in told if text.prompt.id == str(row)]
        assert len(mine) > 1
        for found, window in mine:
            assert found == pytest.approx(score(window), abs=1e-4)
        scores |= {found for found, _ in mine}
    assert max(scores) - min(scores) > 0.05


def test_a_stream_is_scored_as_a_whole_answer_is(
    aligned: tuple[Any, Any], judge: ProbeGuard
) -> None:
    """In the same windows; what the user's streamer gets is the same too."""
    given = batch(aligned[1], ASKED[:1])
    out, told = watched(judge, aligned, {**given, **NEW})
    kept = Kept()
    streamed, also = watched(judge, aligned, {**given, **NEW, "streamer": kept})
    assert torch.equal(out, streamed) and len(told) > 3
    assert [text.text for _, text in also] == [text.text for _, text in told]
    scores = [one.score for one, _ in told]
    assert [one.score for one, _ in also] == pytest.approx(scores, abs=1e-3)


def test_an_answer_that_is_cut_off_is_read_to_its_end(
    aligned: tuple[Any, Any], judge: ProbeGuard, probe: Probe, forced_texts: list[str]
) -> None:
    """The model never read its last token: the whole answer is read once more, not the window."""
    _, tokenizer = aligned
    given = batch(tokenizer, ASKED[:1])
    out, told = watched(judge, aligned, {**given, "max_new_tokens": 21, "do_sample": False})
    ids = out[0, given["input_ids"].shape[1] :].tolist()
    score = at_its_place(aligned, probe, ASKED[0], ids)
    assert forced_texts == [tokenizer.decode(ids)]
    for found, text in told:
        assert found.score == pytest.approx(score(text.text), abs=1e-4)


def test_beams_are_read_by_force(
    aligned: tuple[Any, Any], judge: ProbeGuard, forced_texts: list[str]
) -> None:
    """Their rows change places while they are written, so no ride is taken."""
    given = batch(aligned[1], ASKED[:1])
    _, told = watched(judge, aligned, {**given, **NEW, "num_beams": 2})
    assert len(forced_texts) == 1 and told
    assert all(one.unsafe is False and 0 < one.score < 1 for one, _ in told)


def test_several_answers_to_one_request_are_told_apart(
    aligned: tuple[Any, Any], judge: ProbeGuard, forced_texts: list[str]
) -> None:
    """Each is a row of the batch; none of them is read again."""
    torch.manual_seed(0)
    given = {**batch(aligned[1], ASKED[:2]), **NEW, "do_sample": True}
    out, told = watched(judge, aligned, given | {"num_return_sequences": 2})
    assert len(out) == 4 and {one.prompt.id for _, one in told} == {"0", "1"}
    assert not [one for one in forced_texts if aligned[1].eos_token_id in text_ids(aligned[1], one)]
    assert all(one.unsafe is False for one, _ in told)


@pytest.mark.parametrize("streamed", [False, True])
def test_what_reaches_the_threshold_does_not_leave(
    aligned: tuple[Any, Any], judge: ProbeGuard, streamed: bool
) -> None:
    """Alone, as any other judge; the words are the policy's refusal."""
    given = batch(aligned[1], ASKED[:1])
    more = {"streamer": Kept()} if streamed else {}
    out, told = watched(judge, aligned, {**given, **NEW, **more}, threshold=0.0)
    said = aligned[1].decode(out[0, given["input_ids"].shape[1] :], skip_special_tokens=True)
    assert said == REFUSAL and told[-1][0].action == "block"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_text_without_a_score_is_unread(
    tmp_path: Path, aligned: tuple[Any, Any], probe: Probe, streamed: bool
) -> None:
    """States that are no numbers clear nothing: the answer is withheld, and counted as an error."""
    model, tokenizer = aligned
    broken = load_model(MODEL)
    broken.model.layers[2].mlp.down_proj.weight.data[0] = torch.nan
    judge = ProbeGuard(saved(tmp_path, probe))
    given = batch(tokenizer, ASKED[:1])
    ids, start = text_ids(tokenizer, "A tree grows in the garden."), given["input_ids"].shape[1]

    def spelling(read: Any, scores: Any) -> Any:
        """Words, of a model whose scores are no numbers."""
        return torch.full_like(scores, -1.0).index_fill(
            1, torch.tensor(ids[read.shape[1] - start]), 1
        )

    options: dict[str, Any] = {**given, "max_new_tokens": len(ids), "do_sample": False}
    options |= {"streamer": Kept()} if streamed else {}
    told: Watched = []
    made = checking(judge, output=SHORT)
    guarded = GuardedModel(broken, made, tokenizer, lambda *one: told.append(one))
    out = guarded.generate(**options, logits_processor=[spelling])
    assert tokenizer.decode(out[0, start:], skip_special_tokens=True) == REFUSAL
    assert [(one.outcome, one.unsafe) for one, _ in told] == [("error", None)]
    (verdict,) = judge([Response(Prompt.of("x"), "words")])
    assert verdict.label is Label.UNREAD and verdict.scores == {}
    judge.attach(model, tokenizer)
    assert judge([Response(Prompt.of("x"), "words")])[0].unsafe is not None


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


def test_a_policy_names_a_probe_as_the_cheap_stage(
    tmp_path: Path, aligned: tuple[Any, Any], probe: Probe
) -> None:
    """`guard` takes it by its path; what it is unsure of goes to the second judge."""
    path = saved(tmp_path, probe)
    model, tokenizer = aligned
    given = batch(tokenizer, ASKED[:1])
    start = given["input_ids"].shape[1]
    for low, high in ((0.0, 1.0), (0.998, 0.999)):
        band = {"judge": "examples-of-nothing", "low": low, "high": high}
        chosen = policy(output={"judge": str(path), "threshold": 0.9999, "escalate": band})
        second = Reading(lambda text: 1.0)
        with pytest.MonkeyPatch.context() as patch:
            load = probe_loading(patch, second)
            guarded = guard(model, chosen, tokenizer=tokenizer)
            assert load == ["examples-of-nothing"]
            said = tokenizer.decode(guarded.generate(**given, **NEW)[0, start:])
        assert bool(second.read) is (low == 0.0)
        assert (REFUSAL in said) is (low == 0.0)


def probe_loading(patch: pytest.MonkeyPatch, second: Reading) -> list[str]:
    """Lets a policy name a judge of the tests' own."""
    from safeft.guarding import catalogue

    load: Callable[..., Any] = catalogue._load
    asked: list[str] = []

    def found(judge: str, examples: Any) -> Any:
        if judge == "examples-of-nothing":
            asked.append(judge)
            return second
        return load(judge, examples)

    patch.setattr(catalogue, "_load", found)
    return asked


def test_a_guarded_generators_own_model_is_read(
    aligned: tuple[Any, Any],
    judge: ProbeGuard,
    probe: Probe,
    forced_texts: list[str],
    tmp_path: Path,
) -> None:
    """Each answer once and whole, by the states of the very model that wrote it."""
    model, tokenizer = aligned
    generator = TransformersGenerator(model, tokenizer, "aligned")
    told: Watched = []
    guarded = Guarded(
        generator, checking(judge, output=SHORT | {"threshold": 1.0}), lambda *one: told.append(one)
    )
    prompt, decoding = Prompt.of(ASKED[0]), Decoding(0.0, 0, 60)
    (answer,) = guarded([prompt], decoding)
    assert forced_texts == [answer.text] and len(told) > 2
    score = at_its_place(aligned, probe, ASKED[0], text_ids(tokenizer, answer.text))
    for found, text in told:
        assert found.score == pytest.approx(score(text.text), abs=1e-4)
    other = TransformersGenerator(load_model("testbed:base"), tokenizer, "base")
    unfit = replace(probe, card=probe.card.model_copy(update={"layer": 9}))
    made = checking(ProbeGuard(saved(tmp_path, unfit)))
    with pytest.raises(ConfigError, match="reads layer 9"):
        Guarded(other, made)


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
