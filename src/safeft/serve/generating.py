"""One local model that writes one answer at a time, word by word, until nobody reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, Literal

from transformers import TextStreamer

from safeft.errors import PromptError, TooLongError
from safeft.generation.transformers import context_of, prompt_ids, raw_ids
from safeft.guarding.states import StateJudge, riding
from safeft.records import Message, Prompt

UNSAID = 2048
"""New tokens at most, where neither the request nor the model's config sets an end."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one answer is to be. None leaves the choice to the model's own generation config.

    `text` is gone on with as it is, in place of an answer to the conversation.
    """

    messages: tuple[Message, ...]
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """How an answer ended, and how many tokens it took."""

    finish: Literal["stop", "length"]
    read: int
    tokens: int


class Cut:
    """Passes a text on up to the first stop string, and no part of one that may still come."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.hit = False
        self._stops = [one for one in stops if one]
        self._held = ""

    def feed(self, text: str) -> str:
        """What may leave now."""
        if self.hit:
            return ""
        self._held += text
        ends = [self._held.find(one) + len(one) for one in self._stops if one in self._held]
        self.hit = bool(ends)
        # Of the stop strings that are complete first the one that starts first, however the text
        # was chunked.
        read = self._held[: min(ends, default=0)]
        places = [read.find(one) for one in self._stops if one in read]
        passed = min(places) if places else len(self._held) - self._begun()
        leaving, self._held = self._held[:passed], self._held[passed:]
        return leaving

    def end(self) -> str:
        """What was held in vain."""
        return "" if self.hit else self._held

    def _begun(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        most = max((len(one) - 1 for one in self._stops), default=0)
        lengths = range(min(most, len(self._held)), 0, -1)
        ends = (one for one in lengths if any(s.startswith(self._held[-one:]) for s in self._stops))
        return next(ends, 0)


class _Words(TextStreamer):  # type: ignore[misc]
    """Hands on each word once it is whole."""

    def __init__(self, tokenizer: Any, cut: Cut, put: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._cut, self._put = cut, put

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """What Transformers calls with each word, and at the end."""
        leaving = self._cut.feed(text) + (self._cut.end() if stream_end else "")
        if leaving:
            self._put(leaving)


class Writer:
    """Writes answers with a causal language model and its chat template, in the calling thread."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.name = name
        self.probes: list[StateJudge] = []  # read along with every answer
        self._model, self._tokenizer = model, tokenizer
        declared = model.generation_config.eos_token_id
        declared = declared if isinstance(declared, list) else [declared]
        self._ends = {one for one in (*declared, tokenizer.eos_token_id) if one is not None}

    @property
    def served(self) -> tuple[Any, Any]:
        """The model and its tokenizer."""
        return self._model, self._tokenizer

    def ids(self, wanted: Wanted) -> list[int]:
        """The conversation, or the text, as the model reads it.

        Raises PromptError when the chat template refuses it or there is nothing to read, and
        TooLongError when it leaves no room in the model's context for as many new tokens as are
        wanted.
        """
        ids = self._read(wanted)
        context, most = context_of(self._model.config), wanted.max_new_tokens or 1
        if context is not None and len(ids) + most > context:
            raise TooLongError(
                "request",
                f"has {len(ids)} tokens; with {most} new ones it exceeds the maximum context "
                f"length of {self.name} ({context}); shorten it or lower max_tokens",
            )
        return ids

    def _read(self, wanted: Wanted) -> list[int]:
        if wanted.text is None:
            return prompt_ids(self._tokenizer, Prompt("request", wanted.messages), self.name)
        ids = raw_ids(self._tokenizer, Prompt.of(wanted.text, "request"))
        if not ids:
            raise PromptError("request", f"is empty, and {self.name} has no token that begins one")
        return ids

    def write(
        self, ids: list[int], wanted: Wanted, put: Callable[[str], None], gone: Event
    ) -> Written:
        """Puts the answer in pieces, and returns how it ended. Stops soon after `gone` is set."""
        import torch

        cut, most = Cut(wanted.stop), self._most(ids, wanted)
        if gone.is_set():
            return Written("stop", len(ids), 0)
        read = torch.tensor([ids], device=self._model.device)
        reading = riding(self.probes, [(wanted.messages, ids)])
        with torch.inference_mode(), _seeded(wanted.seed, self._model.device), reading:
            out = self._model.generate(
                input_ids=read,
                attention_mask=torch.ones_like(read),
                max_new_tokens=most,
                max_length=None,
                eos_token_id=sorted(self._ends) or None,
                pad_token_id=self._tokenizer.pad_token_id,
                streamer=_Words(self._tokenizer, cut, put),
                stopping_criteria=[_until(lambda: cut.hit or gone.is_set())],
                **_sampling(wanted),
            )
        new = out[0, len(ids) :].tolist()
        whole = cut.hit or len(new) < most or new[-1] in self._ends
        return Written("stop" if whole else "length", len(ids), len(new))

    def _most(self, ids: list[int], wanted: Wanted) -> int:
        """New tokens at most: what is wanted, else what the context has room for."""
        if wanted.max_new_tokens is not None:
            return wanted.max_new_tokens
        context = context_of(self._model.config)
        return UNSAID if context is None else context - len(ids)


def _sampling(wanted: Wanted) -> dict[str, Any]:
    """Greedy at temperature 0; else drawn, as the request and the model's own config say."""
    if wanted.temperature == 0:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    chosen = {"temperature": wanted.temperature, "top_p": wanted.top_p}
    return {"do_sample": True} | {key: one for key, one in chosen.items() if one is not None}


def _until(done: Callable[[], bool]) -> Callable[..., Any]:
    """A stopping criterion for the only row of a batch."""
    import torch

    def stops(ids_NT: Any, scores_NV: Any, **_: Any) -> Any:
        return torch.full((len(ids_NT),), done(), device=ids_NT.device, dtype=torch.bool)

    return stops


@contextmanager
def _seeded(seed: int | None, device: Any) -> Iterator[None]:
    """Random numbers of the request's own, and the process's own again afterwards."""
    import torch

    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
