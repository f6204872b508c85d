"""Likeness of hidden states: where a row's answer ends up, in the model that is to be tuned.

LARF (arXiv 2507.18631): the last token's hidden state h at a safety-sensitive layer; the score is
the mean of the k largest cosines between h and complied references, minus that of refused ones.
Every answer ends with the template's stop token, so what differs is what was said before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from safeft.data.masks import Encoded
from safeft.models.batches import by_length
from safeft.models.quantized import evaluating

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TOP = 16  # nearest references of each kind whose cosines are averaged
AT_ONCE = 4096  # tokens of a batch, padding included: every layer's states are held


def states(model: Any, encoded: Sequence[Encoded]) -> Floats:
    """The state of each row's last trained token after every layer, shape (layers, rows, width).

    Layer 0 holds the embeddings. NaN where no token is trained.
    """
    import torch

    config = model.config.get_text_config(decoder=True)
    shape = (config.num_hidden_layers + 1, len(encoded), config.hidden_size)
    found = np.full(shape, np.nan)
    usable = [place for place, one in enumerate(encoded) if any(one.loss_mask)]
    for batch in by_length([len(encoded[place].ids) for place in usable], AT_ONCE):
        places = [usable[one] for one in batch]
        ids, ends = _padded([encoded[place] for place in places])
        mask = torch.arange(ids.shape[1])[None] <= ends[:, None]
        # As in training, and not in inference mode: the model may be trained afterwards.
        with evaluating(model), torch.no_grad():
            out = model.get_decoder()(
                input_ids=ids.to(model.device),
                attention_mask=mask.long().to(model.device),
                output_hidden_states=True,
                use_cache=False,
            )
        rows = torch.arange(len(places))
        for layer, hidden in enumerate(out.hidden_states):
            found[layer, places] = hidden[rows, ends].float().cpu().numpy()
    return found


def likeness(
    states_ND: Floats, complied_MD: Floats, refused_MD: Floats, *, paired: bool = False
) -> Floats:
    """Mean of the k largest cosines to complied references, minus that to refused ones, shape (N,).

    `paired` leaves out both references of a row's own number: the rows are references themselves.
    """
    return _nearest(states_ND, complied_MD, paired) - _nearest(states_ND, refused_MD, paired)


def _nearest(states_ND: Floats, references_MD: Floats, paired: bool) -> Floats:
    cosines_NM = _unit(states_ND) @ _unit(references_MD).T
    if paired:
        np.fill_diagonal(cosines_NM, -np.inf)
    count = min(TOP, cosines_NM.shape[1] - paired)
    # NaN sorts last, so a row without a state stays NaN.
    nearest: Floats = np.sort(cosines_NM, axis=1)[:, -count:].mean(axis=1)
    return nearest


def _unit(rows_ND: Floats) -> Floats:
    length = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    unit: Floats = rows_ND / np.maximum(length, 1e-12)
    return unit


def _padded(encoded: Sequence[Encoded]) -> tuple[Any, Any]:
    """Token ids, zeros behind them, and where the last trained token of each row is."""
    import torch

    width = max(len(one.ids) for one in encoded)
    ids = torch.zeros(len(encoded), width, dtype=torch.long)
    for row, one in enumerate(encoded):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
    ends = [len(one.loss_mask) - 1 - one.loss_mask[::-1].index(True) for one in encoded]
    return ids, torch.tensor(ends)
