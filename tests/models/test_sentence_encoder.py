"""The sentence encoder: verified bytes, unit vectors, one vector per text whatever the batch."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from safeft.errors import ModelError
from safeft.models import encoder
from safeft.models.encoder import encode, precision

TEXTS = [
    "How does one water a plant?",
    "a",
    "",
    "Tulips " * 400,
    "How do I water plants?",
    "é\u2028",
]


def test_vectors_have_length_one_and_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text by text gives what a batch gives, so padding and sorting are invisible."""
    together = encode(TEXTS)
    assert together.shape == (len(TEXTS), 384) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    monkeypatch.setattr(encoder, "_KEPT", OrderedDict())
    alone = np.vstack([encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_kept_vectors_are_what_would_be_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking again, partly, twice over, or with another length gives each its own vector."""
    monkeypatch.setattr(encoder, "_KEPT", OrderedDict())
    monkeypatch.setattr(encoder, "KEPT", 3)
    first = encode(TEXTS)
    first[:] = 0  # what callers do with their array stays theirs
    again = encode([TEXTS[4], TEXTS[0], TEXTS[4], "new"])
    np.testing.assert_array_equal(again[0], again[2])
    assert again[0] @ again[1] > 0.85
    assert len(encoder._KEPT) == 3
    assert encode([TEXTS[3]], max_length=8)[0] @ encode([TEXTS[3]])[0] < 0.999


def test_a_precision_keeps_its_own_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded vectors are near the exact ones, and neither is ever handed out for the other."""
    monkeypatch.setattr(encoder, "_KEPT", OrderedDict())
    exact = encode(TEXTS)
    with precision("bfloat16"):
        rounded = encode(TEXTS)
    with pytest.raises(ValueError), precision("bfloat16"):
        encode([None])  # type: ignore[list-item]  # fails inside: what comes after is exact again
    assert rounded.dtype == np.float32
    assert ((exact * rounded).sum(axis=1) > 0.999).all()
    assert not np.array_equal(exact, rounded)
    np.testing.assert_array_equal(encode(TEXTS), exact)


def test_meaning_is_near_meaning() -> None:
    """A paraphrase is nearer than another subject: these are MiniLM's weights, pooled right."""
    vectors = encode(TEXTS)
    assert vectors[0] @ vectors[4] > 0.85 > vectors[0] @ vectors[3]


def test_no_text_gives_no_vector() -> None:
    """An empty list is not an error."""
    assert encode([]).shape == (0, 384)


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judges are calibrated on these bytes: a file with others is not used."""
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    monkeypatch.setattr(encoder, "_packaged", lambda: tmp_path)
    with pytest.raises(ModelError, match="is not all-MiniLM-L6-v2; reinstall"):
        encoder.encoder_folder()
