"""Answers from any OpenAI-compatible endpoint: concurrent, retried, none lost and none twice."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import cached_property
from threading import Lock
from typing import Any

from safeft.errors import ModelError, PromptError, SafeftError, TooLongError, UserError
from safeft.generation.schema import Endpoint, installed
from safeft.generation.streams import stripped, words_of
from safeft.records import Decoding, Finish, Prompt, Response

_LOG = logging.getLogger("safeft")
FILTERED = "content_filter"
# The words for a prompt that leaves no room for an answer: OpenAI's and vLLM's, those of SGLang,
# llama.cpp, Mistral and Together; newer vLLM's and xAI's; Groq's; Anthropic's; Google's; TGI's.
_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|maximum (?:model|prompt) length|reduce the length of the"
    r"|(?:prompt|input) is too long|input token count|`inputs` tokens \+",
    re.IGNORECASE,
)


class EndpointGenerator:
    """Asks chat completions, or completions where `raw` gives the model the text as it is.

    The client retries with exponential backoff, and waits as long as the server asks. `answers`
    yields each response as it comes, so that a caller can keep it before the next one fails. With
    `skip_long` a prompt beyond the model's context is answered with nothing.
    """

    engine = "openai"

    def __init__(
        self,
        url: str,
        name: str,
        settings: Endpoint | None = None,
        *,
        raw: bool = False,
        skip_long: bool = False,
    ) -> None:
        """Raises ConfigError when the endpoint's key is not in the environment."""
        self.url = url
        self.name = name
        self.settings = settings or Endpoint()
        self.raw = raw
        self.skip_long = skip_long
        self._key = self.settings.key(url)
        self._gate, self._next = Lock(), 0.0

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """One response per prompt, in order. Raises as `answers` does; then none is kept."""
        found: dict[int, Response] = {}
        failed: list[Exception] = []
        for place, answer in self._outcomes(prompts, decoding):
            if isinstance(answer, Response):
                found[place] = answer
            else:
                failed.append(answer)
        self._complain(failed, len(prompts), "run the same command again")
        return [found[place] for place in range(len(prompts))]

    def answers(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Response]:
        """One response per prompt, as they come.

        A prompt that got no answer holds up no other; at the end it is raised. Raises ModelError
        when the endpoint refuses the model, the key or a request, TooLongError for a prompt beyond
        the context, and SafeftError when it failed.
        """
        failed: list[Exception] = []
        for _, answer in self._outcomes(prompts, decoding):
            if isinstance(answer, Response):
                yield answer
            else:
                failed.append(answer)
        again = "the others are kept, run the same command again for these"
        self._complain(failed, len(prompts), again)

    def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[str]:
        """The answer in pieces, as they come; closing the iterator hangs up.

        Raises as `answers` does, and SafeftError when the answer breaks off.
        """
        return stripped(self._pieces(prompt, decoding))

    def _pieces(self, prompt: Prompt, decoding: Decoding) -> Generator[str, None, None]:
        import openai

        self._wait()
        try:
            with self._request(prompt, decoding, stream=True) as chunks:
                yield from words_of(prompt.id, chunks, self._piece)
        except openai.APIStatusError as error:
            self._instead(prompt, error)  # raises, or means an answer without words
        except SafeftError:
            raise
        except Exception as error:  # older clients let their transport's own errors through
            raise SafeftError(f"prompt {prompt.id!r}: {said_by(error)}") from error

    def _piece(self, choice: Any) -> str:
        if self.raw:
            return _text(getattr(choice, "text", None))
        delta = getattr(choice, "delta", None)
        return _text(getattr(delta, "content", None) or getattr(delta, "refusal", None))

    def _complain(self, failed: Sequence[Exception], asked: int, cure: str) -> None:
        """Raise what went wrong, the user's own mistakes first, before them what fails always."""
        for error in sorted(failed, key=_hopeless, reverse=True):
            if isinstance(error, UserError):
                raise error
        if failed:
            raise SafeftError(
                f"{len(failed)} of {asked} prompts got no answer from {self.url}; {cure}. "
                f"The first: {failed[0]}"
            )

    def _outcomes(
        self, prompts: Sequence[Prompt], decoding: Decoding
    ) -> Iterator[tuple[int, Response | Exception]]:
        """Each prompt's place, and its response or what went wrong.

        Where the next would fail as well, the rest is not asked: after a refusal, and when nobody
        has been answered and as many failed as are asked at once.
        """
        _ = self._client  # made once, and missing packages are told before anything starts
        pool = ThreadPoolExecutor(self.settings.concurrency)
        asked = {pool.submit(self._ask, one, decoding): place for place, one in enumerate(prompts)}
        left, answered, lost = set(asked), False, 0
        try:
            while left:
                done, left = wait(left, return_when=FIRST_COMPLETED)
                for one in done:
                    error = one.exception()
                    if error is None:
                        answered = True
                        yield asked[one], one.result()
                    elif isinstance(error, PromptError):
                        answered = True  # about this prompt alone
                        yield asked[one], error
                    elif isinstance(error, SafeftError):
                        lost += 1
                        yield asked[one], error
                    else:
                        raise error
                    dead = not answered and lost >= self.settings.concurrency
                    if _hopeless(error) or dead:
                        rest = {other for other in left if other.cancel()}
                        left -= rest
                        yield from ((asked[other], _not_asked(error)) for other in rest)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, prompt: Prompt, decoding: Decoding) -> Response:
        import openai

        self._wait()
        try:
            return self._read(prompt, self._request(prompt, decoding))
        except openai.APIStatusError as error:
            return self._instead(prompt, error)
        except openai.APIError as error:
            raise SafeftError(f"prompt {prompt.id!r}: {said_by(error)}") from error

    def _instead(self, prompt: Prompt, error: Any) -> Response:
        """What a refused request comes to: a response without words, or an error."""
        status = error.status_code
        if status == 400 and error.code in self.settings.filter_codes:  # a guard before the model
            return Response(prompt, "", "withheld")
        if status in (400, 413, 422) and _too_long(error):
            problem = f"is too long for {self.name} at {self.url} ({said_by(error)}); shorten it"
            if not self.skip_long:
                raise TooLongError(prompt.id, problem) from error
            _LOG.warning("a prompt gets no answer: it %s", problem)
            return Response(prompt, "")
        if status in (400, 401, 403, 404, 422):
            raise _refused(self.url, prompt, error) from error
        raise SafeftError(f"prompt {prompt.id!r}: {said_by(error)}") from error

    def _wait(self) -> None:
        """Until this request may start: they are spread evenly over the minute."""
        with self._gate:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self.settings.pause()
        time.sleep(start - now)  # a thread of the pool: only this request waits

    def _request(self, prompt: Prompt, decoding: Decoding, **more: Any) -> Any:
        own = {
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": decoding.seed,
            "max_tokens": decoding.max_new_tokens,
        } | self.settings.arguments
        chosen: Any = {key: value for key, value in own.items() if value is not None} | more
        if self.raw:
            return self._client.completions.create(model=self.name, prompt=prompt.asked, **chosen)
        messages: Any = [{"role": one.role, "content": one.content} for one in prompt.messages]
        return self._client.chat.completions.create(model=self.name, messages=messages, **chosen)

    def _read(self, prompt: Prompt, answer: Any) -> Response:
        """The first choice; an answer without one is a failure of the server, never an empty text.

        A refusal that the API names as such is the model's answer.
        """
        choices = getattr(answer, "choices", None)
        if not choices:
            raise SafeftError(f"prompt {prompt.id!r}: the answer holds no choice")
        first = choices[0]
        message = first if self.raw else getattr(first, "message", None)
        if message is None:
            raise SafeftError(f"prompt {prompt.id!r}: the answer holds no message")
        said = _text(getattr(message, "text" if self.raw else "content", None))
        refusal = getattr(message, "refusal", None)
        finish: Finish = "stop"
        if first.finish_reason in ("length", FILTERED):
            finish = "length" if first.finish_reason == "length" else "withheld"
        tokens = getattr(answer.usage, "completion_tokens", None) or 0
        served = getattr(answer, "system_fingerprint", None) or ""
        return Response(prompt, (said or refusal or "").strip(), finish, tokens, served)

    @cached_property
    def _client(self) -> Any:
        installed(self.url)
        from openai import OpenAI

        settings = self.settings
        return OpenAI(
            base_url=self.url,
            api_key=self._key,
            timeout=settings.timeout,
            max_retries=settings.retries,
        )


