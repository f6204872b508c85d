"""A probe: how harmful what a model writes is, by one dot product with its own hidden state.

    NAME.json            the card: which model and layer, how it is smoothed, how well it tells
    NAME.safetensors     weight, as long as a hidden state, and bias

The state is what one decoder layer makes of a token. Each token's logit is a number; over tokens
they are smoothed, so that one odd word decides nothing, and the largest smoothed one is what a text
is judged by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit

from safeft.assets import read_yaml
from safeft.errors import ConfigError, StoredError
from safeft.runs import write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]


class ProbeCard(BaseModel):
    """What `NAME.json` says. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^\w[\w.-]*$")
    kind: Literal["probe"] = "probe"
    model: str = Field(min_length=1, description="whose states it was trained on")
    revision: str = Field(description="of that model: a hash of its weights, or the Hub's commit")
    hidden_size: int = Field(gt=0)
    layer: int = Field(ge=0, description="the decoder layer whose output is read, from 0")
    smoothing: float = Field(ge=0, lt=1, description="the share of what came before in a logit")
    start: float = Field(0.0, allow_inf_nan=False, description="the logit before any token")
    sha256: str = Field("", description="of the weights beside it")
    rows: str = Field("", description="marks of the answers trained on, as guarding.rows has them")
    thresholds: dict[str, float] = Field(
        default_factory=dict, description="share of safe answers flagged: from which score on"
    )
    training: dict[str, Any] = Field(default_factory=dict)
    measured: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Probe:
    """The weight of float32, as long as a hidden state; the bias; the card."""

    weight: Floats
    bias: float
    card: ProbeCard

    @classmethod
    def load(cls, path: Path) -> Probe:
        """The probe whose card lies at `path`.

        Raises ConfigError for a card that is none, StoredError for weights that are not its own.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        card, beside = read_yaml(path, ProbeCard), path.with_suffix(".safetensors")
        try:
            data = beside.read_bytes()
            tensors = load(data)
            weight = tensors["weight"].astype(np.float32)
            bias = float(tensors["bias"][0])
        except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
            raise StoredError(f"{beside}: a probe's weights: {error}; train it again") from error
        usable = np.isfinite([*weight, bias]).all() and weight.shape == (card.hidden_size,)
        if hashlib.sha256(data).hexdigest() != card.sha256 or not usable:
            raise StoredError(f"{beside} and its card {path.name} differ; train the probe again")
        return cls(weight, bias, card)

    def save(self, path: Path) -> Probe:
        """Writes the weights and then the card, whose hash it fills in; returns what was written.

        Raises ConfigError when `path` does not end in .json.
        """
        from safetensors.numpy import save

        if path.suffix != ".json":
            raise ConfigError(f"{path}: a probe's card is JSON; end its name with .json")
        data = save({"weight": self.weight, "bias": np.array([self.bias], np.float32)})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".safetensors").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        written = replace(self, card=self.card.model_copy(update={"sha256": digest}))
        write_json(path, written.card.model_dump(mode="json"))
        return written

    def fits(self, model: Any) -> None:
        """Raises ConfigError unless the model has the layer that it reads, of the same width."""
        layers, width = decoder_layers(model), _config(model).hidden_size
        if width != self.card.hidden_size:
            raise ConfigError(
                f"probe {self.card.name}: reads states of {self.card.hidden_size} numbers, those "
                f"of {card_model(self.card)}, and this model's have {width}; train one on it"
            )
        if self.card.layer >= len(layers):
            raise ConfigError(
                f"probe {self.card.name}: reads layer {self.card.layer}, and this model has "
                f"{len(layers)}, from 0; train one on it"
            )

    def reader(self, device: Any) -> Callable[[Any], Any]:
        """What makes logits, shape (N,), of states there, shape (N, D); nothing waits for them."""
        import torch

        weight_D = torch.from_numpy(self.weight).to(device)
        return lambda hidden_ND: hidden_ND.float() @ weight_D + self.bias

    def smoothed(self, logits_T: Iterable[float]) -> Doubles:
        """The logit of an answer up to each of its tokens, shape (T,)."""
        return smoothed(logits_T, self.card.smoothing, self.card.start)


def card_model(card: ProbeCard) -> str:
    """The model and what tells its weights from others of that name, for messages."""
    return f"{card.model} ({card.revision[:12]})" if card.revision else card.model


def smoothed(logits_T: Iterable[float], smoothing: float, start: float = 0.0) -> Doubles:
    """The exponential mean of the logits up to each: s of what it was, and 1 - s of what comes.

    Closed form: sᵗ⁺¹ start + (1 - s) Σ sᵗ⁻ⁱ zᵢ over i ≤ t. It begins at `start` and not at the
    first logit, as the largest value counts, and one token alone should not make it.
    """
    found, value = [], start
    for logit in logits_T:
        value = smoothing * value + (1 - smoothing) * float(logit)
        found.append(value)
    return np.array(found)


def probability(logit: float) -> float:
    """The logistic function; NaN of what is no finite number."""
    return float(expit(logit)) if np.isfinite(logit) else float("nan")


def decoder_layers(model: Any) -> Any:
    """The layers of a decoder-only model, adapted or not.

    Raises ConfigError for an encoder-decoder model, and for one whose layers cannot be told.
    """
    from torch.nn import ModuleList

    config = _config(model)
    if model.config.is_encoder_decoder:
        raise ConfigError("a probe reads decoder-only models; this one has an encoder beside it")
    for module in body(model).modules():
        if isinstance(module, ModuleList) and len(module) == config.num_hidden_layers:
            return module
    raise ConfigError(
        f"a probe finds no list of {config.num_hidden_layers} decoder layers in "
        f"{type(model).__name__}; name another judge"
    )


def body(model: Any) -> Any:
    """The model without its head, which a probe has no use for."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    return plain.get_decoder()


def _config(model: Any) -> Any:
    return model.config.get_text_config(decoder=True)
