"""Prints `fits` when the running environment already holds every version of constraints.txt."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def fits(line: str) -> bool:
    """Whether the pinned package of this line is installed at that version."""
    name, _, wanted = line.partition("==")
    try:
        return version(name).partition("+")[0] == wanted
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    pins = Path("constraints.txt").read_text().split("\n")
    if all(fits(line.strip()) for line in pins if "==" in line):
        print("fits")
