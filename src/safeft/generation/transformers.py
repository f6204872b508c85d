"""Answers from a Transformers model: batched, bucketed by length, each reproducible by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from safeft.errors import PromptError, TooLongError
from safeft.generation.decoding import Draws, Pasts, extend
from safeft.generation.streams import stripped, written
from safeft.records import Decoding, Finish, Prompt, Response

# Models ship generation configs of their own; what they change about the distribution is undone.
_GREEDY = {
    "do_sample": False,  # what is drawn, `Draws` draws
    "temperature": None,
    "top_p": None,
    "top_k": None,
    "num_beams": 1,
    "num_return_sequences": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "top_h": None,
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "min_length": 0,
    "min_new_tokens": None,
    "max_length": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "begin_suppress_tokens": None,
    "exponential_decay_length_penalty": None,
    # How its past is kept and read is ours: answers are written some tokens at a time.
    "cache_implementation": None,
    "prefill_chunk_size": None,
}


class TransformersGenerator:
    """Generates with a causal language model and its chat template.

    `raw` gives the model the last message's text as it is, as judges with a format of their own
    want it. An answer is drawn by numbers of its own, seeded by the decoding seed and the prompt,
    so that it does not depend on what else is in the batch (up to rounding). `batches` depends on
    the whole prompt list only, so that a resumed run rounds as an uninterrupted one does. Greedy
    answers pass their scores through `processors`.
    """

    engine = "transformers"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        name: str,
        batch_size: int = 48,
        *,
        raw: bool = False,
        processors: Sequence[Any] = (),
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.batch_size = batch_size
        self.raw = raw
        self._arguments = {"pad_token_id": tokenizer.pad_token_id, **_GREEDY}
        if processors:
            self._arguments["logits_processor"] = list(processors)
        self._pasts = Pasts(model, self._arguments)
        self._ids = lru_cache(2**12)(self._read)  # every decoding asks for the same prompts

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """One response per prompt, in order."""
        # By prompt, not by its id: prompts made with `Prompt.of` may share one.
        answered = {
            response.prompt: response
            for batch in self.batches(prompts, decoding)
            for response in self.answer(batch, decoding)
        }
        return [answered[prompt] for prompt in prompts]

    def batches(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[list[Prompt]]:
        """Prompts in batches of similar length.

        Raises PromptError for a prompt that leaves no room for an answer in the context, or that
        the chat template refuses.
        """
        lengths = {prompt: len(self._ids(prompt)) for prompt in prompts}
        refuse_too_long(lengths, decoding.max_new_tokens, context_of(self.model.config), self.name)
        ordered = sorted(prompts, key=lambda prompt: (lengths[prompt], prompt.id))
        for start in range(0, len(ordered), self.batch_size):
            yield ordered[start : start + self.batch_size]

    def answer(self, batch: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """Responses to one batch."""
        padded = self.tokenizer.pad(
            {"input_ids": [self._ids(prompt) for prompt in batch]},
            padding_side="left",
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.model.device)
        stops = _stops(self.model, self.tokenizer)
        draws = None
        if decoding.temperature > 0:
            draws = (_uniform(decoding, batch), decoding.temperature, decoding.top_p)
        most, past = decoding.max_new_tokens, self._pasts.of(padded)
        found = extend(self.model, padded, stops, most, self._arguments, draws, past)
        return [
            self._response(prompt, ids, stops) for prompt, ids in zip(batch, found, strict=True)
        ]

    def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[str]:
        """The answer in pieces, whose text is that of `answer` (up to rounding).

        Closing the iterator ends the generation. Raises PromptError as `batches` does.
        """
        import torch

        list(self.batches([prompt], decoding))
        ids = torch.tensor([self._ids(prompt)], device=self.model.device)
        stops, given = _stops(self.model, self.tokenizer), dict(self._arguments)
        if decoding.temperature > 0:
            numbers = _uniform(decoding, [prompt])
            drawn = Draws(numbers, decoding.temperature, decoding.top_p, ids.shape[1])
            given["logits_processor"] = [drawn]

        def generate(**options: Any) -> None:
            with torch.inference_mode():
                self.model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=decoding.max_new_tokens,
                    eos_token_id=sorted(stops) or None,
                    **given,
                    **options,
                )

        begun = begun_ids(self.tokenizer, prompt)
        return stripped(written(self.tokenizer, stops, begun, generate))

    def _read(self, prompt: Prompt) -> list[int]:
        if self.raw:
            return raw_ids(self.tokenizer, prompt)
        return prompt_ids(self.tokenizer, prompt, self.name)

    def _response(self, prompt: Prompt, ids: list[int], stops: set[int]) -> Response:
        end = next((place for place, token in enumerate(ids) if token in stops), None)
        finish: Finish = "length" if end is None else "stop"
        kept = ids[:end]
        whole = [*begun_ids(self.tokenizer, prompt), *kept]
        text = self.tokenizer.decode(whole, skip_special_tokens=True).strip()
        return Response(prompt, text, finish, len(kept))


def prompt_ids(
    tokenizer: Any,
    prompt: Prompt,
    model: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    parts: bool = False,
) -> list[int]:
    """The prompt as the model reads it; PromptError when its chat template refuses it.

    `arguments` are told to the template, which gets each turn as a list of parts if `parts`.
    """
    messages = [
        {"role": one.role, "content": _parts(one.content) if parts else one.content}
        for one in prompt.messages
    ]
    try:
        ids: list[int] = tokenizer.apply_chat_template(
            messages, **{"add_generation_prompt": True, "return_dict": False, **(arguments or {})}
        )
    except Exception as error:  # a template is code of its author's, and may raise anything
        raise PromptError(
            prompt.id,
            f"is refused by the chat template of {model} ({error}); mend the template that lies "
            "beside its tokenizer",
        ) from error
    return [*ids, *begun_ids(tokenizer, prompt)]


def _parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def raw_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """The last message's text as it is, without a chat template."""
    # A format of one's own may begin with the token that the tokenizer would add.
    begins = prompt.asked.startswith(tokenizer.bos_token or "\0")
    ids: list[int] = tokenizer(prompt.asked, add_special_tokens=not begins)["input_ids"]
    return ids


