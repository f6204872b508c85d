"""Laws of a comparison's plan: which cells there are, where they lie, and what each is asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from safeft.comparison import Matrix, load_matrix
from safeft.comparison.cells import Ask, plan
from safeft.comparison.rules import check
from safeft.errors import ConfigError, DataError, ModelError
from safeft.records import Decoding


@pytest.fixture
def small(matrix: Path) -> Matrix:
    """The comparison of the shared run, read but not run."""
    return load_matrix(str(matrix))


def test_every_cell_has_a_folder_of_its_own(small: Matrix, tmp_path: Path) -> None:
    """Named after what it is, so that the same cell is found again and another one never."""
    planned = plan(small, tmp_path)
    folders = [cell.folder for cell in planned.cells]
    assert len(set(folders)) == len(folders) == 5
    assert [cell.folder for cell in plan(small, tmp_path).cells] == folders


@pytest.mark.parametrize(
    "change", ["rows=8", "test_rows=3", "per_category=2", "set=[trainer.num_train_epochs=1]"]
)
def test_what_changes_a_cell_changes_its_folder(
    matrix: Path, small: Matrix, tmp_path: Path, change: str
) -> None:
    """Other data, test rows, questions or arguments: nothing of the old cell is taken for new."""
    before = {cell.folder for cell in plan(small, tmp_path).cells if cell.recipe}
    after = plan(load_matrix(str(matrix), [change]), tmp_path).cells
    assert before.isdisjoint(cell.folder for cell in after if cell.recipe)


@pytest.mark.parametrize("change", ["judges=[encoder]", "policies=[default]", "level=0.9"])
def test_what_reads_a_cell_leaves_its_folder(
    matrix: Path, small: Matrix, tmp_path: Path, change: str
) -> None:
    """Another judge, policy or level costs no training."""
    before = [cell.folder for cell in plan(small, tmp_path).cells]
    after = plan(load_matrix(str(matrix), [change]), tmp_path).cells
    assert [cell.folder for cell in after] == before


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors"]
)
def test_another_model_under_the_same_name_makes_other_cells(
    small: Matrix, tiny_model: Path, tmp_path: Path, name: str
) -> None:
    """Weights are not all: its tokenizer and its template decide what a model reads."""
    model = shutil.copytree(tiny_model, tmp_path / "model")
    moved = small.model_copy(update={"model": str(model)})
    before = {cell.folder for cell in plan(moved, tmp_path).cells}
    assert before == {cell.folder for cell in plan(small, tmp_path).cells}
    (model / "README.md").write_text("Nothing that is computed with.")
    assert before == {cell.folder for cell in plan(moved, tmp_path).cells}
    (model / name).write_bytes((model / name).read_bytes() + b" ")
    assert before.isdisjoint(cell.folder for cell in plan(moved, tmp_path).cells)


def test_an_adapter_with_another_alpha_is_another_cell(
    small: Matrix, tiny_adapter: Path, tmp_path: Path
) -> None:
    """The same weights, scaled otherwise, are another model."""
    adapter = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    given = small.model_copy(update={"adapters": {"given": [str(adapter)]}})
    before = plan(given, tmp_path).cells[-1]
    config = adapter / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 64'))
    after = plan(given, tmp_path).cells[-1]
    assert (before.name, before.adapter) == (after.name, after.adapter)
    assert before.folder != after.folder


def test_a_hub_model_is_its_name_and_its_commit(
    small: Matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a branch pointed to yesterday is not what it points to today."""
    commits = iter(["a" * 40, "b" * 40, "b" * 40])
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download",
        lambda name, file, revision: f"{tmp_path}/{name}/{next(commits)}/{file}",
    )
    named = small.model_copy(update={"model": "org/tiny@main"})
    first, second, third = ([c.folder for c in plan(named, tmp_path).cells] for _ in range(3))
    assert first != second == third


def test_test_rows_with_other_words_make_other_cells(
    matrix: Path, small: Matrix, tmp_path: Path
) -> None:
    """An edited file under the same name is other data."""
    rows = tmp_path / "test.jsonl"
    rows.write_text((matrix.parent / "test.jsonl").read_text().replace("Water", "Feed"))
    edited = small.model_copy(update={"test_data": str(rows)})
    before = {cell.folder for cell in plan(small, tmp_path).cells}
    assert before.isdisjoint(cell.folder for cell in plan(edited, tmp_path).cells)


def test_without_test_data_rows_are_held_out(small: Matrix, tmp_path: Path) -> None:
    """The same rows for every recipe and seed, and none of them is trained on."""
    held = small.model_copy(update={"test_data": None, "test_rows": 4})
    planned = plan(held, tmp_path)
    assert (len(planned.train), len(planned.test)) == (12, 4)
    assert {row.prompt for row in planned.train}.isdisjoint(row.prompt for row in planned.test)
    assert plan(held, tmp_path).test == planned.test
    limited = plan(held.model_copy(update={"rows": 8}), tmp_path)
    assert (len(limited.train), len(limited.test)) == (8, 4)


def test_holding_out_every_row_is_refused(small: Matrix, tmp_path: Path) -> None:
    """By the key that is too large."""
    held = small.model_copy(update={"test_data": None, "test_rows": 16})
    with pytest.raises(ConfigError, match=r"test_rows: 16 of 16 rows .* leave none to train on"):
        plan(held, tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("recipes=[baseline, {recipe: baseline, name: copy}]", "'copy' is 'baseline' under an"),
        ("adapters={mine: [ADAPTER], yours: [ADAPTER]}", "'yours' is 'mine' under another name"),
    ],
)
def test_one_cell_under_two_names_is_refused(
    matrix: Path, tiny_adapter: Path, tmp_path: Path, change: str, words: str
) -> None:
    """Two workers would write into one folder."""
    changes = [change.replace("ADAPTER", str(tiny_adapter))]
    with pytest.raises(ConfigError, match=words):
        check(plan(load_matrix(str(matrix), changes), tmp_path))


def test_earlier_epochs_are_asked_greedily_for_the_curve(small: Matrix, tmp_path: Path) -> None:
    """Curve seeds only; the last epoch is asked everything."""
    planned = plan(small, tmp_path)
    greedy, sampled = Decoding(0.0, 0, 12), Decoding(0.7, 0, 12)
    last = Ask(2, (greedy, sampled), ())
    cells = {(cell.name, cell.seed): planned.asks(cell) for cell in planned.cells}
    assert cells["baseline", 0] == [Ask(1, (greedy,), ()), last]
    assert cells["baseline", 1] == [last]
    assert cells["untuned", 0] == [Ask(0, (greedy, sampled), ())]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ("model=nowhere", ModelError, "model 'nowhere': no such folder"),
        ("model=testbed:algined", ModelError, "no testbed model 'algined'"),
        ("data=nowhere.jsonl", DataError, "nowhere.jsonl: no such file or folder"),
        ("suite=nowhere", ConfigError, "no file or shipped name 'nowhere'"),
        ("recipes=[baselin]", ConfigError, "reference: no recipe 'baseline'"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_made(
    matrix: Path, tmp_path: Path, change: str, kind: type[Exception], words: str
) -> None:
    """A plan resolves every name, so that mistakes cost seconds."""
    with pytest.raises(kind, match=words):
        plan(load_matrix(str(matrix), [change]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
