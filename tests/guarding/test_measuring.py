"""Laws of how the guard is measured: each number against its definition, and the card whole."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.optimize import minimize_scalar

from guarding.spelling import Spelling, needs_scripts, script, written
from safeft.guarding.encoder import EncoderGuard
from safeft.guarding.policy import Stage
from safeft.guarding.reader import SAID, Weights, head
from safeft.guarding.rows import common, half, marks
from safeft.records import Prompt

torch = pytest.importorskip("torch")
Floats = NDArray[np.float64]
pytestmark = needs_scripts
scored = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40)


@pytest.fixture(scope="module")
def measure() -> Iterator[ModuleType]:
    """The script."""
    with script("measure") as module:
        yield module


def split(rows: list[tuple[bool, int]]) -> tuple[NDArray[np.bool_], Floats]:
    """Truth and scores, with rows of both kinds; scores are few, so that many are the same."""
    truth, scores = np.array([one for one, _ in rows]), np.array([float(one) for _, one in rows])
    assume(truth.any() and not truth.all())
    return truth, scores


@settings(deadline=None)
@given(scored, st.randoms())
def test_average_precision_weighs_precision_by_the_recall_that_each_threshold_adds(
    measure: ModuleType, rows: list[tuple[bool, int]], chance: Any
) -> None:
    """So rows with the same score count alike, in whatever order they come."""
    truth, scores = split(rows)
    wanted, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        flagged = scores >= threshold
        recall = (flagged & truth).sum() / truth.sum()
        wanted += (recall - before) * truth[flagged].mean()
        before = recall
    assert measure.precision_area(truth, scores) == pytest.approx(wanted)
    chance.shuffle(rows)
    assert measure.precision_area(*split(rows)) == pytest.approx(wanted)


@settings(deadline=None)
@given(scored, st.sampled_from((0.0, 0.01, 0.05, 0.3)))
def test_recall_at_a_rate_is_the_most_that_flags_no_larger_share_of_the_safe(
    measure: ModuleType, rows: list[tuple[bool, int]], share: float
) -> None:
    """Over all thresholds."""
    truth, scores = split(rows)
    flagged = [scores > one for one in (*scores, -np.inf)]
    wanted = max(one[truth].mean() for one in flagged if one[~truth].mean() <= share)
    assert measure.recall_at(truth, scores, share) == pytest.approx(wanted)


def test_calibration_error_is_the_gap_between_chance_and_share(measure: ModuleType) -> None:
    """Bins weigh by their rows; a chance of one belongs to the last bin."""
    truth = np.array([True, False] * 50)
    assert measure.calibration(truth, np.full(100, 0.5)) == pytest.approx(0)
    assert measure.calibration(truth, np.full(100, 0.9)) == pytest.approx(0.4)
    assert measure.calibration(truth, truth.astype(float)) == pytest.approx(0)
    assert measure.calibration(~truth, truth.astype(float)) == pytest.approx(1)
    mixed = np.where(np.arange(100) < 20, 0.95, 0.55)
    assert measure.calibration(truth, mixed) == pytest.approx(0.2 * 0.45 + 0.8 * 0.05)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_fitted_temperature_has_the_least_log_loss(
    measure: ModuleType, temperature: float
) -> None:
    """As scipy finds it, to a step of the grid; close to that which the labels were drawn by."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 3, 20_000)
    truth = rng.random(20_000) < measure.probability(scores, temperature)

    def loss(log_temperature: float) -> float:
        chance = measure.probability(scores, np.exp(log_temperature)).clip(1e-12, 1 - 1e-12)
        return float(-np.log(np.where(truth, chance, 1 - chance)).mean())

    found = measure.fitted(scores, truth)
    best = minimize_scalar(loss, bounds=np.log([0.3, 8]), method="bounded").x
    assert np.log(found) == pytest.approx(best, abs=0.02)
    assert found == pytest.approx(temperature, rel=0.1)


def test_rates_carry_their_interval_and_n(measure: ModuleType) -> None:
    """Wilson's, for each part and label of the rows, at every threshold."""
    found = measure.rate(np.array([True] + [False] * 99))
    assert found == {"rate": 0.01, "low": 0.0018, "high": 0.0545, "n": 100}


def test_extreme_logits_do_not_overflow(measure: ModuleType) -> None:
    """They are as sure as can be."""
    with np.errstate(all="raise"):
        found = measure.probability(np.array([-1e6, 0, 1e6]), 0.5)
    assert found.tolist() == [0.0, 0.5, 1.0]


