"""safeft serve: an OpenAI-compatible server that lets out only what a policy has cleared."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from safeft.serve.generating import Writer
    from safeft.serve.settings import Settings

_PACKAGES = ("httpx", "prometheus_client", "starlette", "uvicorn")


@click.command("serve")
@click.option("--upstream", metavar="URL", help="An OpenAI-compatible server, such as vLLM's.")
@click.option("--model", help="In its place: a model that this process loads.")
@click.option("--adapter", help="Merged into MODEL.")
@click.option("--precision", help="Of MODEL's weights, e.g. bfloat16.")
@click.option("--trust-remote-code", is_flag=True, help="Run code from the model's repository.")
@click.option("--policy", default="default", show_default=True, help="A shipped name or a YAML.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--keys-variable", metavar="NAME", help="Environment variable: keys of who may ask.")
@click.option("--upstream-key-variable", metavar="NAME", help="Same: the key of the upstream.")
@click.option("--decisions", type=click.Path(path_type=Path), help="Log each decision as JSONL.")
@click.option("--log-text", is_flag=True, help="With the text that it is about.")
@click.option("--trace-text", is_flag=True, help="Also put that text into spans.")
@click.option("--max-body", type=click.IntRange(1), metavar="BYTES", help="Of a request.")
@click.option("--max-streams", type=click.IntRange(1), help="Answers under way at once.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Other limits.")
@click.option("--grace", default=30, show_default=True, help="Seconds for what is under way.")
def command(
    upstream: str | None,
    model: str | None,
    adapter: str | None,
    precision: str | None,
    trust_remote_code: bool,
    policy: str,
    host: str,
    port: int,
    decisions: Path | None,
    log_text: bool,
    trace_text: bool,
    grace: int,
    **limits: Any,
) -> None:
    """Put the guardrail POLICY in front of a model server, or of a model.

    SIGHUP reads the policy again: answers under way end by the old one, and a policy that cannot
    be read changes nothing. SIGTERM and Ctrl-C end the server.
    """
    _refuse(upstream, model, adapter, decisions, log_text, limits["upstream_key_variable"])
    from safeft.serve.running import address, bound, run
    from safeft.serve.serving import Serving

    own = {"adapter": adapter, "precision": precision, "trust_remote_code": trust_remote_code}
    with bound(host, port) as on:
        serving = Serving(
            policy,
            decisions=decisions,
            log_text=log_text,
            trace_text=trace_text,
            writer=_writer(model, own),
        )
        with _behind(upstream, serving.writer, limits) as (url, settings):
            guarded = serving.before(url, settings)
            where = f"{address(on)}/v1 is {upstream or model} behind policy {policy}"
            run(
                guarded,
                on,
                settings,
                reload=lambda: click.echo(f"reload: {serving.reload()}", err=True),
                grace=grace,
                ready=lambda: click.echo(where),
            )


def _refuse(
    upstream: str | None,
    model: str | None,
    adapter: str | None,
    decisions: Path | None,
    log_text: bool,
    upstream_key_variable: str | None,
) -> None:
    """Raises UsageError or ConfigError for what cannot be served."""
    from safeft.errors import ConfigError

    if (upstream is None) == (model is None):
        raise click.UsageError("give --upstream, a server, or --model, which this process loads")
    if adapter and not model:
        raise click.UsageError("--adapter: belongs to --model; the upstream loads its own")
    if upstream_key_variable and model:
        raise click.UsageError("--upstream-key-variable: belongs to --upstream")
    if log_text and decisions is None:
        raise click.UsageError("--log-text: name the log with --decisions")
    missing = [one for one in _PACKAGES if importlib.util.find_spec(one) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} is not installed; pip install 'safeft[serve]'")


def _writer(model: str | None, own: dict[str, Any]) -> Callable[[], Writer] | None:
    """What loads the model of this process, if there is to be one."""
    if model is None:
        return None
    from safeft.serve.local import local_writer

    return partial(local_writer, model, **own)


@contextmanager
def _behind(
    upstream: str | None, writer: Writer | None, limits: dict[str, Any]
) -> Iterator[tuple[str, Settings]]:
    """What stands behind the guardrail, its URL, and how it is asked."""
    import asyncio
    import secrets

    from safeft.serve.serving import LentSettings, reachable
    from safeft.serve.settings import Settings

    if upstream is not None:
        settings = _settings(Settings, **limits)
        if not asyncio.run(reachable(upstream, settings)):
            click.echo(f"warning: {upstream} does not answer yet", err=True)
        yield upstream, settings
        return
    from safeft.serve.local import app_over
    from safeft.serve.running import loopback

    assert writer is not None
    key = secrets.token_urlsafe(32)  # for this process alone: the guardrail has no side door
    settings = _settings(LentSettings, **limits, lent=key)
    with loopback(app_over(writer, key)) as url:
        yield url, settings


def _settings(
    kind: type[Settings],
    *,
    keys_variable: str | None,
    changes: tuple[str, ...],
    max_body: int | None,
    max_streams: int | None,
    **more: Any,
) -> Settings:
    """The settings out of the options. Raises ConfigError."""
    from safeft.assets import read_yaml
    from safeft.errors import ConfigError

    if any(one.partition("=")[0].strip() in ("keys", "lent") for one in changes):
        raise ConfigError("--set: keys come from the environment, by --keys-variable")
    given = {"keys": _keys(keys_variable), "max_body_bytes": max_body, "max_streams": max_streams}
    named = [f"{key}={json.dumps(one)}" for key, one in (given | more).items() if one is not None]
    try:
        return read_yaml(Path(os.devnull), kind, [*named, *changes])
    except ConfigError as error:
        raise ConfigError(str(error).replace(os.devnull, "--set")) from error


def _keys(variable: str | None) -> list[str]:
    """The keys in a variable, apart by commas or white space. Raises ConfigError without any."""
    from safeft.errors import ConfigError

    if variable is None:
        return []
    found = os.environ.get(variable, "").replace(",", " ").split()
    if not found:
        raise ConfigError(f"--keys-variable: the environment variable {variable} holds no key")
    return found
