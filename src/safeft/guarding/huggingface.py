"""The guard on a Transformers model: `generate` as before, but what leaves it was cleared.

Judges read text, so token ids are decoded without special tokens: the prompt as the request, with
whatever words a chat template put into it, and what follows it as the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ClassVar

from safeft.errors import ConfigError, ModelError
from safeft.guarding.checker import Checker
from safeft.guarding.decision import Decision
from safeft.guarding.detokenizing import Held
from safeft.guarding.releasing import Watch, released, requested
from safeft.guarding.standin import StandIn, called
from safeft.guarding.states import Request, StateJudge, attach, riding
from safeft.records import Prompt


class GuardedModel(StandIn):
    """A PreTrainedModel or PeftModel whose `generate` withholds; all else is the model's own.

    Rows that are withheld carry the tokens of the policy's refusal, rows that are redacted those
    of the redacted text; both end with the end token and are padded. Scores, logits, attentions,
    hidden states and the cache tell of the tokens that were withheld, and are one tensor for all
    rows: they are dropped as soon as one row changed. A row whose request is blocked is generated
    with the others of its batch; when all are blocked, one token is, for the sake of the type. An
    answer to be regenerated is drawn again where `generate` samples; else it is withheld.
    """

    past: ClassVar[tuple[str, ...]] = (
        "generate_batch",
        "init_continuous_batching",
        "continuous_batching_context_manager",
    )

    def __init__(
        self, model: Any, checker: Checker, tokenizer: Any = None, watch: Watch | None = None
    ) -> None:
        """`tokenizer` is by default the one that lies beside the model's weights.

        Raises ModelError when there is none, ConfigError for a probe that does not fit the model.
        """
        found = tokenizer if tokenizer is not None else _tokenizer(model)
        probes = attach(checker, model, found)
        super().__init__(model, _checker=checker, _tokenizer=found, _watch=watch, _probes=probes)

    def __call__(self, *given: Any, **options: Any) -> Any:
        """The model's forward pass, which generates nothing."""
        return self._inner(*given, **options)

    @property
    def generate(self) -> Callable[..., Any]:
        """The model's own `generate`: signature, streamer and return type are the same."""
        # Adapters take any arguments and hand them on to the model that they adapt.
        plain = self._inner
        if get := getattr(plain, "get_base_model", None):
            plain = get()

        @wraps(plain.generate)
        def generate(*given: Any, **options: Any) -> Any:
            return _Call(self, called(plain.generate, given, options)).result()

        return generate


