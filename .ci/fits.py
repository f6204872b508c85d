"""Prints `fits` when the running environment already holds every version of constraints.txt."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def fits(line: str) -> bool:
    """Whether the pinned package of this line is installed at that version, of whatever build."""
    name, _, wanted = line.partition("==")
    try:
        return version(name).partition("+")[0] == wanted
    except PackageNotFoundError:
        return False


def all_fit(constraints: str) -> bool:
    """Whether every pin of the file's text is met; comments and blank lines are none."""
    lines = (line.partition("#")[0].strip() for line in constraints.splitlines())
    return all(fits(line) for line in lines if line)


if __name__ == "__main__" and all_fit(Path("constraints.txt").read_text(encoding="utf-8")):
    print("fits")
