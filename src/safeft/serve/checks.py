"""Checks of texts alone: OpenAI's moderations, and the guardrail that LiteLLM calls."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from safeft.guarding.decision import OVERALL, Decision
from safeft.records import Prompt, Response
from safeft.serve.channels import Channel, Piece, called
from safeft.serve.conversation import asked, conversation, said
from safeft.serve.exchange import settle
from safeft.serve.guardroom import Guard
from safeft.serve.moderation import listed, result, side
from safeft.serve.problems import invalid, unguarded
from safeft.serve.reading import UnreadableError
from safeft.serve.track import Check, Part, Track

_MOST_TEXTS = 256


async def moderations(body: Mapping[str, Any], guard: Guard) -> dict[str, Any]:
    """OpenAI's answer, with the policy's categories beside its own. Raises Problem.

    A text is read as a request where the policy reads requests, else as an answer. The answer's id
    is that of its decisions in the log.
    """
    texts, request_id = _inputs(body.get("input")), f"modr-{secrets.token_hex(12)}"
    if "input" in guard.policy.stages:
        requests = [Response(Prompt.of(text, request_id), "") for text in texts]
        found = [[one] for one in await guard.decide("input", requests)]
    else:
        tracks = await _read(guard, Prompt.of("", request_id), [_piece(text) for text in texts])
        found = [track.decisions for track in tracks]
    _tell_failure(found)
    return {
        "id": request_id,
        "model": side(found)["model"],
        "results": [listed(result(decisions)) for decisions in found],
    }


async def guardrail(body: Mapping[str, Any], guard: Guard) -> dict[str, Any]:
    """The answer to LiteLLM's generic guardrail call. Raises Problem."""
    texts = body.get("texts") or []
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise invalid("texts must be a list of texts", "texts")
    if body.get("input_type") == "request":
        return await _request(body, texts, guard)
    if body.get("input_type") == "response":
        return await _response(body, texts, guard)
    raise invalid("input_type must be request or response", "input_type")


async def _request(body: Mapping[str, Any], texts: list[str], guard: Guard) -> dict[str, Any]:
    """The conversation where it is given, whose last text may have been changed on its way here."""
    request_id = secrets.token_hex(8)
    prompts = [Prompt.of(text, request_id) for text in texts]
    if (messages := body.get("structured_messages")) is not None:
        prompts = [conversation(messages, guard.policy.turns, request_id), *prompts[-1:]]
    found = await guard.decide("input", asked(prompts))
    _tell_failure([found])
    stopped = next((one for one in found if not one.clears), None)
    return {"action": "NONE"} if stopped is None else _blocked(stopped)


async def _response(body: Mapping[str, Any], texts: list[str], guard: Guard) -> dict[str, Any]:
    request_id = secrets.token_hex(8)
    prompt = Prompt.of("", request_id)
    if (messages := body.get("structured_messages")) is not None:
        prompt = conversation(messages, guard.policy.turns, request_id)
    tracks = await _read(guard, prompt, [*map(_piece, texts), *_calls(body.get("tool_calls"))])
    _tell_failure([track.decisions for track in tracks])
    replaced = guard.policy.refusal
    out = []
    for track in tracks:
        if track.stopped is not None and track.stopped.action != "replace":
            return _blocked(track.stopped)
        out.append(replaced if track.stopped else track.release()[0][1]["text"])
    out = out[: len(texts)]
    return {"action": "NONE"} if out == texts else {"action": "GUARDRAIL_INTERVENED", "texts": out}


async def _read(guard: Guard, prompt: Prompt, pieces: list[Piece]) -> list[Track]:
    """Each text in its windows, as an answer is read."""
    tracks: list[Track] = []
    checks: list[Check] = []
    for piece in pieces:
        track = Track(guard.policy, prompt, "")
        answers = piece.channel.stage == "output"
        part = Part({"text": piece.text if answers else ""}, {})
        checks += track.take(part, () if answers else [piece])
        checks += track.finish()
        tracks.append(track)
    await settle(guard, checks)
    return tracks


def _calls(given: object) -> list[Piece]:
    try:
        return called(given)
    except UnreadableError as error:
        raise invalid(f"tool_calls: {error}", "tool_calls") from error


def _piece(text: str) -> Piece:
    return Piece(Channel("output", "text"), text)


def _inputs(given: object) -> list[str]:
    """The texts of a request: one, a list of them, or one in parts. Raises Problem."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given or len(given) > _MOST_TEXTS:
        raise invalid(f"input must be a text or a list of 1 to {_MOST_TEXTS}", "input")
    if all(isinstance(one, str) for one in given):
        return given
    if any(not isinstance(one, dict) or one.get("type") != "text" for one in given):
        raise invalid("input may hold text only: images are not read", "input")
    return [said(given)]


def _tell_failure(found: list[list[Decision]]) -> None:
    """A failure of the guard is told as such, before anything is said of the texts."""
    for decision in (one for decisions in found for one in decisions):
        if decision.outcome == "error":
            raise unguarded(decision.error, {})


def _blocked(decision: Decision) -> dict[str, Any]:
    reason = f"{decision.category or OVERALL} ({decision.stage})"
    return {"action": "BLOCKED", "blocked_reason": reason}