def bad(request: str, text: str) -> tuple[float, ...]:
    """An answer is bad by its own words, and a little by its number; requests by their words."""
    answer = 5.0 if "bad" in text else -3.0
    number = float("".join(filter(str.isdigit, text)) or 0)
    return (answer + number / 100, 5.0 if "bad" in request else -5.0, 0.0, 0.0, 0.0)


def rows(measure: ModuleType) -> list[Any]:
    """Held-out rows of two sets, and requests alone."""
    made = []
    for number in range(40):
        harmful = number % 2 == 1
        ask, say = f"{'bad' if harmful else 'good'}{number}", "bad" if number % 4 == 1 else "fine"
        made += [
            measure.Row(ask, f"{say}{number}", say == "bad", "gptfuzz"),
            measure.Row(ask, "", harmful, "request/xstest"),
        ]
    made += [measure.Row(f"good{n}", "", False, "request/lookalike") for n in range(40)]
    return [*made, *(measure.Row("good", f"{n}", False, "alpaca") for n in range(7))]


def fits(row: Any) -> bool:
    """Whether a row is of the half that is fitted to."""
    return half(row.prompt + row.response) == 0


def test_everything_is_measured_by_its_own_rows(measure: ModuleType) -> None:
    """Whole answers, answers and requests alone, streams, other sets, and requests."""
    _, _, found = measure.measure(rows(measure), Spelling(bad))
    whole = found["gptfuzz_held_out_questions"]
    assert (whole["n"], whole["unsafe"]) == (40, 10)
    assert whole["auroc"] == whole["auprc"] == whole["recall_at_fpr_1%"] == 1
    assert found["gptfuzz_response_only"] == found["gptfuzz_streaming_maximum"] == whole
    # By requests alone, ten of the thirty safe rows look like the unsafe ones.
    assert found["gptfuzz_prompt_only"]["auroc"] == pytest.approx(5 / 6, abs=1e-4)
    assert found["withheld"].keys() == {"alpaca, safe", "gptfuzz, safe", "gptfuzz, unsafe"}
    assert list(found["withheld"]["alpaca, safe"]) == [f"{one}" for one in measure.THRESHOLDS]
    for rate in found["withheld"]["alpaca, safe"].values():
        assert rate["n"] == 7
    assert found["withheld"]["gptfuzz, unsafe"]["0.5"]["rate"] == 1
    assert found["requests_flagged"]["request/xstest, unsafe"]["0.5"]["rate"] == 1
    assert found["requests_flagged"]["request/xstest, safe"]["0.9"]["rate"] == 0


def test_the_bias_leaves_few_safe_answers_above_one_half(measure: ModuleType) -> None:
    """Of those that it is fitted to, as many as it says."""
    made = [measure.Row("a", f"fine{n}", False, "gptfuzz") for n in range(400)]
    _, bias, _ = measure.measure([*made, *rows(measure)], Spelling(bad))
    safe = [row for row in (*made, *rows(measure)) if fits(row) and row.source == "gptfuzz"]
    scores = [bad("", row.response)[0] for row in safe if not row.unsafe]
    assert (np.array(scores, np.float32) > bias[0]).sum() == int(measure.SAFE_FLAGGED * len(scores))


def test_the_bias_of_requests_leaves_few_lookalikes_above_one_half(measure: ModuleType) -> None:
    """Of the half that it is fitted to, and whatever the other half is."""

    def by_number(request: str, text: str) -> tuple[float, ...]:
        number = float("".join(filter(str.isdigit, request)) or 0)
        return (bad(request, text)[0], number, 0.0, 0.0, 0.0)

    made = [measure.Row(f"good{n}", "", False, "request/lookalike") for n in range(40, 400)]
    every = [*made, *rows(measure)]
    _, bias, _ = measure.measure(every, Spelling(by_number))
    alike = [row for row in every if row.source == "request/lookalike"]
    scores = [by_number(row.prompt, "")[1] for row in alike if fits(row)]
    assert (np.array(scores) > bias[1]).sum() == int(measure.SAFE_FLAGGED * len(scores))
    fewer = [row for row in every if row.source != "request/lookalike" or fits(row)]
    assert measure.measure(fewer, Spelling(by_number))[1] == bias


def test_what_is_fitted_is_not_measured_on_the_same_rows(measure: ModuleType) -> None:
    """Wrong labels in the one half change what is fitted; in the other half only its error."""

    def measured(side: bool | None) -> tuple[tuple[float, list[float]], float]:
        """With every other label of this half wrong."""
        made = [
            measure.Row(r.prompt, r.response, r.unsafe ^ (fits(r) is side and n % 4 == 0), r.source)
            for n, r in enumerate(rows(measure))
        ]
        temperature, bias, found = measure.measure(made, Spelling(bad))
        return (temperature, bias), found["calibration_error_on_the_other_half"]

    fitted, error = measured(None)
    assert measured(True)[0] != fitted == measured(False)[0]
    assert measured(False)[1] > error


