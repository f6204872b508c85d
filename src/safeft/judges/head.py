"""The encoder judge's trained part: from frozen embeddings and phrase signals to P(refused)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from safeft.errors import ModelError
from safeft.judges.phrases import signals

Floats = npt.NDArray[np.float32]


def features(answers: Sequence[str], whole_NE: Floats, opening_NE: Floats) -> Floats:
    """One row per answer: both embeddings, the phrase signals and the log of its word count.

    The prompt is left out on purpose: XSTest's prompts serve measuring only, and what was asked
    must not decide whether an answer declines.
    """
    flags = np.array([signals(text) for text in answers], dtype=np.float32)
    words = np.log1p(np.array([[len(text.split())] for text in answers], dtype=np.float32))
    return np.hstack([whole_NE, opening_NE, flags, words]).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Logistic regression; `threshold` is the P(refused) from which on an answer is refused."""

    weight_F: Floats  # noqa: N815 - the axis is features
    bias: Floats
    threshold: Floats

    def __call__(self, features_NF: Floats) -> npt.NDArray[np.float64]:
        """P(refused) for each row of features, shape (N,). Raises ModelError on a misfit."""
        if features_NF.shape[1:] != self.weight_F.shape:
            raise ModelError(
                f"the encoder judge's weights read {len(self.weight_F)} features, not"
                f" {features_NF.shape[1]}; reinstall safeft or train the head again"
            )
        logit_N = features_NF @ self.weight_F + self.bias
        return 1 / (1 + np.exp(-np.clip(logit_N.astype(np.float64), -30, 30)))

    def digest(self) -> str:
        """Eight hexadecimal digits that change with any weight and with the threshold."""
        content = hashlib.sha256()
        for name, value in sorted(self._tensors().items()):
            content.update(name.encode() + np.ascontiguousarray(value, np.float32).tobytes())
        return content.hexdigest()[:8]

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        from safetensors.numpy import save

        path.parent.mkdir(parents=True, exist_ok=True)
        # Not `save_file`, which leaves a file that only its owner can read.
        path.write_bytes(save({k: np.ascontiguousarray(v) for k, v in self._tensors().items()}))

    def _tensors(self) -> dict[str, Floats]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def load_head(path: Path) -> Head:
    """Read the weights that `Head.save` wrote. Raises ModelError when missing or not readable."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise ModelError(f"{path}: the encoder judge's weights are missing; reinstall safeft")
    try:
        return Head(**load_file(str(path)))
    except (SafetensorError, TypeError) as error:
        raise ModelError(f"{path}: not the encoder judge's weights ({error})") from error
