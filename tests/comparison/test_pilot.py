"""A finished run as pilot: what its own design can detect, and what a larger one would."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from processes import done, refused

from comparison.conftest import Comparison

MAIN = Path(__file__).parents[2] / "benchmarks" / "main" / "results"


def test_the_committed_benchmark_is_a_pilot() -> None:
    """Its verdicts are enough; the first line of the table is its own design."""
    out = done("plan", MAIN, "--recipe", "safety_mix", "--difference", 0.05).out
    spread, own, *_ = out.splitlines()
    assert spread.startswith("standard deviations in points: training ")
    assert own.startswith("5 training seeds × 220 prompts × 3 decodings: ")
    detected = float(re.findall(r"([\d.]+) points", own)[0])
    assert 1 < detected < 20
    wanted, seeds, prompts, decodings = out.splitlines()[-4:]
    assert wanted == "5 points with power 0.8 need one of:"
    none = r"no number of them is enough with"
    assert re.fullmatch(rf"  training seeds: {none} 220 prompts and 3 decodings", seeds)
    assert re.fullmatch(r"  \d+ prompts, with 5 training seeds and 3 decodings", prompts)
    assert re.fullmatch(rf"  decodings: {none} 5 training seeds and 220 prompts", decodings)


@pytest.mark.parametrize("option", ["--seeds", "--prompts", "--decodings"])
def test_each_number_that_is_given_back_suffices(option: str) -> None:
    """Typed as the design, it detects the difference that it was asked for; half of it does not."""
    given: list[object] = ["--training-sd", 0.01, "--prompt-sd", 0.05, "--residual-sd", 0.4]
    given += ["--decoding-sd", 0.02, "--seeds", 5, "--prompts", 300]
    out = done("plan", *given, "--difference", 0.055).out
    name = option.removeprefix("--")
    (number,) = re.findall(rf"^  (\d+) (?:training )?{name}, with ", out, re.MULTILINE)
    for count, suffices in ((int(number), True), (int(number) // 2, False)):
        own = done("plan", *given, option, count).out.splitlines()[1]
        assert (float(re.findall(r"([\d.]+) points", own)[0]) <= 5.5) == suffices


def test_a_pilot_that_decoded_once_says_nothing_of_decodings(compared: Comparison) -> None:
    """Nothing was drawn twice, so that nobody knows what the next draw would repeat."""
    out = done("plan", compared.output, "--recipe", "frozen", "--difference", 0.001).out
    assert out.splitlines()[1].startswith("2 training seeds × 4 prompts × 1 decodings: ")
    assert "decodings: not known, since the pilot decoded once; draw several at T > 0" in out


def test_a_reference_that_was_never_trained_adds_no_seed_and_takes_none() -> None:
    """The design is the recipe's own."""
    from safeft.comparison.pilot import pilot

    _, design = pilot(MAIN, "untuned")
    assert (design.seeds, design.prompts, design.decodes) == (5, 220, 3)


def test_standard_deviations_alone_are_enough() -> None:
    """More seeds detect less, down the table."""
    given = ("--training-sd", 0.04, "--prompt-sd", 0.2, "--residual-sd", 0.4)
    found = re.findall(r": ([\d.]+) points", done("plan", *given).out)
    assert len(found) == 4 and sorted(map(float, found), reverse=True) == [*map(float, found)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give a pilot RUN, or --training-sd"),
        (("--training-sd", -1, "--prompt-sd", 0.1, "--residual-sd", 0.1), "must be 0 or more"),
        ((MAIN, "--recipe", "safety_mxi"), "did you mean 'safety_mix'"),
        ((MAIN, "--recipe", "safety_mix", "--difference", 2), "expected a rate between 0 and 1"),
    ],
)
def test_a_plan_of_nothing_is_refused(arguments: tuple[object, ...], words: str) -> None:
    """By the option that is wrong."""
    assert words in refused("plan", *arguments)
