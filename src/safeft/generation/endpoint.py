"""Answers from any OpenAI-compatible endpoint: concurrent, retried, none lost and none twice."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import cached_property
from threading import Lock
from typing import Any

from safeft.errors import ConfigError, ModelError, SafeftError
from safeft.generation.schema import Endpoint
from safeft.records import Decoding, Finish, Prompt, Response

FILTERED = "content_filter"


class EndpointGenerator:
    """Asks chat completions, or completions where `raw` gives the model the text as it is.

    The client retries with exponential backoff, and waits as long as the server asks. `answers`
    yields each response as it comes, so that a caller can keep it before the next one fails.
    """

    engine = "openai"

    def __init__(
        self, url: str, name: str, settings: Endpoint | None = None, *, raw: bool = False
    ) -> None:
        """Raises ConfigError when the endpoint's key is not in the environment."""
        self.url = url
        self.name = name
        self.settings = settings or Endpoint()
        self.raw = raw
        self._key = self.settings.key(url)
        self._gate, self._next = Lock(), 0.0

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        """One response per prompt, in order. Raises as `answers` does."""
        found = dict(self._pairs(prompts, decoding))
        return [found[place] for place in range(len(prompts))]

    def answers(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Response]:
        """One response per prompt, as they come.

        A prompt that got no answer holds up no other; at the end it is raised. Raises ModelError
        when the endpoint refuses the model, the key or a request, and SafeftError when it failed.
        """
        return (response for _, response in self._pairs(prompts, decoding))

    def _pairs(
        self, prompts: Sequence[Prompt], decoding: Decoding
    ) -> Iterator[tuple[int, Response]]:
        """Each prompt's place, and its response."""
        failed: list[Exception] = []
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            asked = {
                pool.submit(self._ask, one, decoding): place for place, one in enumerate(prompts)
            }
            left = set(asked)
            try:
                while left:
                    done, left = wait(left, return_when=FIRST_COMPLETED)
                    for one in done:
                        try:
                            yield asked[one], one.result()
                        except ModelError as error:  # the next would be refused as well
                            failed.insert(0, error)
                            left = {other for other in left if not other.cancel()}
                        except SafeftError as error:
                            failed.append(error)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        if failed and isinstance(failed[0], ModelError):
            raise failed[0]
        if failed:
            raise SafeftError(
                f"{len(failed)} of {len(prompts)} prompts got no answer from {self.url}; the "
                f"others are kept, run the same command again for these. The first: {failed[0]}"
            )

    def _ask(self, prompt: Prompt, decoding: Decoding) -> Response:
        import openai

        self._wait()
        try:
            return self._read(prompt, self._request(prompt, decoding))
        except openai.BadRequestError as error:
            if error.code == FILTERED:  # a provider's own guard, before the model
                return Response(prompt, "", "withheld")
            raise _refused(self.url, prompt, error) from error
        except openai.APIStatusError as error:
            if error.status_code in (401, 403, 404, 422):
                raise _refused(self.url, prompt, error) from error
            raise SafeftError(f"prompt {prompt.id!r}: {_said(error)}") from error
        except openai.APIError as error:
            raise SafeftError(f"prompt {prompt.id!r}: {_said(error)}") from error

    def _wait(self) -> None:
        """Until this request may start: they are spread evenly over the minute."""
        with self._gate:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self.settings.pause()
        time.sleep(start - now)

    def _request(self, prompt: Prompt, decoding: Decoding) -> Any:
        shared = {
            "model": self.name,
            "temperature": decoding.temperature,
            "top_p": 1.0,
            "seed": decoding.seed,
        }
        if self.raw:
            return self._client.completions.create(
                prompt=prompt.asked, max_tokens=decoding.max_new_tokens, **shared
            )
        messages: Any = [{"role": one.role, "content": one.content} for one in prompt.messages]
        return self._client.chat.completions.create(
            messages=messages, max_tokens=decoding.max_new_tokens, **shared
        )

    def _read(self, prompt: Prompt, answer: Any) -> Response:
        """The first choice; an answer without one is a failure of the server, never an empty text.

        A refusal that the API names as such is the model's answer.
        """
        choices = getattr(answer, "choices", None)
        if not choices:
            raise SafeftError(f"prompt {prompt.id!r}: the answer holds no choice")
        first = choices[0]
        said = first.text if self.raw else first.message.content
        refusal = None if self.raw else getattr(first.message, "refusal", None)
        finish: Finish = "stop"
        if first.finish_reason in ("length", FILTERED):
            finish = "length" if first.finish_reason == "length" else "withheld"
        tokens = answer.usage.completion_tokens if answer.usage else 0
        served = answer.system_fingerprint or ""
        return Response(prompt, (said or refusal or "").strip(), finish, tokens, served)

    @cached_property
    def _client(self) -> Any:
        try:
            from openai import OpenAI
        except ImportError as error:
            raise ConfigError(
                "an endpoint needs the OpenAI client: pip install 'safeft[openai]'"
            ) from error
        settings = self.settings
        return OpenAI(
            base_url=self.url,
            api_key=self._key,
            timeout=settings.timeout,
            max_retries=settings.retries,
        )


def _refused(url: str, prompt: Prompt, error: Any) -> ModelError:
    return ModelError(
        f"{url} refuses prompt {prompt.id!r} ({_said(error)}); check the model's name, the key and "
        "the length of prompt and answer"
    )


def _said(error: Any) -> str:
    """The kind of failure and its first line; never the request, whose headers hold the key."""
    status = getattr(error, "status_code", None)
    text = str(error).strip()
    line = text.splitlines()[0][:200] if text else ""
    return f"{type(error).__name__}{f' {status}' if status else ''}: {line}"
