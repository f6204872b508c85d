"""Who writes the answers of self-generated data: the model here, or the model at its endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from safeft.errors import ConfigError
from safeft.generation import Generator
from safeft.generation.schema import Endpoint, installed
from safeft.models import load_model, load_tokenizer
from safeft.training.arguments import precision_of
from safeft.training.identity import model_identity
from safeft.training.schema import Recipe


@dataclass(frozen=True, slots=True)
class Writer:
    """A model by its identity; `generator` makes what asks it, on first use.

    `tokenizer` is None where the model is only to be had behind an endpoint.
    """

    identity: str
    generator: Callable[[], Generator]
    tokenizer: Callable[[], Any] | None = None


def no_writer() -> Writer:
    """Nobody: enough for recipes in which the model writes nothing."""

    def refuse() -> Generator:
        raise ConfigError("a method of the recipe has the model write answers: name it (--model)")

    return Writer("", refuse)


def endpoint_writer(
    model: str,
    url: str,
    settings: Endpoint | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Writer:
    """The model that an OpenAI-compatible endpoint serves under this name.

    `tell` gets a line before the first prompt is sent there. Raises ConfigError when the key or
    the client is missing, before anything is asked.
    """
    from safeft.generation.endpoint import EndpointGenerator

    installed(url)
    asking = EndpointGenerator(url, model, settings)

    def ask() -> Generator:
        tell(f"what {model} writes itself is asked of {url}; the prompts are sent there")
        return asking

    return Writer(f"{model}@{url}", cache(ask))


def local_writer(recipe: Recipe, model: str, *, trust_remote_code: bool = False) -> Writer:
    """The model of a folder, a Hub id or the testbed, loaded once and only when it is asked.

    Raises ModelError when there is none of that name.
    """

    generator = cache(lambda: generator_of(recipe, model, trust_remote_code))
    tokenizer = cache(lambda: load_tokenizer(model, trust_remote_code=trust_remote_code))
    return Writer(written_by(recipe, model_identity(model)), generator, tokenizer)


def written_by(recipe: Recipe, identity: str) -> str:
    """Who writes: the model of this identity, in the recipe's bits, which give other answers."""
    return f"{identity} in {recipe.quantization}" if recipe.quantization else identity


def generator_of(recipe: Recipe, model: str, trust: bool) -> Generator:
    """The model before it is tuned, to write answers. Raises ModelError as loading does."""
    from safeft.generation.transformers import TransformersGenerator

    tokenizer = load_tokenizer(model, trust_remote_code=trust)
    weights = _loaded(recipe, model, trust, precision_of(recipe))
    return TransformersGenerator(weights, tokenizer, model)


def weights_of(recipe: Recipe, model: str, trust: bool) -> Any:
    """The weights that training begins with. Raises ModelError as loading does.

    Those that are trained themselves are held in float32, whatever they are multiplied in: in
    bfloat16 most steps of a small learning rate would be rounded away.
    """
    held = "float32" if recipe.lora is None else precision_of(recipe)
    return _loaded(recipe, model, trust, held)


def _loaded(recipe: Recipe, model: str, trust: bool, precision: str) -> Any:
    return load_model(
        model, precision=precision, quantization=recipe.quantization, trust_remote_code=trust
    )
