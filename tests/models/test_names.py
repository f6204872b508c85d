"""A name is a testbed model, a folder or a Hub id, and everything else is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeft.errors import ModelError
from safeft.models import Source, names, resolve


@pytest.fixture
def testbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A testbed of two models, and a folder beside them that is none."""
    for short in ("base", "aligned"):
        (tmp_path / short).mkdir()
        (tmp_path / short / "config.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(names, "TESTBED", tmp_path)
    return tmp_path


def test_testbed_names_are_folders_of_the_package(testbed: Path) -> None:
    """`testbed:aligned` is the shipped folder, unpinned and local."""
    found = resolve("testbed:aligned")
    assert found == Source("testbed:aligned", str(testbed / "aligned"))
    assert found.local


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("testbed:alined", "did you mean 'aligned'?"),
        ("testbed:notes", "known: aligned, base"),
        ("testbed:", "known: aligned, base"),
        ("testbed:../base", "did you mean 'base'?"),
    ],
)
def test_unknown_testbed_names_are_refused_with_the_nearest(
    testbed: Path, name: str, hint: str
) -> None:
    """Only folders with a model count, and no name climbs out of the testbed."""
    with pytest.raises(ModelError, match="no testbed model") as caught:
        resolve(name)
    assert hint in str(caught.value)


def test_a_folder_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing folder wins over a Hub id of the same shape."""
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert resolve(str(tmp_path)) == Source(str(tmp_path), str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert resolve("org/name").local
    assert resolve("./org/name").local
    assert not resolve("org/other").local


def test_a_hub_id_may_pin_a_revision() -> None:
    """What follows `@` is the revision, also one with slashes; an empty one is none."""
    assert resolve("org/name") == Source("org/name", "org/name", None)
    assert resolve("org/name@abc123").revision == "abc123"
    assert resolve("org/name@refs/pr/1") == Source("org/name@refs/pr/1", "org/name", "refs/pr/1")
    assert resolve("org/name@").revision is None


@pytest.mark.parametrize(
    "name", ["", "name", "./org/name", "/org/name", "~/name", "a/b/c", "/", "org/", "/name", "@a/b"]
)
def test_what_is_neither_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped path never becomes a download, and the message shows the three ways."""
    monkeypatch.chdir(tmp_path)
    if name == "/":  # a folder, though hardly a model's
        assert resolve(name).local
        return
    with pytest.raises(ModelError) as caught:
        resolve(name)
    assert repr(name) in str(caught.value)
    assert "org/name@revision" in str(caught.value) and "testbed:aligned" in str(caught.value)


@given(st.text(max_size=30))
def test_every_text_is_resolved_or_refused(name: str) -> None:
    """No text makes `resolve` fail in any other way than ModelError."""
    try:
        found = resolve(name)
    except ModelError:
        return
    assert found.name == name and found.location
