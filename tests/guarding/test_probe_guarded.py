"""Laws of models that a probe guards: what they write is scored on the way, and never unread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from guarding.probing import saved
from guarding.reading import REFUSAL, Reading, checking, policy
from guarding.riding import ASKED, MODEL, NEW, SHORT, Watched, at_its_place, batch, watched
from guarding.streamers import Kept
from safeft.errors import ConfigError
from safeft.generation.transformers import TransformersGenerator
from safeft.guarding import Guarded, guard
from safeft.guarding.huggingface import GuardedModel
from safeft.guarding.probe import Probe
from safeft.guarding.probe_guard import ProbeGuard, text_ids
from safeft.models import load_model
from safeft.records import Decoding, Label, Prompt, Response


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
