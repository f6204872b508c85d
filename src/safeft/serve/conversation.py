"""What was asked, as a judge reads it: of a conversation the last turns, of completions the prompt.

Images, audio and files are not read: a policy is about words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from safeft.records import Message, Prompt, Response
from safeft.serve.problems import invalid

MOST_CHOICES = 128
_ROLES = {"system": "system", "developer": "system", "assistant": "assistant"}
_TEXTS = ("text", "refusal")


def chat_prompts(body: Mapping[str, Any], turns: int, id: str) -> list[Prompt]:
    """The conversation, once for each choice that was asked for. Raises Problem."""
    return [conversation(body.get("messages"), turns, id)] * choices(body)


def text_prompts(body: Mapping[str, Any], id: str) -> list[Prompt]:
    """The prompts of a completions request, once for each choice. Raises Problem."""
    if body.get("prompt_embeds") is not None:
        raise invalid("prompt_embeds cannot be read by the guard; send text", "prompt_embeds")
    given = body.get("prompt")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
        raise invalid("prompt must be text or a list of texts; token ids are not read", "prompt")
    suffix = body.get("suffix") or ""
    if not isinstance(suffix, str):
        raise invalid("suffix must be text", "suffix")
    asked = choices(body)
    if len(texts) * asked > MOST_CHOICES:
        raise invalid(f"at most {MOST_CHOICES} answers can be asked for at once", "prompt")
    return [Prompt.of(f"{text}\n{suffix}".strip(), id) for text in texts for _ in range(asked)]


def choices(body: Mapping[str, Any]) -> int:
    """How many answers are asked for. Raises Problem."""
    n = body.get("n")
    if n is None:
        return 1
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= MOST_CHOICES:
        raise invalid(f"n must be a whole number from 1 to {MOST_CHOICES}", "n")
    return n


def conversation(messages: object, turns: int, id: str) -> Prompt:
    """The last turns of a conversation, with its system turns; what follows on is one turn.

    An assistant's last turn is what the answer is made to begin with. Raises Problem.
    """
    if not isinstance(messages, list) or not messages:
        raise invalid("messages must be a list of at least one message", "messages")
    read = [_message(one) for one in messages]
    system = [one for one in read if one.role == "system"]
    found: list[Message] = []
    for one in read:
        if one.role == "system" or (one.role == "assistant" and not one.content):
            continue  # an assistant without words called a tool: its result belongs to the request
        if found and found[-1].role == one.role:
            one = Message(one.role, f"{found.pop().content}\n\n{one.content}")
        found.append(one)
    begun = found.pop().content if found and found[-1].role == "assistant" else ""
    if not found:
        found = [Message("user", system.pop().content if system else "")]
    return Prompt(id, (*system, *found[-turns:]), begun=begun)


def asked(prompts: list[Prompt]) -> list[Response]:
    """What the input stage reads: each conversation, and what its answer is made to begin with."""
    found = []
    for prompt in dict.fromkeys(prompts):
        found.append(Response(prompt, ""))
        if prompt.begun:
            last = Message("user", f"{prompt.asked}\n{prompt.begun}")
            found.append(Response(replace(prompt, messages=(*prompt.messages[:-1], last)), ""))
    return found


def _message(message: object) -> Message:
    """A turn; what tools and other roles say is read as the user's."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise invalid("each message must be an object with a role", "messages")
    return Message(_ROLES.get(message["role"], "user"), said(message.get("content")))


def said(content: object) -> str:
    """The words of a content: itself, or its parts of text. Raises Problem."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise invalid("content must be text or a list of parts", "messages")
    return "\n".join(words for part in content if (words := _part(part)))


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise invalid("each part of a content must be an object", "messages")
    words = [part[key] for key in _TEXTS if part.get(key) is not None]
    if not all(isinstance(one, str) for one in words):
        raise invalid("the text of a part must be text", "messages")
    return "\n".join(words)
