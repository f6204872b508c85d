"""Names become models: the Hub, local folders, adapters, and the embedded testbed pair."""

from safeft.models.bundle import INFERENCE, saying
from safeft.models.export import export
from safeft.models.files import model_file
from safeft.models.load import (
    default_precision,
    load_config,
    load_model,
    load_skeleton,
    load_tokenizer,
    with_adapter,
)
from safeft.models.names import Source, resolve
from safeft.models.stored import is_quantised, unreadable
from safeft.models.whole import is_whole

__all__ = [
    "INFERENCE",
    "Source",
    "default_precision",
    "export",
    "is_quantised",
    "is_whole",
    "load_config",
    "load_model",
    "load_skeleton",
    "load_tokenizer",
    "model_file",
    "resolve",
    "saying",
    "unreadable",
    "with_adapter",
]
