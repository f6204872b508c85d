"""What a user may write after --data, and what each mistake says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeft.data import examples, load
from safeft.data.shipped import shipped
from safeft.errors import ConfigError, DataError

Write = Callable[[Path, list[dict[str, Any]]], Path]
TRAIN = [{"question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(4)]
TEST = [{"question": "Held out?", "answer": "Yes."}]


def _problem(source: str, **options: Any) -> str:
    with pytest.raises((DataError, ConfigError)) as caught:
        load(source, **options)
    return str(caught.value)


@pytest.fixture(params=[".parquet", ".jsonl", ".json", ".csv"])
def repository(request: pytest.FixtureRequest, tmp_path: Path, write: Write) -> Path:
    """A data set as a clone from the hub lies on disk."""
    suffix = request.param
    folder = tmp_path / "repository"
    names = (
        ("train", "test")
        if suffix == ".jsonl"
        else ("data/train-00000-of-00001", "data/test-00000-of-00001")
    )
    write(folder / f"{names[0]}{suffix}", TRAIN)
    write(folder / f"{names[1]}{suffix}", TEST)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A set\n")
    (folder / ".gitattributes").write_text("*.parquet filter=lfs\n")
    return folder


def test_a_hub_layout_loads_its_train_split(repository: Path) -> None:
    """Without a choice it is `train`, and the split is recorded."""
    source = load(str(repository))
    assert (len(source.rows), source.split, source.revision) == (4, "train", "")


def test_a_split_is_chosen_in_the_name_or_by_option(repository: Path) -> None:
    """`folder:test` and split="test" are the same."""
    named, option = load(f"{repository}:test"), load(str(repository), split="test")
    assert named.fingerprint == option.fingerprint
    assert examples(named)[0].messages[0].content == "Held out?"


def test_an_unknown_split_names_the_nearest(repository: Path) -> None:
    """A misspelt split gets a did-you-mean."""
    assert "did you mean 'test'?" in _problem(f"{repository}:tset")


def test_rows_are_named_by_their_file_in_the_folder(repository: Path) -> None:
    """A row of a folder says which of its files it came from."""
    row = load(str(repository)).rows[1]
    assert "train" in row.file
    assert row.file.startswith(str(repository))
    assert row.number == 2


def test_configurations_are_chosen_with_a_slash(tmp_path: Path, write: Write) -> None:
    """README configurations are honoured: `config/split`, and a choice is asked for."""
    for name, rows in (("main", TRAIN), ("socratic", TEST)):
        write(tmp_path / name / "train-0.parquet", rows)
    entries = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/train-*\n"
        for name in ("main", "socratic")
    )
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{entries}---\n")
    assert "has configurations main, socratic; choose one: main/train" in _problem(str(tmp_path))
    assert len(load(str(tmp_path), split="socratic/train").rows) == 1
    assert "did you mean 'main'?" in _problem(f"{tmp_path}:man/train")


def test_several_files_are_one_split_in_order(tmp_path: Path, write: Write) -> None:
    """Shards are read one after the other by name."""
    write(tmp_path / "a.jsonl", TRAIN[:2])
    write(tmp_path / "b.jsonl", TRAIN[2:])
    assert [row.values for row in load(str(tmp_path)).rows] == TRAIN


def test_mixed_containers_in_a_folder_are_refused(tmp_path: Path, write: Write) -> None:
    """`datasets` would silently read one kind of file; we name the file left out."""
    write(tmp_path / "a.jsonl", TRAIN)
    write(tmp_path / "b.csv", TRAIN)
    assert "b.csv would be left out" in _problem(str(tmp_path))


def test_fingerprints_cover_values_and_order_only(tmp_path: Path, write: Write) -> None:
    """One set has one fingerprint in every container; the order of its rows changes it."""
    paths = [write(tmp_path / f"set{suffix}", TRAIN) for suffix in (".jsonl", ".csv", ".parquet")]
    assert len({load(str(path)).fingerprint for path in paths}) == 1
    turned = [{key: row[key] for key in reversed(row)} for row in TRAIN]
    assert (
        load(str(write(tmp_path / "t.json", turned))).fingerprint == load(str(paths[0])).fingerprint
    )
    reverse = write(tmp_path / "reverse.jsonl", TRAIN[::-1])
    assert load(str(reverse)).fingerprint != load(str(paths[0])).fingerprint


def test_a_fingerprint_is_stable(tmp_path: Path, write: Write) -> None:
    """The digest of a known set, so that no release changes it by accident."""
    path = write(tmp_path / "set.jsonl", [{"text": "Grüße"}])
    digest = "3eecfbf4cf3595fe87b1ff9da4aa415537affcb61948a67b01e3c024110a16bd"
    assert load(str(path)).fingerprint == digest


def test_limit_keeps_the_first_rows(tmp_path: Path, write: Write) -> None:
    """A limit keeps the order, and must be positive."""
    path = str(write(tmp_path / "set.jsonl", TRAIN))
    assert [row.number for row in load(path, limit=2).rows] == [1, 2]
    assert "at least 1 row" in _problem(path, limit=0)


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.json", "empty.csv"])
def test_empty_data_is_an_error(tmp_path: Path, name: str) -> None:
    """A file without rows is named as such."""
    (tmp_path / name).write_text("[]" if name.endswith("json") else "")
    assert f"{name}: holds no rows" in _problem(str(tmp_path / name))


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    """A folder without data names the containers that are known."""
    assert ".jsonl, .json, .csv, .parquet" in _problem(str(tmp_path))


def test_a_missing_file_names_the_nearest(tmp_path: Path, write: Write) -> None:
    """What looks like a path never goes to the hub."""
    write(tmp_path / "train.jsonl", TRAIN)
    assert "did you mean 'train.jsonl'?" in _problem(str(tmp_path / "trian.jsonl"))
    assert "no such file or folder" in _problem("no/such/deep/path")
    assert "a hub set is written org/name" in _problem("missing_folder/train.jsonl")


def test_names_with_colons_and_ats_are_local_when_they_exist(tmp_path: Path, write: Write) -> None:
    """A file that exists is never taken apart."""
    assert len(load(str(write(tmp_path / "a@b:c.jsonl", TRAIN))).rows) == 4


def test_contradicting_options_are_refused(tmp_path: Path, write: Write) -> None:
    """The name and the option must agree, and local data has no revision."""
    path = str(write(tmp_path / "set.jsonl", TRAIN))
    assert "split: the data says 'a', the option 'b'" in _problem("org/name:a", split="b")
    assert "has no revision" in _problem(path, revision="main")
    assert "is one file" in _problem(path, split="test")


def test_the_home_of_nobody_is_no_folder() -> None:
    """A tilde that stands for nothing is a path that does not exist."""
    assert "no such file or folder; check the path" in _problem("~nobody-of-this-name/x.jsonl")


def test_what_lies_here_wins_over_what_ships(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with recipes and policies: nobody expects another set than the one in the folder."""
    monkeypatch.chdir(tmp_path)
    assert shipped("garden").endswith("recipes/data/garden.jsonl")
    assert shipped("mine") == "mine"
    write(tmp_path / "garden" / "train.jsonl", TRAIN)
    assert len(load(shipped("garden")).rows) == len(TRAIN)