class _Call:
    """One call of `generate`. Raises ConfigError for what the guard cannot read."""

    def __init__(self, guarded: GuardedModel, options: dict[str, Any]) -> None:
        self.model = guarded._inner
        self.checker: Checker = guarded._checker
        self.tokenizer = guarded._tokenizer
        self.watch: Watch | None = guarded._watch
        self.probes: list[StateJudge] = guarded._probes
        self.options = options
        ids = options.get("inputs")
        self.ids: Any = options.get("input_ids") if ids is None else ids
        if self.ids is None or self.ids.is_floating_point():
            raise ConfigError(
                "a guarded model reads requests as token ids; give `generate` input_ids"
            )
        self.start = 1 if self.model.config.is_encoder_decoder else self.ids.shape[1]

    def result(self) -> Any:
        """What `generate` returns, of the same type."""
        prompts = self._prompts()
        decisions = requested(self.checker, prompts, self.watch)
        if self.options.get("streamer") is not None:
            return self._streamed(prompts, decisions)
        if not any(one.clears for one in decisions):
            self._stop(_at_once)
        out, rows = self._rows()
        each = len(rows) // len(prompts)
        owners = {row: prompts[row // each] for row in range(len(rows))}
        live = {row: one for row, one in owners.items() if decisions[row // each].clears}
        leaving = self._leaving(live, rows)
        refusal = self._encoded(self.checker.policy.refusal)
        return self._stitched(out, rows, [leaving.get(row, refusal) for row in owners])

    def _leaving(self, live: dict[int, Prompt], rows: list[list[int]]) -> dict[int, list[int]]:
        """The new tokens that leave of each row whose request is cleared."""
        places = list(live)
        drawn = [rows[row] for row in places]

        def again(wanted: list[int], _: int) -> list[str]:
            # The whole batch, as only `generate` knows how to take it apart.
            _, others = self._rows()
            for place in wanted:
                drawn[place] = others[places[place]]
            return [self._text(drawn[place]) for place in wanted]

        found = released(
            self.checker,
            list(live.values()),
            [self._text(one) for one in drawn],
            again=again if self._samples() else None,
            watch=self.watch,
        )
        return {
            row: tokens if leaves.kind == "whole" else self._encoded(leaves.text)
            for row, tokens, leaves in zip(places, drawn, found, strict=True)
        }

    def _streamed(self, prompts: Sequence[Prompt], decisions: Sequence[Decision]) -> Any:
        """One row, whose cleared tokens the user's streamer gets as soon as they are cleared."""
        if len(prompts) > 1:
            raise ConfigError("a guarded model streams one prompt at a time; leave the others out")
        refusal = self._encoded(self.checker.policy.refusal)
        held = Held(
            self.checker,
            prompts[0],
            self.tokenizer,
            self.options["streamer"],
            refusal,
            blocked=not decisions[0].clears,
            watch=self.watch,
        )
        self.options["streamer"] = held
        self._stop(held.stops)
        try:
            out, rows = self._rows()
            held.end()
        finally:
            held.close()
        return self._stitched(out, rows, [refusal if held.stopped else held.sent])

    def _rows(self) -> tuple[Any, list[list[int]]]:
        """What the model returns, and the new tokens of each row."""
        probes = self.probes if self._writes_on() else []
        with riding(probes, self._requests() if probes else []):
            out = self.model.generate(**self.options)
        sequences = _sequences(out)
        if sequences.dim() != 2:
            raise ConfigError("a guarded model does not batch continuously; leave `paged` out")
        return out, sequences[:, self.start :].tolist()

    def _stitched(self, out: Any, before: list[list[int]], after: list[list[int]]) -> Any:
        """The output with other new tokens; the very same when there are none."""
        if before == after:
            return out
        import torch

        sequences = _sequences(out)
        width = max(map(len, (*before, *after)))
        padded = [row + [self._pad()] * (width - len(row)) for row in after]
        new = torch.tensor(padded, dtype=sequences.dtype, device=sequences.device)
        sequences = torch.cat([sequences[:, : self.start], new], dim=1)
        return sequences if isinstance(out, torch.Tensor) else type(out)(sequences=sequences)

    def _prompts(self) -> list[Prompt]:
        """The request of each row."""
        rows = enumerate(self._asked())
        return [Prompt.of(self._text(row), id=str(place)) for place, row in rows]

    def _requests(self) -> list[Request]:
        """What judges know each row's request by, and its tokens."""
        return [(Prompt.of(self._text(row)).messages, row) for row in self._asked()]

    def _asked(self) -> list[list[int]]:
        """The tokens of each row's request; padding is no part of it."""
        mask = self.options.get("attention_mask")
        rows: list[list[int]] = self.ids.tolist()
        if mask is not None and mask.shape == self.ids.shape:
            kept = mask.bool().tolist()
            rows = [
                [token for token, one in zip(*pair, strict=True) if one]
                for pair in zip(rows, kept, strict=True)
            ]
        return rows

    def _text(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _encoded(self, text: str) -> list[int]:
        """The tokens of words that take an answer's place, as an answer ends."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*ids, *self._ends()]

    def _ends(self) -> list[int]:
        """The token that ends an answer, if there is one."""
        end = self._setting("eos_token_id")
        return (end if isinstance(end, list) else [end])[:1] if end is not None else []

    def _pad(self) -> int:
        candidates = (self._setting("pad_token_id"), self.tokenizer.pad_token_id, *self._ends(), 0)
        return next(int(one) for one in candidates if one is not None)

    def _samples(self) -> bool:
        """Whether another call may draw other answers: a cache that was given is used up."""
        return bool(self._setting("do_sample")) and self.options.get("past_key_values") is None

    def _writes_on(self) -> bool:
        """Whether each row goes on from its own tokens, as a beam does not."""
        return (self._setting("num_beams") or 1) == 1

    def _setting(self, name: str) -> Any:
        """As `generate` finds it: in its arguments, in a config among them, in the model's."""
        places = (self.options.get("generation_config"), self.model.generation_config)
        found = [self.options.get(name), *(getattr(one, name, None) for one in places)]
        return next((one for one in found if one is not None), None)

    def _stop(self, stops: Callable[..., Any]) -> None:
        self.options["stopping_criteria"] = [*(self.options.get("stopping_criteria") or []), stops]


def _sequences(out: Any) -> Any:
    return getattr(out, "sequences", out)


def _at_once(ids_NT: Any, scores_NV: Any, **_: Any) -> Any:
    """A stopping criterion that lets one token be written, so that the type is the model's own."""
    import torch

    return torch.ones(len(ids_NT), dtype=torch.bool, device=ids_NT.device)


def _tokenizer(model: Any) -> Any:
    from safeft.models import load_tokenizer

    name = getattr(model, "name_or_path", "")
    try:
        return load_tokenizer(name, chat=False)
    except ModelError as error:
        raise ModelError(
            f"the guard finds no tokenizer beside the model {name!r}; give it one: "
            "guard(model, tokenizer=…)"
        ) from error
