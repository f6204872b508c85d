"""The guard on `vllm.LLM`: `generate` and `chat` as before, but what leaves them was cleared.

The request that judges read is the conversation that `chat` is given, or the prompt that `generate`
is given, without special tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ClassVar

from safeft.errors import ConfigError
from safeft.guarding.checker import Checker
from safeft.guarding.releasing import Released, Watch, released, requested, reseeded
from safeft.guarding.standin import StandIn, called
from safeft.records import Message, Prompt

FILTERED = "content_filter"
_ALSO = ("sampling_params", "lora_request", "priority")
"""Arguments that may be lists, with one entry for each prompt."""


class GuardedLLM(StandIn):
    """A `vllm.LLM` whose `generate` and `chat` withhold; all else is the engine's own.

    Of an output that is withheld the text is the policy's refusal and the finish reason
    `content_filter`; token ids and log-probabilities tell of what was withheld and are dropped,
    and so are the prompt's log-probabilities. A blocked request is not asked. An answer to be
    regenerated is drawn again with another seed where its request samples; else it is withheld.
    """

    past: ClassVar[tuple[str, ...]] = (
        *("beam_search", "enqueue", "enqueue_chat", "wait_for_completion"),
    )
    guarded: ClassVar[str] = "generate or chat"

    def __init__(self, llm: Any, checker: Checker, watch: Watch | None = None) -> None:
        super().__init__(llm, _checker=checker, _watch=watch)

    @property
    def generate(self) -> Callable[..., Any]:
        """The engine's own `generate`: signature and return type are the same."""
        return self._guarded(self._inner.generate, "prompts", _listed, self._read)

    @property
    def chat(self) -> Callable[..., Any]:
        """The engine's own `chat`: signature and return type are the same."""
        return self._guarded(self._inner.chat, "messages", _conversations, _conversation)

    def _guarded(
        self,
        function: Callable[..., Any],
        key: str,
        listed: Callable[[Any], list[Any]],
        read: Callable[[Any, str], Prompt],
    ) -> Callable[..., Any]:
        @wraps(function)
        def answered(*given: Any, **options: Any) -> Any:
            named = called(function, given, options)
            asked = listed(named.pop(key))
            prompts = [read(one, str(place)) for place, one in enumerate(asked)]
            return _Call(self, function, named, (key, asked), prompts).result()

        return answered

    def _read(self, prompt: Any, id: str) -> Prompt:
        """What a judge reads of a prompt. Raises ConfigError for embeddings, which nobody reads."""
        tokenizer = self._inner.get_tokenizer()
        if isinstance(prompt, dict):  # the engine reads token ids before text, and so does this
            prompt = prompt.get("prompt_token_ids") or prompt.get("prompt")
        if isinstance(prompt, str):
            prompt = tokenizer.encode(prompt, add_special_tokens=False)
        if prompt is None:
            raise ConfigError("a guarded engine reads prompts as text or token ids; give it these")
        return Prompt.of(tokenizer.decode(list(prompt), skip_special_tokens=True), id)


