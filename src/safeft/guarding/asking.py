"""Engines that ask a guard model, and tell beside its words how likely each label's word was."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from safeft.generation.endpoint import EndpointGenerator
from safeft.generation.schema import Endpoint
from safeft.generation.transformers import TransformersGenerator, prompt_ids, raw_ids
from safeft.generation.vllm import VllmEngine
from safeft.guarding.words import spelled
from safeft.records import Decoding, Prompt, Response

MOST = 20  # likeliest tokens of a step that an engine apart is asked for: as many as they give
Masses = dict[str, float]
"""The probability of each label's word: of all tokens that spell it or begin it."""


def _unknown(_: int) -> Masses | None:
    return None


@dataclass(frozen=True, slots=True)
class Said(Response):
    """A guard model's words as they came; `masses(place)` is of the token at a character."""

    masses: Callable[[int], Masses | None] = field(default=_unknown, compare=False)


@dataclass(frozen=True)
class Asked:
    """What an engine must know of a judge: its labels' words, and what chat templates are told.

    `arguments` goes by the prompt's category. Without words no probabilities are asked for.
    """

    raw: bool
    parts: bool
    words: tuple[str, ...]
    arguments: Mapping[str, Mapping[str, Any]]

    def ids(self, tokenizer: Any, prompt: Prompt, model: str) -> list[int]:
        """The prompt's tokens. Raises PromptError when the chat template refuses it."""
        if self.raw:
            return raw_ids(tokenizer, prompt)
        told = self.arguments[prompt.category]
        return prompt_ids(tokenizer, prompt, model, told, parts=self.parts)


class Recorder:
    """A logits processor that changes nothing and keeps each step's masses of the words.

    They are found again by the tokens that were read, without what pads them on the left.
    """

    def __init__(self, tokenizer: Any, words: Sequence[str]) -> None:
        self._tokenizer, self._words = tokenizer, words
        self._tokens: list[Any] | None = None
        self.steps: dict[bytes, Masses] = {}

    def __call__(self, ids_NT: Any, scores_NV: Any) -> Any:
        """The scores as they are."""
        if self._tokens is None:
            self._tokens = self._spelling(scores_NV.shape[1])
        shares_NV = scores_NV.float().softmax(-1)
        columns = [shares_NV[:, one.to(shares_NV.device)].sum(-1).tolist() for one in self._tokens]
        for row, ids in enumerate(ids_NT.tolist()):
            masses = [column[row] for column in columns]
            self.steps[self.key(ids)] = dict(zip(self._words, masses, strict=True))
        return scores_NV

    def _spelling(self, size: int) -> list[Any]:
        """The tokens of each word."""
        import torch

        known = min(size, len(self._tokenizer))
        texts = self._tokenizer.batch_decode([[token] for token in range(known)])
        spelt = [spelled(text, self._words) for text in texts]
        return [
            torch.tensor([token for token, one in enumerate(spelt) if one == word])
            for word in self._words
        ]

    def key(self, ids: Sequence[int]) -> bytes:
        """Where `steps` has the masses of the token that came after these."""
        pad, start = self._tokenizer.pad_token_id, 0
        while start < len(ids) and ids[start] == pad:
            start += 1
        return hashlib.sha256(repr(ids[start:]).encode()).digest()


