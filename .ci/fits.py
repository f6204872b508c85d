"""Prints `fits` when the running environment can serve a make target, `demo` or `test`.

Every package of constraints.txt that is installed must have its version there, and nothing that the
target's extras require may be missing.
"""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

EXTRAS = {
    "demo": ("offline", "report"),
    "test": ("audit", "offline", "openai", "report", "serve", "inspect", "lm-eval", "dev"),
}


def installed(name: str) -> str | None:
    """The version without its build, so that `+cpu` is the same; None when it is not there."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


def all_fit(constraints: str) -> bool:
    """Whether no installed package breaks a pin of the file's text; comments are none."""
    lines = (line.partition("#")[0].strip() for line in constraints.splitlines())
    pins = (line.partition("==")[::2] for line in lines if line)
    return all(installed(name) in (None, wanted) for name, wanted in pins)


def complete(wanted: list[str]) -> bool:
    """Whether these requirements, and what they require in turn, are all installed."""
    from packaging.requirements import Requirement

    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(line), "") for line in wanted]
    while todo:
        one, extra = todo.pop()
        if one.marker and not one.marker.evaluate({"extra": extra}):
            continue
        if installed(one.name) is None:
            return False
        for chosen in ("", *one.extras):
            if (one.name, chosen) not in seen:
                seen.add((one.name, chosen))
                todo += [(Requirement(line), chosen) for line in requires(one.name) or []]
    return True


def required(project: str, target: str) -> list[str]:
    """What the target needs, from the text of pyproject.toml."""
    table = tomllib.loads(project)["project"]
    extras = table["optional-dependencies"]
    return [*table["dependencies"], *(line for name in EXTRAS[target] for line in extras[name])]


def fits(target: str) -> bool:
    """Whether the environment serves the target as it is."""
    try:
        wanted = required(Path("pyproject.toml").read_text(encoding="utf-8"), target)
        return all_fit(Path("constraints.txt").read_text(encoding="utf-8")) and complete(wanted)
    except ImportError:  # without `packaging`, torch is not there either
        return False


if __name__ == "__main__" and fits(sys.argv[1]):
    print("fits")