class _Call:
    """One call of `generate` or `chat`."""

    def __init__(
        self,
        guarded: GuardedLLM,
        function: Callable[..., Any],
        options: dict[str, Any],
        asked: tuple[str, list[Any]],
        prompts: list[Prompt],
    ) -> None:
        self.llm, self.function, self.options = guarded._inner, function, options
        self.checker: Checker = guarded._checker
        self.watch: Watch | None = guarded._watch
        self.key, self.asked = asked
        self.prompts = prompts

    def result(self) -> list[Any]:
        """One `RequestOutput` for each prompt, in order."""
        decisions = requested(self.checker, self.prompts, self.watch)
        cleared = [place for place, one in enumerate(decisions) if one.clears]
        found = dict(zip(cleared, self._run(cleared) if cleared else [], strict=True))
        self._release(found)
        return [
            found[place] if place in found else self._refused(place)
            for place in range(len(self.asked))
        ]

    def _run(self, places: Sequence[int], **other: Any) -> list[Any]:
        """The engine's answers to some of the prompts."""
        chosen = {
            key: [value[place] for place in places] if self._several(key, value) else value
            for key, value in self.options.items()
        }
        chosen |= {self.key: [self.asked[place] for place in places], **other}
        outputs: list[Any] = self.function(**chosen)
        return outputs

    def _several(self, key: str, value: Any) -> bool:
        return key in _ALSO and isinstance(value, Sequence)

    def _release(self, found: dict[int, Any]) -> None:
        """Put in place of each output what leaves of it."""
        owners = [(place, at) for place, one in found.items() for at in range(len(one.outputs))]

        def again(wanted: list[int], attempt: int) -> list[str]:
            places = [owners[one][0] for one in wanted]
            drawn = self._run(places, sampling_params=self._redrawn(wanted, places, attempt))
            for one, output in zip(wanted, drawn, strict=True):
                place, at = owners[one]
                (new,) = output.outputs
                new.index = found[place].outputs[at].index
                found[place].outputs[at] = new
            return [self._text(found[owners[one][0]].outputs[owners[one][1]]) for one in wanted]

        leaving = released(
            self.checker,
            [self.prompts[place] for place, _ in owners],
            [self._text(found[place].outputs[at]) for place, at in owners],
            again=again if all(self._params(place).temperature > 0 for place in found) else None,
            watch=self.watch,
        )
        for (place, at), one in zip(owners, leaving, strict=True):
            if one.kind != "whole":
                outputs = found[place].outputs
                outputs[at] = _changed(outputs[at], one)
                found[place].prompt_logprobs = None

    def _redrawn(self, wanted: list[int], places: list[int], attempt: int) -> list[Any]:
        """Sampling of one answer each; seeds that were set become others."""
        chosen = []
        for one, place in zip(wanted, places, strict=True):
            params = self._params(place).clone()
            params.n = 1
            if params.seed is not None:
                params.seed = reseeded(params.seed + one, attempt)
            chosen.append(params)
        return chosen

    def _params(self, place: int) -> Any:
        given = self.options.get("sampling_params")
        if given is None:
            return self.llm.get_default_sampling_params()
        return given[place] if isinstance(given, Sequence) else given

    def _text(self, output: Any) -> str:
        """What an output says, also when the engine was asked for token ids alone."""
        if output.text or not output.token_ids:
            return str(output.text)
        text: str = self.llm.get_tokenizer().decode(
            list(output.token_ids), skip_special_tokens=True
        )
        return text

    def _refused(self, place: int) -> Any:
        """What a blocked request is answered with."""
        from vllm.outputs import CompletionOutput, RequestOutput

        refusal = self.checker.policy.refusal
        outputs = [
            CompletionOutput(at, refusal, [], None, None, finish_reason=FILTERED)
            for at in range(self._params(place).n)
        ]
        prompt = self.asked[place]
        said = prompt if isinstance(prompt, str) else None
        return RequestOutput(f"blocked-{place}", said, [], None, outputs, finished=True)


def _changed(output: Any, leaves: Released) -> Any:
    """An output with other words, and nothing that tells of the former ones."""
    finish = FILTERED if leaves.kind == "withheld" else output.finish_reason
    return type(output)(
        index=output.index,
        text=leaves.text,
        token_ids=[],
        cumulative_logprob=None,
        logprobs=None,
        finish_reason=finish,
    )


def _listed(prompts: Any) -> list[Any]:
    """One prompt, or several: a text, a dict, or token ids stand for one."""
    single = isinstance(prompts, str | dict) or (len(prompts) > 0 and isinstance(prompts[0], int))
    return [prompts] if single else list(prompts)


def _conversations(messages: Any) -> list[Any]:
    """One conversation, or several."""
    return [messages] if messages and isinstance(messages[0], dict) else list(messages)


def _conversation(messages: Any, id: str) -> Prompt:
    turns = [Message(str(one["role"]), _words(one.get("content"))) for one in messages]
    return Prompt(id, tuple(turns))


def _words(content: Any) -> str:
    """The text of a turn, also where it comes in parts."""
    if isinstance(content, str) or content is None:
        return content or ""
    return "\n".join(
        str(one.get("text", "")) if isinstance(one, dict) else str(one) for one in content
    )
