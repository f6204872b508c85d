"""What a server may be told: its limits, its patience and its keys."""

from __future__ import annotations

import os
from hmac import compare_digest

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from safeft.errors import ConfigError


class Settings(BaseModel):
    """Limits in bytes, patience in seconds. Unknown keys and converted types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_body_bytes: int = Field(8 * 2**20, gt=0, description="of one request")
    max_header_bytes: int = Field(32 * 2**10, gt=0, description="of all headers of a request")
    max_answer_bytes: int = Field(32 * 2**20, gt=0, description="of one answer of the upstream")
    max_pending_bytes: int = Field(2**20, gt=0, description="held of one stream, unchecked")
    max_streams: int = Field(256, gt=0, description="answers under way at once; then 429")
    max_waiting: int = Field(1024, gt=0, description="texts of a stage that wait for a check")
    max_batch: int = Field(32, gt=0, description="texts that are checked at once")
    batch_wait: float = Field(
        0.003,
        ge=0,
        description="how long a first text waits for others, if several requests are under way",
    )
    connect_timeout: float = Field(5.0, gt=0, description="until the upstream takes the call")
    read_timeout: float = Field(300.0, gt=0, description="of silence from the upstream")
    write_timeout: float = Field(30.0, gt=0, description="until the upstream took the request")
    client_timeout: float = Field(30.0, gt=0, description="for a client to send, or to take")
    keep_alive: float = Field(10.0, gt=0, description="of holding, then a comment is sent")
    keys: tuple[SecretStr, ...] = Field((), description="who may ask; none: the upstream decides")
    upstream_key_variable: str | None = Field(
        None, min_length=1, description="environment variable of the key that the upstream gets"
    )

    @model_validator(mode="after")
    def _lends_no_key(self) -> Settings:
        if self.upstream_key_variable and not self.keys:
            raise ValueError(
                "upstream_key_variable needs keys: without any, everybody who reaches the port "
                "would use the upstream's key"
            )
        if any(not one.get_secret_value() for one in self.keys):
            raise ValueError("keys: an empty key would let everybody in")
        return self

    @property
    def upstream_key(self) -> str | None:
        """The key for the upstream, from the environment. Raises ConfigError when it is unset."""
        if self.upstream_key_variable is None:
            return None
        if not (found := os.environ.get(self.upstream_key_variable)):
            raise ConfigError(
                f"upstream_key_variable: the environment has no {self.upstream_key_variable}"
            )
        return found

    def admits(self, given: str) -> bool:
        """Whether a key is one of `keys`; it takes as long for a near miss as for any other."""
        found = [
            compare_digest(one.get_secret_value().encode(), given.encode()) for one in self.keys
        ]
        return any(found)
