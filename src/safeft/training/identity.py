"""What a model or an adapter is, whatever it is called: two runs share work only when it is one."""

from __future__ import annotations

from pathlib import Path

from safeft.errors import ModelError
from safeft.models import Source, resolve
from safeft.runs import fingerprint, hash_files

# Besides the weights: an adapter's alpha, the architecture, the tokenizer and the chat template
# decide what a model says. A README does not.
_DECISIVE = (
    "*.safetensors",
    "*.json",
    "*.jinja",
    "additional_chat_templates/*.jinja",
    "*.model",
    "*.txt",
    "*.py",
)


def model_identity(name: str) -> str:
    """The digest of a local folder, or a Hub id with the commit that it stands for now.

    Raises ModelError when the name is unknown or its commit cannot be found out.
    """
    source = resolve(name)
    if source.local:
        return folder_identity(Path(source.location))
    return f"{source.location}@{_commit(source)}"


def folder_identity(folder: Path) -> str:
    """SHA-256 (hex) over weights, configuration, tokenizer and chat template of a folder."""
    return fingerprint([hash_files(folder, pattern) for pattern in _DECISIVE])


def _commit(source: Source) -> str:
    """The commit behind a branch, a tag or no revision: the Hub names its snapshots after it."""
    from huggingface_hub import hf_hub_download

    try:
        found = hf_hub_download(source.location, "config.json", revision=source.revision)
    except (OSError, ValueError) as error:  # the Hub's own are all of these
        raise ModelError(
            f"model {source.name!r} could not be loaded: {str(error).strip().splitlines()[0]} "
            "(is the name right, is there access to it, was it downloaded before?)"
        ) from error
    return Path(found).parent.name