class TransformersAsker(TransformersGenerator):
    """A guard model in this process. Its words keep their control tokens, which formats may name.

    The masses are exact: of the whole vocabulary.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str, asked: Asked) -> None:
        self._asked = asked
        self._recorder = Recorder(tokenizer, asked.words)
        processors = [self._recorder] if asked.words else []
        super().__init__(model, tokenizer, name, 16, raw=asked.raw, processors=processors)

    def answer(self, batch: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """Words and masses about one batch."""
        self._recorder.steps = {}
        return super().answer(batch, decoding)

    def _read(self, prompt: Prompt) -> list[int]:
        return self._asked.ids(self.tokenizer, prompt, self.name)

    def _response(self, prompt: Prompt, ids: list[int], stops: set[int]) -> Response:
        found = super()._response(prompt, ids, stops)
        kept, read, steps = ids[: found.tokens], self._ids(prompt), self._recorder.steps
        return _said(
            found,
            self.tokenizer,
            kept,
            lambda step: steps.get(self._recorder.key([*read, *kept[:step]])),
        )


class VllmAsker(VllmEngine):
    """A guard model in a vLLM engine of this process. The masses are of the likeliest tokens."""

    engine = "vllm"

    def __init__(self, model: str, options: Mapping[str, Any], asked: Asked) -> None:
        """Raises ConfigError without vLLM, ModelError when it cannot run the model."""
        # A template that takes parts is asked in parts, and needs no test with plain text.
        super().__init__(model, options=options, raw=asked.raw or asked.parts)
        self.name = model
        self._asked = asked
        self._outputs: Sequence[Any] = ()

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """One response per prompt, in order."""
        found = self.answers(None, [(one, decoding) for one in prompts])
        return [self._told(*pair) for pair in zip(found, self._outputs, strict=True)]

    def _ids(self, prompt: Prompt) -> list[int]:
        return self._asked.ids(self.tokenizer, prompt, self.model)

    def _generated(self, prompts: Any, sampling: Any, adapter: Any) -> Any:
        for one in sampling:
            one.logprobs = MOST if self._asked.words else None
            one.skip_special_tokens = False
        self._outputs = super()._generated(prompts, sampling, adapter)
        return self._outputs

    def _told(self, response: Response, output: Any) -> Response:
        said = output.outputs[0]
        kept = list(said.token_ids)[: response.tokens]
        return _said(response, self.tokenizer, kept, partial(self._step, said.logprobs))

    def _step(self, logprobs: Any, step: int) -> Masses | None:
        if not logprobs:
            return None
        pairs = logprobs[step].items()
        likely = ((self.tokenizer.decode([token]), one.logprob) for token, one in pairs)
        return _sums(likely, self._asked.words)


class EndpointAsker(EndpointGenerator):
    """A guard model behind an endpoint. The masses are of the likeliest tokens, where it gives any.

    A prompt beyond the model's context gets no words.
    """

    def __init__(self, url: str, name: str, settings: Endpoint, asked: Asked) -> None:
        """Raises ConfigError when the endpoint's key is not in the environment."""
        super().__init__(url, name, settings, raw=asked.raw, skip_long=True)
        self._asked = asked

    def _request(self, prompt: Prompt, decoding: Decoding, **more: Any) -> Any:
        told = dict(self._asked.arguments[prompt.category])
        own: dict[str, Any] = {}
        if told and not self.raw:
            body = self.settings.arguments.get("extra_body") or {}
            own["extra_body"] = {**body, "chat_template_kwargs": told}
        if self._asked.words:
            own |= {"logprobs": MOST} if self.raw else {"logprobs": True, "top_logprobs": MOST}
        return super()._request(prompt, decoding, **(own | more))

    def _read(self, prompt: Prompt, answer: Any) -> Response:
        found = super()._read(prompt, answer)
        steps = _steps(getattr(answer.choices[0], "logprobs", None), raw=self.raw)
        masses = partial(self._at, found.text, steps)
        return Said(prompt, found.text, found.finish, found.tokens, found.served, masses)

    def _at(self, text: str, steps: Sequence[tuple[str, Mapping[str, float]]], place: int) -> Any:
        """Of the token at a character of `text`, which may be the end of what was said."""
        offset = "".join(token for token, _ in steps).rfind(text)
        if offset < 0:
            return None
        end = 0
        for token, likely in steps:
            end += len(token)
            if end > offset + place:
                return _sums(likely.items(), self._asked.words)
        return None


def _steps(logprobs: Any, *, raw: bool) -> list[tuple[str, dict[str, float]]]:
    """Each token, and the log-probability of the likeliest ones in its place, itself among them."""
    if logprobs is None:
        return []
    if raw:
        parts = zip(
            logprobs.tokens or [],
            logprobs.token_logprobs or [],
            logprobs.top_logprobs or [],
            strict=False,
        )
        return [(token, {**(likely or {}), token: one}) for token, one, likely in parts]
    return [
        (
            one.token,
            {**{top.token: top.logprob for top in one.top_logprobs}, one.token: one.logprob},
        )
        for one in logprobs.content or []
    ]


def _sums(likely: Iterable[tuple[str, float]], words: Sequence[str]) -> Masses:
    masses = dict.fromkeys(words, 0.0)
    for token, logprob in likely:
        if (word := spelled(token, words)) is not None:
            masses[word] += math.exp(logprob)
    return masses


def _said(
    response: Response, tokenizer: Any, ids: Sequence[int], steps: Callable[[int], Masses | None]
) -> Said:
    """The words of these tokens, and the masses of the one that ends behind a character."""

    def masses(place: int) -> Masses | None:
        low, high = 0, len(ids) - 1  # the texts of more and more tokens grow
        while low < high:
            middle = (low + high) // 2
            if len(tokenizer.decode(ids[: middle + 1])) > place:
                high = middle
            else:
                low = middle + 1
        return steps(low) if ids else None

    text = tokenizer.decode(ids)
    return Said(response.prompt, text, response.finish, response.tokens, "", masses)
