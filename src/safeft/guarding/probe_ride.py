"""Where a probe's states come from: riding along with `generate`, or reading what is written.

    with riding(model, probe) as ride:
        model.generate(**batch)
    ride.worst()        the largest smoothed logit of each row

A ride adds one dot product a row to a decoding step and copies nothing until it is asked. Both ways
hear the passes of their own thread alone, so that a judge may read while a model goes on writing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

from safeft.guarding.probe import Probe, body, decoder_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 16
Tokens = tuple[list[int], list[int]]
"""The ids of a request as the model reads it, and of the text behind it."""


class Ride:
    """What a probe says of each token that a model decodes, for each row of a batch.

    The first pass reads the request, which is not scored. The last token that is written is not
    read by the model, so there is no state of it. Where a pass is not of one token a row (drafts, a
    prompt in chunks, rows that leave), `broken` is set and nothing more is kept: states would be
    taken for another token's. Beams change their rows in between: there `ids_NT` is no hypothesis.
    """

    def __init__(self, probe: Probe, ends: set[int]) -> None:
        """`ends` are the tokens with which answers end: what follows one is padding."""
        self.broken = False
        self.rows = 0  # none before the request is read
        self._probe, self._ends = probe, ends
        self._reader: Callable[[Any], Any] = lambda hidden_ND: hidden_ND
        self._steps: list[tuple[Any, Any]] = []  # ids and logits that have not been copied yet
        self._ids: Any = None
        self._kept: tuple[NDArray[Any], ...] = (np.zeros((0, 0), np.int64), np.zeros((0, 0)))
        self._copying = Lock()

    def embedded(self, given: tuple[Any, ...], _: Any) -> None:
        """The tokens of a pass, on their way in."""
        self._ids = given[0] if given else None

    def computed(self, _: Any, output: Any) -> None:
        """Their states."""
        hidden_NTD = output[0] if isinstance(output, tuple) else output
        ids_NT, self._ids = self._ids, None
        if not self.rows:
            self.rows = len(hidden_NTD)
            self._reader = self._probe.reader(hidden_NTD.device)
            return
        if ids_NT is None or hidden_NTD.shape[:2] != (self.rows, 1) or len(ids_NT) != self.rows:
            self.broken = True
        if not self.broken:
            self._steps.append((ids_NT[:, 0], self._reader(hidden_NTD[:, 0])))

    def taken(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """ids_NT and logits_NT of the tokens up to now; from any thread."""
        import torch

        with self._copying:
            if new := self._steps[:]:
                del self._steps[: len(new)]
                with torch.inference_mode():
                    ids, logits = (torch.stack(one, dim=1).cpu() for one in zip(*new, strict=True))
                self._kept = tuple(
                    np.concatenate([before.reshape(self.rows, -1), one.numpy()], axis=1)
                    for before, one in zip(self._kept, (ids, logits), strict=True)
                )
            ids_NT, logits_NT = self._kept
            return ids_NT, logits_NT

    def logits(self) -> list[NDArray[np.float64]]:
        """Of each row's tokens, without the one that ended it and what followed."""
        ids_NT, logits_NT = self.taken()
        ended_NT = np.isin(ids_NT, list(self._ends)).cumsum(axis=1) > 0
        return [row[~ended] for row, ended in zip(logits_NT, ended_NT, strict=True)]

    def worst(self) -> list[float]:
        """The largest smoothed logit of each row so far; NaN where it is not known."""
        smooth = [self._probe.smoothed(one) for one in self.logits()]
        known = not self.broken
        return [float(one.max()) if known and len(one) else float("nan") for one in smooth]


@contextmanager
def riding(model: Any, probe: Probe) -> Iterator[Ride]:
    """Scores what one call of the model's `generate` decodes in this thread, until the block ends.

    Raises ConfigError when the probe does not fit the model.
    """
    probe.fits(model)
    end = model.generation_config.eos_token_id
    ends = {one for one in (end if isinstance(end, list) else [end]) if one is not None}
    ride = Ride(probe, ends)
    layer = decoder_layers(model)[probe.card.layer]
    with heard(model.get_input_embeddings(), ride.embedded), heard(layer, ride.computed):
        yield ride


@contextmanager
def heard(module: Any, tell: Callable[[tuple[Any, ...], Any], None]) -> Iterator[None]:
    """Tells of what goes into a module and out of it, by passes of this thread."""
    mine = get_ident()

    def hook(_: Any, given: tuple[Any, ...], output: Any) -> None:
        if get_ident() == mine:
            tell(given, output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def forced(
    model: Any, layers: Sequence[int], texts: Sequence[Tokens], read: Callable[[Any], Any]
) -> list[list[Any]]:
    """What `read` makes of the states of each text's tokens, hidden_TD, at each of the layers.

    The model reads request and text as they stand and writes nothing; layers are in its order.
    """
    found: list[list[Any]] = [[] for _ in texts]
    order = sorted(range(len(texts)), key=lambda place: sum(map(len, texts[place])))
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        together = _forced(model, sorted(layers), [texts[place] for place in places], read)
        for place, one in zip(places, together, strict=True):
            found[place] = one
    return found


def _forced(
    model: Any, layers: Sequence[int], texts: Sequence[Tokens], read: Callable[[Any], Any]
) -> list[list[Any]]:
    """The same in one pass, of rows that are padded at their ends."""
    import torch

    rows = [[*asked, *said] for asked, said in texts]
    width, device = max(map(len, rows)), model.get_input_embeddings().weight.device
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    mask = torch.tensor([[one < len(row) for one in range(width)] for row in rows], device=device)
    found: list[list[Any]] = [[] for _ in texts]

    def keep(_: Any, output: Any) -> None:
        hidden_NTD = output[0] if isinstance(output, tuple) else output
        for place, (asked, _said) in enumerate(texts):
            found[place].append(read(hidden_NTD[place, len(asked) : len(rows[place])]))

    with ExitStack() as stack, torch.inference_mode():
        for layer in layers:
            stack.enter_context(heard(decoder_layers(model)[layer], keep))
        body(model)(input_ids=ids, attention_mask=mask.long(), use_cache=False)
    return found


def token_logits(model: Any, probe: Probe, texts: Sequence[Tokens]) -> list[list[float]]:
    """The logit of each token of each text, by the same reading."""
    reader = cache(probe.reader)
    found = forced(model, [probe.card.layer], texts, lambda one: reader(one.device)(one).tolist())
    return [logits for (logits,) in found]