def _hopeless(error: BaseException | None) -> bool:
    """Whether every other request would fail as well, such as for a wrong key."""
    return isinstance(error, UserError) and not isinstance(error, PromptError)


def _too_long(error: Any) -> bool:
    """Whether the server names the context; only in its own words, which may quote no prompt."""
    body = error.body
    own = [body.get(key) for key in ("code", "type", "message")] if isinstance(body, dict) else body
    return bool(_TOO_LONG.search(str(own)))


def _not_asked(error: BaseException | None) -> SafeftError:
    return error if isinstance(error, SafeftError) else SafeftError("not asked")


def _text(content: Any) -> str:
    """The words of a message; some servers send them in parts."""
    if isinstance(content, list):
        parts = (one.get("text") if isinstance(one, dict) else None for one in content)
        return "".join(part for part in parts if part)
    return content or ""


def _refused(url: str, prompt: Prompt, error: Any) -> ModelError:
    return ModelError(
        f"{url} refuses prompt {prompt.id!r} ({said_by(error)}); check the model's name, the key "
        "and the length of prompt and answer"
    )


def said_by(error: Any) -> str:
    """The kind of failure and its first line; never the request, whose headers hold the key."""
    status = getattr(error, "status_code", None)
    text = str(error).strip()
    line = text.splitlines()[0][:200] if text else ""
    return f"{type(error).__name__}{f' {status}' if status else ''}: {line}"
