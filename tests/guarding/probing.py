"""Probes of the tests' own: random ones, and one that finds a token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from safeft.guarding.probe import Probe, ProbeCard

WIDTH = 64


def card(**values: Any) -> ProbeCard:
    """Of the tiny Llama's last but one layer."""
    usual = {
        "name": "tiny-probe",
        "model": "testbed:aligned",
        "revision": "0" * 64,
        "hidden_size": WIDTH,
        "layer": 1,
        "smoothing": 0.8,
    }
    return ProbeCard.model_validate(usual | values)


def probing(seed: int = 0, bias: float = 0.1, **values: Any) -> Probe:
    """Random weights, of a size that gives scores between 0 and 1."""
    made = card(**values)
    drawn = np.random.default_rng(seed).normal(0, 0.2, made.hidden_size)
    return Probe(drawn.astype(np.float32), bias, made)


def saved(folder: Path, probe: Probe | None = None) -> Path:
    """The path of its card."""
    path = folder / "probe.json"
    (probe or probing()).save(path)
    return path
