"""The tokens of a batch: each answer drawn by numbers of its own, and gone once it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIRST = 16  # new tokens until rows that have ended leave the batch; twice as many each time after


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
        # Doubles: in float32 the sum of a large vocabulary loses its rarest tokens.
        total_NV = tempered.softmax(-1).double().cumsum(-1)
        wanted_N1 = self._uniform_NT[:, ids_NT.shape[1] - self._begun, None] * total_NV[:, -1:]
        drawn_N1 = torch.searchsorted(total_NV, wanted_N1, right=True)
        return torch.full_like(scores_NV, -torch.inf).scatter(1, drawn_N1, 0.0)


def extend(
    model: Any,
    padded: Mapping[str, Any],
    stops: set[int],
    max_new_tokens: int,
    arguments: Mapping[str, Any],
    draws: tuple[Any, float, float] | None = None,
) -> list[list[int]]:
    """New tokens of each row of `padded`, up to `max_new_tokens` or beyond its first stop token.

    Greedy, or by `draws`: uniform_NT, temperature and top-p. `arguments` go to `generate`, which is
    called for some tokens at a time, so that ended rows cost nothing more.
    """
    import torch

    ids, mask, cache = padded["input_ids"], padded["attention_mask"], None
    begun, rows, step = ids.shape[1], torch.arange(len(ids), device=ids.device), FIRST
    found: list[list[int]] = [[] for _ in range(len(ids))]
    while len(rows) and (left := max_new_tokens + begun - ids.shape[1]) > 0:
        given = {} if cache is None else {"past_key_values": cache}
        if draws is not None:
            given["logits_processor"] = [Draws(draws[0][rows], draws[1], draws[2], begun)]
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=min(step, left),
                return_dict_in_generate=True,
                **arguments,
                **given,
            )
        new = out.sequences[:, ids.shape[1] :]
        for row, tokens in zip(rows.tolist(), new.tolist(), strict=True):
            found[row] += tokens
        going = [place for place, tokens in enumerate(new.tolist()) if stops.isdisjoint(tokens)]
        kept = torch.tensor(going, dtype=torch.long, device=ids.device)
        mask = torch.cat([mask, torch.ones_like(new)], dim=1)[kept]
        ids, rows, cache = out.sequences[kept], rows[kept], _kept(out, kept)
        step *= 2
    return found


def _kept(out: Any, rows_K: Any) -> Any:
    """What the model remembers of these rows; None where it must read them anew."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    cache = out.past_key_values
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    if type(cache) is not DynamicCache or any(type(one) not in plain for one in cache.layers):
        return None
    cache.batch_select_indices(rows_K)
    return cache
