"""A tiny byte-level BPE tokenizer with a ChatML template, and writers for every container."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeft.data import Example, examples, load

ChatRows = list[dict[str, Any]]
WriteRows = Callable[[Path, ChatRows], Path]

_TURN = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = _TURN
UNMARKED = _TURN.replace("{% generation %}", "").replace("{% endgeneration %}", "")
# Like Qwen3: an empty thought before the last answer, and only there.
THINKING = UNMARKED.replace(
    "{% if m['role'] == 'assistant' %}",
    "{% if m['role'] == 'assistant' %}{% if loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}",
)


TEMPLATES = {"marked": MARKED, "unmarked": UNMARKED, "thinking": THINKING, "none": None}


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """About 300 tokens: all bytes, a few merges, and ChatML's two control tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|im_start|>", "<|im_end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(["the user and the assistant\n\nthe answer\n"] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=MARKED,
    )


@pytest.fixture
def with_template(tokenizer: Any) -> Callable[..., Any]:
    """The tokenizer with a named template, edited if wished; the shared one stays as it is."""
    import copy

    def change(name: str, edit: Callable[[str], str] = str) -> Any:
        template = TEMPLATES[name]
        other = copy.deepcopy(tokenizer)
        other.chat_template = edit(template) if template else None
        return other

    return change


def _write_json(path: Path, rows: ChatRows) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")


def _write_json_lines(path: Path, rows: ChatRows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _write_csv(path: Path, rows: ChatRows) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            cells = {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()}
            writer.writerow(cells)


def _write_parquet(path: Path, rows: ChatRows) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.fixture
def write() -> WriteRows:
    """Writes rows in the container that the suffix names."""
    writers = {
        ".json": _write_json,
        ".jsonl": _write_json_lines,
        ".csv": _write_csv,
        ".parquet": _write_parquet,
    }

    def writer(path: Path, rows: ChatRows) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        writers[path.suffix](path, rows)
        return path

    return writer


@pytest.fixture
def make(tmp_path: Path, write: WriteRows) -> Callable[[ChatRows], tuple[Example, ...]]:
    """Examples of rows that go through a file, as a user's would."""

    def maker(rows: ChatRows) -> tuple[Example, ...]:
        return examples(load(str(write(tmp_path / "made.jsonl", rows))))

    return maker