def begun_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """What the answer is made to begin with; it counts as the model's own words."""
    if not prompt.begun:
        return []
    ids: list[int] = tokenizer(prompt.begun, add_special_tokens=False)["input_ids"]
    return ids


def context_of(config: Any) -> int | None:
    """How many tokens a model reads, prompt and answer together, as far as its config says."""
    return getattr(config, "max_position_embeddings", None)


def refuse_too_long(
    lengths: Mapping[Prompt, int], max_new_tokens: int, context: int | None, model: str
) -> None:
    """Raises PromptError when the longest prompt leaves no room for an answer in the context."""
    longest = max(lengths, key=lambda key: lengths[key], default=None)
    if context is None or longest is None:
        return
    if lengths[longest] + max_new_tokens > context:
        raise TooLongError(
            longest.id,
            f"has {lengths[longest]} tokens; with {max_new_tokens} new ones it exceeds the context "
            f"of {model} ({context}); shorten it or lower max_new_tokens",
        )


def _stops(model: Any, tokenizer: Any) -> set[int]:
    declared = model.generation_config.eos_token_id
    declared = declared if isinstance(declared, list) else [declared]
    return {token for token in (*declared, tokenizer.eos_token_id) if token is not None}


def _uniform(decoding: Decoding, batch: Sequence[Prompt]) -> Any:
    """Numbers in [0, 1), prompts × new tokens: one stream for each decoding seed and prompt."""
    import torch

    streams = [_stream(decoding.seed, prompt) for prompt in batch]
    # Of 24 bits: times a sum of probabilities they stay below it.
    numbers = [one.random(decoding.max_new_tokens, dtype=np.float32) for one in streams]
    return torch.from_numpy(np.array(numbers, dtype=np.float64))


def _stream(seed: int, prompt: Prompt) -> np.random.Generator:
    text = f"{seed}\n{prompt.id}\n{prompt.asked}"
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))
