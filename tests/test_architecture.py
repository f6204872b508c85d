"""The measures of the house: directions, sizes, types, and what lies where (docs in the README)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/safeft"
FILES = sorted(PACKAGE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[str, Function]]:
    """Every function of the source and where it is."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Function):
                yield f"{path.relative_to(PACKAGE)}:{node.name}", node


FUNCTIONS = dict(functions())


def length(function: Function) -> int:
    """Lines of a function; of a command, whose parameters are its options, those of its body."""
    command = any("command" in ast.unparse(one) for one in function.decorator_list)
    first = function.body[0].lineno if command else function.lineno
    return (function.end_lineno or first) - first + 1


def is_typed(function: Function) -> bool:
    """Whether every argument and the result have a type."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    arguments = [one for one in named if one and one.arg not in ("self", "cls")]
    return function.returns is not None and all(one.annotation for one in arguments)


def test_dependencies_flow_one_way() -> None:
    """import-linter's contracts: layers, exhaustive, and a core that knows no torch."""
    code = (
        "from importlinter.cli import lint_imports as lint; raise SystemExit(lint(no_cache=True))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    contracts = (ROOT / "pyproject.toml").read_text().count("[[tool.importlinter.contracts]]")
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{contracts} kept, 0 broken" in run.stdout


def test_the_layers_hold_every_package() -> None:
    """A new folder without a layer would be checked by nobody."""
    text = (ROOT / "pyproject.toml").read_text()
    layers = text.partition("layers = [")[2].partition("]")[0]
    units = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    named = set(layers.replace('"', " ").replace(",", " ").split())
    assert units - named == {"__init__", "__main__"} | (units & {"__pycache__", "_assets", "py"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_under_300_lines(path: Path) -> None:
    """A file is read in one sitting, and its first line says what it is for."""
    assert len(path.read_text().splitlines()) < 300
    assert path.stat().st_size == 0 or ast.get_docstring(ast.parse(path.read_text()))


def test_functions_stay_under_40_lines() -> None:
    """And half of them under ten."""
    lengths = {name: length(function) for name, function in FUNCTIONS.items()}
    assert {name: lines for name, lines in lengths.items() if lines >= 40} == {}
    assert median(lengths.values()) < 10


def test_every_function_is_typed() -> None:
    """Arguments and result, private ones too."""
    assert [name for name, function in FUNCTIONS.items() if not is_typed(function)] == []


def test_every_public_function_and_class_says_what_it_does() -> None:
    """One line is enough; what is nested inside a function belongs to it."""
    silent = []
    for path in FILES:
        tree = ast.parse(path.read_text())
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        nodes = [node for owner in (tree, *classes) for node in owner.body]
        silent += [
            f"{path.relative_to(PACKAGE)}:{node.name}"
            for node in nodes
            if isinstance(node, Function | ast.ClassDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert silent == []


def test_data_and_code_do_not_mix() -> None:
    """No YAML in the source, no Python among the data."""
    assert [path for end in ("yaml", "yml") for path in PACKAGE.rglob(f"*.{end}")] == []
    for place in ("recipes", "guardrails", "eval"):
        assert list((ROOT / place).rglob("*.py")) == []


def test_no_function_of_the_facade_is_called_like_a_package() -> None:
    """`safeft.compare` would be one or the other, depending on what was imported before."""
    import safeft

    packages = {path.name for path in PACKAGE.iterdir()} | {path.stem for path in PACKAGE.iterdir()}
    assert packages.isdisjoint(safeft.__all__)


@pytest.mark.parametrize("unit", ["records", "errors", "assets", "runs", "stats", "report", "cli"])
def test_the_core_imports_without_torch(unit: str) -> None:
    """Also through what it imports: a report is made where no torch is."""
    code = (
        f"import sys, safeft.{unit}; "
        "print({'torch', 'transformers', 'trl', 'peft'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