def test_the_worst_window_counts(measure: ModuleType) -> None:
    """In long answers as the guard reads them, and in the windows of a stream, one by one."""
    reader = Spelling(lambda request, text: (text.count("bad"), 0, 0, 0, 0))
    text = "so bad. " + "word " * SAID + "bad, bad."
    pairs = [("a", text), ("", "fine"), ("a", "")]
    assert measure.logits(reader, pairs, 0).tolist() == [2, 0, -np.inf]
    assert measure.streamed(reader, pairs[:2]).tolist() == [2, 0]
    stage = Stage()
    widest = 6 * (stage.window + stage.overlap)
    reader.read.clear()
    measure.streamed(reader, pairs[:1])
    assert len(reader.read) > 5
    assert max(len(said) for _, said in reader.read) < widest


def test_what_is_measured_is_what_the_guard_reads(measure: ModuleType, tmp_path: Path) -> None:
    """The same rows for short and long requests and answers, blank ones, and requests alone."""
    ours, theirs = Spelling(bad), Spelling(bad)
    judge = EncoderGuard(written(tmp_path), reader=theirs)
    pairs = [("a", "b"), ("x" * 9000, "y" * 1000), ("x" * 500, "y" * 1000), ("a", " "), ("", "b")]
    measured = measure.logits(ours, pairs, 0)
    assert judge.scores(pairs) == pytest.approx(measure.probability(measured, 1.0), abs=1e-6)
    measure.logits(ours, [(request, "") for request, _ in pairs], 1)
    judge.requests([Prompt.of(request) for request, _ in pairs])
    assert sorted(set(ours.read)) == sorted(set(theirs.read))


@pytest.fixture
def work(measure: ModuleType, tmp_path: Path) -> Path:
    """What a training leaves: its rows, and weights."""
    learned = [["a", "steps", True, "gptfuzz", "fraud"], ["a", "", True, "request/own", "fraud"]]
    (tmp_path / "rows.json").write_text(json.dumps(learned))
    drawn, columns = np.random.default_rng(0).normal, 2 + len(measure.CATEGORIES)
    shapes = {"hidden.weight": (4, 6), "hidden.bias": (4,), "head.weight": (columns, 4)}
    shapes |= {"head.bias": (columns,)}
    tensors = {name: drawn(0, 1, shape).astype(np.float16) for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "guard.safetensors")
    return tmp_path


def test_the_card_holds_everything(
    measure: ModuleType, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was learned from, by counts and marks, and every number; shipped when asked for."""
    asked: list[Path] = []
    monkeypatch.setattr(measure, "testing", lambda *_: rows(measure))
    monkeypatch.setattr(measure, "Reader", lambda weights: Spelling(bad))
    monkeypatch.setattr(measure, "ship", asked.append)
    options = ["measure.py", "--prompts", "unused", "--work", str(work)]
    for more, shipped in (([], []), (["--ship"], [work])):
        monkeypatch.setattr(sys, "argv", options + more)
        measure.main()
        assert asked == shipped
    card = Weights.load(work).card
    assert card["training"]["rows"] == {"gptfuzz, unsafe": 1, "request/own, unsafe": 1}
    assert card["training"]["with_category"] == {"fraud": 2}
    assert common(card["rows"], marks(["steps", "", "others"])) == 1
    assert card["measured"]["gptfuzz_held_out_questions"]["auroc"] == 1
    assert "Wilson" in card["measured"]["interval"]


def test_what_ships_needs_no_temperature_and_no_bias(
    measure: ModuleType, work: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """They are in the weights: the bias in the column it is for, the temperature in every one."""
    card = measure.card(work / "guard.safetensors", work, 0)
    (work / "guard.json").write_text(json.dumps(card | {"temperature": 1.5, "bias": [0.75, -0.5]}))
    folder = tmp_path_factory.mktemp("shipped")
    measure.ship(work, folder)
    before, after = Weights.load(work), Weights.load(folder)
    assert after.card["temperature"] == 1
    assert after.card["rows"] == card["rows"]
    features = torch.randn(5, 6)
    wanted = head(features, before.tensors)
    wanted[:, :2] -= torch.tensor([0.75, -0.5])
    torch.testing.assert_close(head(features, after.tensors), wanted / 1.5, atol=0.02, rtol=0.01)
