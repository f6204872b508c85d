"""Tokens on their way to a user's streamer: each leaves once its characters are cleared."""

from __future__ import annotations

from typing import Any

from safeft.guarding.checker import Checker
from safeft.guarding.releasing import Watch
from safeft.guarding.streaming import Checks
from safeft.records import Prompt

_BROKEN = "\ufffd"
"""What bytes decode to that are no whole character yet."""


class Text:
    """Tokens one by one, as text: what each adds, once its characters are whole.

    A token is decoded behind those that were decoded before it, as many tokenizers write a word
    otherwise at the beginning of a text than within it.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._context = self._told = 0  # from where it is decoded, and up to where it was told

    def add(self, token: int) -> str:
        """What the token adds; nothing while its last character is not whole."""
        self._ids.append(token)
        return self._added(whole=True)

    def rest(self) -> str:
        """What is left, broken characters included."""
        return self._added(whole=False)

    def _added(self, *, whole: bool) -> str:
        known = self._decoded(self._ids[self._context : self._told])
        now = self._decoded(self._ids[self._context :])
        if len(now) <= len(known) or (whole and now.endswith(_BROKEN)):
            return ""
        self._context, self._told = self._told, len(self._ids)
        return now[len(known) :]

    def _decoded(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text


class Held:
    """A streamer in front of the user's: the prompt passes at once, a token once it is cleared.

    Of an answer that is held back nothing more follows; when nothing of it had left, the refusal
    does. `sent` are the tokens that have left, and `stopped` says whether it was held back.
    """

    def __init__(
        self,
        checker: Checker,
        prompt: Prompt,
        tokenizer: Any,
        streamer: Any,
        refusal: list[int],
        *,
        blocked: bool = False,
        watch: Watch | None = None,
    ) -> None:
        """`blocked` is an answer to a request that is: none of it leaves."""
        self.sent: list[int] = []
        self._tokenizer, self._streamer, self._refusal = tokenizer, streamer, refusal
        self._blocked = blocked
        self._checks = Checks(checker, prompt, watch)
        self._text = Text(tokenizer)
        self._pending: list[int] = []  # tokens whose characters are not known yet
        self._waiting: list[tuple[int, list[int]]] = []  # up to which character, and the tokens
        self._at = 0  # up to which character all has left
        self._prompt = self._open = True

    @property
    def stopped(self) -> bool:
        """Whether the answer is held back."""
        return self._blocked or self._checks.gate.stopped is not None

    def stops(self, ids_NT: Any, scores_NV: Any, **_: Any) -> Any:
        """A stopping criterion: what is held back need not be written to its end."""
        import torch

        return torch.full((len(ids_NT),), self.stopped, dtype=torch.bool, device=ids_NT.device)

    def put(self, value: Any) -> None:
        """The prompt first, then the new tokens."""
        if self._prompt:
            self._prompt = False
            self._streamer.put(value)
            return
        for token in value.flatten().tolist():
            self._pending.append(token)
            self._tell(self._text.add(token))
        self._pass()  # what is free to leave at once does, before it may be decided otherwise
        self._checks.settle()
        self._pass()

    def end(self) -> None:
        """The answer is complete: what is cleared follows, or else the refusal. Only once."""
        if not self._open:
            return
        self._open = False
        if not self.stopped:
            self._tell(self._text.rest())
            self._waiting.append((len(self._checks.gate.text), self._pending))
            self._checks.end()
            self._pass()
            self._checks.settle(wait=True)
            self._pass()
        if self.stopped and not self.sent:
            self._put(self._refusal)
        self._streamer.end()

    def close(self) -> None:
        """Read nothing more."""
        self._checks.close()

    def _tell(self, added: str) -> None:
        """The characters of the pending tokens are known."""
        if added and not self.stopped:
            self._checks.feed(added)
            self._waiting.append((len(self._checks.gate.text), self._pending))
            self._pending = []

    def _pass(self) -> None:
        """Pass on what may leave; in place of redacted characters the tokens of the redaction."""
        gate = self._checks.gate
        while self._waiting and not self._blocked and self._waiting[0][0] <= gate.cleared:
            stop, tokens = self._waiting.pop(0)
            leaves = gate.render(self._at, stop)
            changed = leaves != gate.text[self._at : stop]
            self._put(self._ids(leaves) if changed else tokens)
            self._at = stop

    def _put(self, tokens: list[int]) -> None:
        import torch

        for token in tokens:
            self._streamer.put(torch.tensor([token]))
        self.sent += tokens

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids
