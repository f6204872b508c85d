"""The README says what is true: its commands exist, its links resolve, its table is measured."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from safeft.cli import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every command line of the README's console blocks, continuation lines joined."""
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
    return [line.split("  #")[0].strip() for line in blocks.splitlines() if line.strip()]


def test_the_first_screen_has_the_two_commands() -> None:
    """`make demo` and `make test` stand first, and the Makefile has both."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert commands()[:2] == ["make demo", "make test"]
    assert all(re.search(rf"^{one.split()[1]}:", makefile, re.MULTILINE) for one in commands()[:2])


@pytest.mark.parametrize("line", [one for one in commands() if one.startswith("safeft")])
def test_every_command_of_the_readme_parses(line: str) -> None:
    """Each verb and each option that the README shows exists."""
    verb, *rest = shlex.split(line)[1:]
    command = cli.get_command(click.Context(cli), verb)

    assert command is not None
    command.make_context(verb, rest, parent=click.Context(cli, **cli.context_settings))


def test_every_link_resolves() -> None:
    """No link of the README points nowhere."""
    targets = [one for one in re.findall(r"\]\(([^)]+)\)", README) if "://" not in one]

    assert targets
    assert [one for one in targets if not (ROOT / one).exists()] == []


def tables(text: str) -> list[list[dict[str, str]]]:
    """The Markdown tables of a text, each as its rows by column."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        names, _, *rows = [line.strip("| ").split(" | ") for line in block.splitlines()]
        found.append([dict(zip(names, row, strict=True)) for row in rows])
    return found


def test_the_table_is_the_committed_one() -> None:
    """The README's table is columns of a committed report's, not a memory of it."""
    found = re.search(r"<!-- table: (\S+) -->\n(.*?)<!-- /table -->", README, re.DOTALL)

    assert found is not None
    verdict = tables((ROOT / found.group(1)).read_text(encoding="utf-8"))[0]
    [table] = tables(found.group(2))
    assert len(table) > 3
    assert {"recipe", "fulfilment"} <= set(table[0])
    assert any(name.startswith("vs baseline") for name in table[0])
    assert table == [{key: row[key] for key in table[0]} for row in verdict]


def test_the_python_block_runs() -> None:
    """The guarded model of the README answers, and what leaves it was cleared."""
    from safeft import Decoding, Prompt

    [block] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    [answer] = names["model"]([Prompt.of("How do I water a fern?", "1")], Decoding(0.0, 0, 8))
    assert answer.prompt.id == "1"


def test_a_comparison_needs_no_file_that_only_a_checkout_has() -> None:
    """Whoever installed the wheel has no benchmarks/."""
    [line] = [one for one in commands() if one.startswith("safeft compare")]
    assert "--recipes" in line
    assert ".yaml" not in line
