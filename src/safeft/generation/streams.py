"""Answers in pieces, as they are written."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from threading import Event, Thread
from typing import Any

from safeft.errors import SafeftError


def stripped(pieces: Generator[str, None, None]) -> Generator[str, None, None]:
    """The same text without the white space at its ends, as a whole answer has none."""
    held, begun = "", False
    with closing(pieces):
        for piece in pieces:
            held = held + piece if begun else (held + piece).lstrip()
            if whole := held.rstrip():
                yield whole
                held, begun = held[len(whole) :], True


def written(
    tokenizer: Any, stops: set[int], begun: list[int], generate: Callable[..., Any]
) -> Generator[str, None, None]:
    """The text that `generate(streamer=…, stopping_criteria=…)` writes, word by word.

    It runs in a thread of its own, and ends soon after the generator is closed. `begun` are the
    first tokens of the answer, which the prompt ends with; stop tokens are no part of it. Raises
    what `generate` raises.
    """
    from transformers import TextIteratorStreamer

    words = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    closed, failed = Event(), list[BaseException]()

    def write() -> None:
        try:
            generate(streamer=_Answer(words, stops, begun), stopping_criteria=[_until(closed)])
        except BaseException as error:
            failed.append(error)
        finally:
            words.end()

    thread = Thread(target=write, name="safeft-stream", daemon=True)
    thread.start()
    try:
        yield from words
    finally:
        closed.set()
        thread.join()
    if failed:
        raise failed[0]


class _Answer:
    """A streamer in front of another, which gets what was begun and no stop token."""

    def __init__(self, words: Any, stops: set[int], begun: list[int]) -> None:
        self._words, self._stops, self._begun = words, stops, begun
        self._prompt = True

    def put(self, value: Any) -> None:
        """The prompt first, then the new tokens."""
        if self._prompt:
            self._prompt = False
            self._words.put(value)
            self._tell(self._begun)
            return
        self._tell([one for one in value.flatten().tolist() if one not in self._stops])

    def end(self) -> None:
        """Whoever started the generation says so, as it may also fail."""

    def _tell(self, ids: list[int]) -> None:
        import torch

        if ids:
            self._words.put(torch.tensor(ids))


def _until(closed: Event) -> Callable[..., Any]:
    """A stopping criterion: nobody reads on."""
    import torch

    def stops(ids_NT: Any, scores_NV: Any, **_: Any) -> Any:
        return torch.full((len(ids_NT),), closed.is_set(), dtype=torch.bool, device=ids_NT.device)

    return stops


def words_of(prompt_id: str, chunks: Any, read: Callable[[Any], str]) -> Generator[str, None, None]:
    """What `read` finds in the first choice of each chunk of an OpenAI-compatible stream.

    Raises SafeftError when it ends without saying why: what was cut off is no answer.
    """
    ended = False
    for chunk in chunks:
        if choices := getattr(chunk, "choices", None):
            ended = ended or choices[0].finish_reason is not None
            if text := read(choices[0]):
                yield text
    if not ended:
        raise SafeftError(f"prompt {prompt_id!r}: the answer broke off")
