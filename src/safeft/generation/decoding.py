"""The tokens of a batch: each answer drawn by numbers of its own, and gone once it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

# New tokens between two times at which ended rows leave the batch: this many, and later an eighth
# of what has been written, since what a row's leaving costs grows with its past.
LEAST = 4


class Draws:
    """A logits processor that leaves each row the one token that its own numbers draw.

    uniform_NT: numbers in [0, 1), a row for each answer and a column for each of its tokens. What
    is drawn is softmax(scores / temperature), within `top_p` as Transformers cuts it, by inversion:
    no row's draw depends on its company.
    """

    def __init__(self, uniform_NT: Any, temperature: float, top_p: float, begun: int) -> None:
        """`begun` is where in `input_ids` the first column's token belongs."""
        from transformers import TopPLogitsWarper

        self._uniform_NT = uniform_NT
        self._temperature = temperature
        self._nucleus = TopPLogitsWarper(top_p) if top_p < 1 else None
        self._begun = begun

    def __call__(self, ids_NT: Any, scores_NV: Any) -> Any:
        """The scores with all but the drawn token at minus infinity."""
        import torch

        tempered = scores_NV / self._temperature
        if self._nucleus is not None:
            tempered = self._nucleus(ids_NT, tempered)
        shares_NV = tempered.softmax(-1)
        # Doubles: in float32 the sum of a large vocabulary loses its rarest tokens. MPS has none.
        shares_NV = shares_NV.cpu() if shares_NV.device.type == "mps" else shares_NV
        total_NV = shares_NV.double().cumsum(-1)
        number_N1 = self._uniform_NT[:, ids_NT.shape[1] - self._begun, None].to(total_NV.device)
        drawn_N1 = torch.searchsorted(total_NV, number_N1 * total_NV[:, -1:], right=True)
        # Scores of a model that diverged are no numbers, and any token is as good as another.
        drawn_N1 = drawn_N1.clamp(max=scores_NV.shape[1] - 1).to(scores_NV.device)
        return torch.full_like(scores_NV, -torch.inf).scatter(1, drawn_N1, 0.0)


class Pasts:
    """What a model remembers of batches of prompts, for other decodings of the same ones.

    The oldest go while all of it takes more than `most` bytes. Whoever asks first gets what whoever
    asks later gets, so that answers do not depend on what was asked before.
    """

    def __init__(self, model: Any, arguments: Mapping[str, Any], most: int = 2**27) -> None:
        self._model = model
        self._arguments = arguments
        self._most = most
        self._kept: dict[bytes, Any] = {}
        self._able = _expected(model)

    def of(self, padded: Mapping[str, Any]) -> Any:
        """A memory of every token but the last; None where a model must read all of them anew."""
        key = b"".join(one.cpu().numpy().tobytes() for one in padded.values())
        past = self._kept.pop(key, None) or self._read(padded)
        if past is None:
            return None
        self._kept[key] = past
        while sum(map(_size, self._kept.values())) > self._most:
            self._kept.pop(next(iter(self._kept)))
        # Layers replace their tensors and never write into them, so these are shared.
        lent = copy(past)
        lent.layers = [copy(one) for one in past.layers]
        return lent

    def _read(self, padded: Mapping[str, Any]) -> Any:
        import torch

        if not self._able:
            return None
        out = _generated(self._model, 1, {**padded, **self._arguments})
        cache = _kept(out, torch.arange(len(out.sequences)))
        if cache is None or not _unbounded(cache):
            self._able = False  # and no later batch is read twice
            return None
        cache.crop(-1)
        return cache


def _expected(model: Any) -> bool:
    """Whether a model's config promises a memory that can go back by a token."""
    from transformers.cache_utils import DynamicCache

    try:
        return _unbounded(DynamicCache(config=model.config.get_text_config(decoder=True)))
    except AttributeError:  # configs of models that keep something else lack what it asks for
        return False


def _unbounded(cache: Any) -> bool:
    """A window that slides has forgotten what it would have to go back to."""
    from transformers.cache_utils import DynamicLayer

    return bool(cache.layers) and all(type(one) is DynamicLayer for one in cache.layers)


def _size(cache: Any) -> int:
    return sum(one.keys.nbytes + one.values.nbytes for one in cache.layers)


def extend(
    model: Any,
    padded: Mapping[str, Any],
    stops: set[int],
    max_new_tokens: int,
    arguments: Mapping[str, Any],
    draws: tuple[Any, float, float] | None = None,
    past: Any = None,
) -> list[list[int]]:
    """New tokens of each row of `padded`, up to `max_new_tokens` or beyond its first stop token.

    Greedy, or by `draws`: uniform_NT, temperature and top-p. `past` is what the model remembers of
    the prompts, and will be overwritten. `arguments` go to `generate`, which is called for some
    tokens at a time, so that ended rows cost nothing more.
    """
    import torch

    ids, mask, cache = padded["input_ids"], padded["attention_mask"], past
    begun, rows, step = ids.shape[1], torch.arange(len(ids)), LEAST
    found: list[list[int]] = [[] for _ in range(len(ids))]
    while len(rows) and (left := max_new_tokens + begun - ids.shape[1]) > 0:
        batch = {"input_ids": ids, "attention_mask": mask, **arguments}
        out = _generated(model, min(step, left), batch | _given(cache, draws, rows, begun))
        new = out.sequences[:, ids.shape[1] :]
        for row, tokens in zip(rows.tolist(), new.tolist(), strict=True):
            found[row] += tokens
        going = [place for place, tokens in enumerate(new.tolist()) if stops.isdisjoint(tokens)]
        kept = torch.tensor(going, dtype=torch.long)
        mask = torch.cat([mask, torch.ones_like(new)], dim=1)[kept]
        ids, rows, cache = out.sequences[kept], rows[kept], _kept(out, kept)
        # Who must read everything anew does so once.
        step = max_new_tokens if cache is None else max(LEAST, (ids.shape[1] - begun) // 8)
    return found


def _generated(model: Any, tokens: int, given: Mapping[str, Any]) -> Any:
    import torch

    with torch.inference_mode():
        return model.generate(max_new_tokens=tokens, return_dict_in_generate=True, **given)


def _given(
    cache: Any, draws: tuple[Any, float, float] | None, rows_K: Any, begun: int
) -> dict[str, Any]:
    """What one call of `generate` is given of the past and of the rows' numbers."""
    given = {} if cache is None else {"past_key_values": cache}
    if draws is not None:
        uniform_NT, temperature, top_p = draws
        given["logits_processor"] = [Draws(uniform_NT[rows_K], temperature, top_p, begun)]
    return given


def _kept(out: Any, rows_K: Any) -> Any:
    """What the model remembers of these rows; None where it must read them anew.

    Only a memory of every token but the last, in every layer, can be gone on from: some models keep
    a state beside it, or fill none.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    cache, plain = out.past_key_values, (DynamicLayer, DynamicSlidingWindowLayer)
    if type(cache) is not DynamicCache or not cache.layers:
        return None
    seen = out.sequences.shape[1] - 1
    if any(type(one) not in plain or one.get_seq_length() != seen for one in cache.layers):
        return None
    if len(rows_K) < len(out.sequences):
        cache.batch_select_indices(rows_K)  # an index on the CPU serves layers wherever they lie
    return cache
