"""Model names: `testbed:aligned`, a local folder, or a Hub id with an optional `@revision`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safeft.errors import ModelError, did_you_mean

TESTBED = Path(__file__).parent / "testbed"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model is: a folder or Hub id, and the pinned revision of a Hub id."""

    name: str
    location: str
    revision: str | None = None

    @property
    def local(self) -> bool:
        """Whether the weights lie in a folder of this machine."""
        return Path(self.location).is_dir()


def resolve(name: str) -> Source:
    """The source of a model name.

    Raises ModelError for an unknown testbed model and for a path that does not exist.
    """
    scheme, _, short = name.partition(":")
    if scheme == "testbed":
        known = sorted(path.parent.name for path in TESTBED.glob("*/config.json"))
        if short not in known:
            raise ModelError(f"no testbed model {short!r}{did_you_mean(short, known)}")
        return Source(name, str(TESTBED / short))
    if name and Path(name).is_dir():
        return Source(name, name)
    identifier, _, revision = name.partition("@")
    parts = identifier.split("/")
    if name.startswith((".", "/", "~")) or len(parts) != 2 or not all(parts):
        raise ModelError(
            f"model {name!r}: no such folder; give a folder, a Hub id such as "
            "'org/name@revision', or testbed:aligned"
        )
    return Source(name, identifier, revision or None)
