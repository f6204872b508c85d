"""A refused command is corrected in place: what it left behind blocks no other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from processes import refused

from cli.conftest import Job
from safeft.errors import ConfigError, RunError
from safeft.runs import open_run
from safeft.training import check_arguments, load_recipe

SUITE = "name: two\nsets: {harm: {kind: harm, prompts: rows.jsonl}}\nmax_new_tokens: 8\n"


@pytest.fixture
def comparing(job: Job, tmp_path: Path) -> list[object]:
    """A comparison of one recipe on a suite of one prompt."""
    row = {"question_id": 1, "category": "7", "turns": ["What?"]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    (tmp_path / "two.yaml").write_text(SUITE)
    named = [f"suite={tmp_path / 'two.yaml'}", "judges=[keyword]", "reference=small"]
    sets = [word for one in named for word in ("--set", one)]
    given = ["--recipes", job.recipe, "--model", job.model, "--data", job.data]
    return ["compare", *given, *sets, "--training-seeds", 1, "--workers", 1]


WRONG = [
    ("target_modules=[c_attn]", "lora.target_modules ['c_attn'] matches nothing in the model"),
    ("target_modules=[q_proj, nope]", "lora.target_modules ['nope'] matches nothing in the model"),
    ("modules_to_save=[nope]", "lora.modules_to_save ['nope'] matches nothing in the model"),
    ("target_modules='.*nope'", "lora.target_modules '.*nope' matches nothing in the model"),
    ("target_modules=[self_attn]", "['self_attn'] names layers that LoRA cannot adapt"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_lora_targets_are_looked_for_before_a_text_is_written(
    job: Job, tmp_path: Path, change: str, words: str
) -> None:
    """Each name of a list, by the shape of the model alone."""
    mine = Job(Path("self_generated"), job.data, job.model)
    said = refused(*mine.arguments(tmp_path / "run", "--set", f"lora.{change}"))
    assert words in said
    assert "its linear layers end in: down_proj" in said
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {".lock", "manifest.json"}


def test_a_comparison_looks_before_it_makes_a_folder(
    comparing: list[object], tmp_path: Path
) -> None:
    """Targets and arguments of every recipe."""
    output = ["--output", tmp_path / "run"]
    said = refused(*comparing, "--set", "set=['lora.target_modules=[q_proj, nope]']", *output)
    assert "['nope'] matches nothing" in said
    said = refused(*comparing, "--set", "set=['trainer.learning_rate=-1']", *output)
    assert "trainer.learning_rate: must be greater than or equal to 0, not -1" in said
    assert not (tmp_path / "run").exists()


def test_a_comparison_measures_prompts_before_it_trains(
    comparing: list[object], short_model: Path, tmp_path: Path
) -> None:
    """By the suite, the set and the number."""
    output = ["--model", short_model, "--output", tmp_path / "run"]
    long = {"question_id": 1, "category": "7", "turns": ["water " * 40]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(long))
    said = refused(*comparing, *output)
    assert "prompt 'two/harm/1' has" in said
    assert "exceeds the context of" in said
    assert not (tmp_path / "run").exists()


def test_test_rows_are_named_by_their_place(
    comparing: list[object], short_model: Path, tmp_path: Path
) -> None:
    """A number within the set would say nothing to whoever wrote the file."""
    rows = tmp_path / "test.jsonl"
    pairs = [{"prompt": words, "completion": "B."} for words in ("A?", "water " * 40)]
    rows.write_text("".join(json.dumps(one) + "\n" for one in pairs))
    output = ["--model", short_model, "--output", tmp_path / "run"]
    said = refused(*comparing, *output, "--set", f"test_data={rows}")
    assert "test.jsonl, row 2: its prompt has" in said


def test_test_rows_without_an_answer_are_refused(comparing: list[object], tmp_path: Path) -> None:
    """ROUGE-L would have nothing to compare with, after all was trained."""
    rows = tmp_path / "test.jsonl"
    rows.write_text('{"text": "Once."}')
    output = ["--output", tmp_path / "run"]
    said = refused(*comparing, *output, "--set", f"test_data={rows}")
    assert "test.jsonl, row 1: is plain text; test rows need an answer" in said


def test_training_prompts_are_named_by_their_place(
    job: Job, short_model: Path, tmp_path: Path
) -> None:
    """And what is left of the attempt blocks no other."""
    rows, output = tmp_path / "rows.jsonl", tmp_path / "run"
    rows.write_text(json.dumps({"prompt": "water " * 40, "completion": "B."}))
    mine = Job(Path("self_generated"), rows, short_model)
    said = refused(*mine.arguments(output))
    assert "rows.jsonl, row 1: its prompt has" in said
    open_run(output, {"another": "run"})


COSINE = "trainer.lr_scheduler_type=cosine"
BROKEN = "{% for m in messages %}{{ m.nope.nope }}{% endfor %}", "{% if %}", "{{ 1 / 0 }}"


@pytest.mark.parametrize("template", BROKEN)
def test_a_chat_template_that_raises(
    job: Job, comparing: list[object], tmp_path: Path, template: str
) -> None:
    """Before anything is trained or made, whatever it raises."""
    folder = shutil.copytree(job.model, tmp_path / "broken")
    (folder / "chat_template.jinja").write_text(template)
    asked = ["--suite", tmp_path / "two.yaml", "--judge", "keyword", "--output", tmp_path / "run"]
    for words in (["eval", folder, *asked], [*comparing, "--model", folder, *asked[-2:]]):
        assert "prompt 'two/harm/1' is refused by the chat template of" in refused(*words)
    said = refused("data", "preview", job.data, "--model", folder)
    assert "rows.jsonl, row 1: the chat template of" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "left",
    [
        "written-0123.jsonl",
        "written-0123.jsonl.partial",
        "written/written-0123.jsonl",
        "cells/0123/training/.lock",
        "cells/0123/training/manifest.json",
    ],
)
def test_what_a_refused_run_leaves_gives_way(tmp_path: Path, left: str) -> None:
    """Texts are named after what they depend on, and locks and manifests say nothing."""
    open_run(tmp_path, {"seed": 0})
    (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / left).write_text("{}")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "responses.jsonl.partial").touch()
    open_run(tmp_path, {"seed": 1})
    (tmp_path / "responses.jsonl.partial").write_text("{}\n")
    with pytest.raises(RunError, match="holds another run"):
        open_run(tmp_path, {"seed": 2})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("lora.bias=nope", "lora.bias: must be 'none', 'all' or 'lora_only', not 'nope'"),
        ("lora.target_modules='(['", "lora.target_modules: '([' is no regular expression"),
        ("lora.rank_pattern=5", "lora.rank_pattern: must be a mapping"),
        ("lora.r=0", "lora.r: must be greater than or equal to 1, not 0"),
        ("trainer.per_device_train_batch_size=0", "per_device_train_batch_size: must be greater"),
        ("trainer.gradient_accumulation_steps=0", "gradient_accumulation_steps: must be greater"),
        ("trainer.learning_rate=-1", "trainer.learning_rate: must be greater than or equal to 0"),
        ("trainer.learning_rate=.inf", "trainer.learning_rate: must be a finite number"),
        ("trainer.lr_scheduler_kwargs=5", "trainer.lr_scheduler_kwargs: must be a mapping"),
        ("trainer.optim_args=5", "trainer.optim_args: must be text"),
        ("trainer.optim_args=x", "trainer.optim_args: must be name=value"),
        ("trainer.neftune_noise_alpha=x", "trainer.neftune_noise_alpha: must be a number"),
        ("trainer.lr=1", "unknown key trainer.lr; did you mean 'learning_rate'?"),
        ("trainer.batch_size=1", "did you mean 'per_device_train_batch_size'?"),
        ("trainer.epochs=1", "did you mean 'num_train_epochs'?"),
        ("lora.rank=1", "unknown key lora.rank; did you mean 'r'?"),
    ],
)
def test_wrong_arguments_are_named(change: str, words: str) -> None:
    """By their key, whatever the library would have raised, and wherever."""
    with pytest.raises(ConfigError) as caught:
        check_arguments(load_recipe("baseline", [change]))
    assert words in str(caught.value)


def test_arguments_of_a_schedule_are_tried() -> None:
    """The trainer itself makes the schedule after all that is slow."""
    with pytest.raises(ConfigError, match=r"trainer\.lr_scheduler_kwargs: .*'zzz'"):
        check_arguments(load_recipe("baseline", [COSINE, "trainer.lr_scheduler_kwargs={zzz: 1}"]))
    check_arguments(
        load_recipe("baseline", [COSINE, "trainer.lr_scheduler_kwargs={num_cycles: 1}"])
    )


def test_a_wrong_argument_is_one_message(job: Job, tmp_path: Path) -> None:
    """At the command line, with nothing made."""
    said = refused(*job.arguments(tmp_path / "run", "--set", "lora.bias=nope"))
    assert "lora.bias: must be" in said
    assert not (tmp_path / "run").exists()
