"""Laws of the verbs: quick help, and the small verbs that look and copy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from processes import call, done, refused
from training.conftest import Job

from safeft.assets import folder
from safeft.cli import VERBS
from safeft.cli.schema import MODELS

HEAVY = "{'torch', 'transformers', 'trl', 'peft', 'datasets', 'scipy', 'matplotlib'}"
DATA = '{"prompt": "How do I sow?", "completion": "Thinly."}\n'


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout


def test_importing_safeft_imports_nothing_heavy() -> None:
    """`import safeft` answers at once; each name loads what it needs when it is used."""
    assert python(f"import sys, safeft; print({HEAVY} & set(sys.modules))") == "set()\n"


def test_help_imports_nothing_heavy_for_any_verb() -> None:
    """Help of the program and of every verb, in one interpreter, without a model's library."""
    code = (
        "import sys; from safeft.cli import VERBS, _run\n"
        "for words in ([], *([verb] for verb in VERBS), ['data', 'preview']):\n"
        "    assert _run([*words, '--help']) == 0\n"
        f"print('HEAVY', {HEAVY} & set(sys.modules))"
    )
    assert python(code).endswith("HEAVY set()\n")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    """It is listed with its line, and its own help says how it is used."""
    assert VERBS[verb] in done("--help").out
    said = done(verb, "-h").out
    assert said.startswith(f"Usage: safeft {verb} ")
    assert "-h, --help" in said


def test_without_a_word_the_help_is_shown() -> None:
    """On stderr and with exit code 2: nothing was asked."""
    said = call()
    assert said.code == 2
    assert "compare" in said.err


def test_ls_lists_what_can_be_named() -> None:
    """Every shipped recipe, policy and suite, and the judges."""
    said = done("ls").out
    lines = dict(line.split(": ", 1) for line in said.splitlines())
    for place in ("recipes", "guardrails", "eval/suites"):
        names = sorted(path.stem for path in folder(place).glob("*.yaml"))
        assert lines[Path(place).name].split(", ") == names
    assert {"encoder", "keyword"} <= set(lines["judges"].split(", "))
    assert done("ls", "suites").out == f"suites: {lines['suites']}\n"
    assert "recipes" in refused("ls", "receipts")


BENCHMARKS = sorted((Path(__file__).parents[2] / "benchmarks").rglob("*.yaml"))
ATTACKS = sorted(folder("eval/attacks").glob("*.yaml"))
SHIPPED = {
    "recipe": sorted(folder("recipes").glob("*.yaml")),
    "policy": sorted(folder("guardrails").glob("*.yaml")),
    "judge": sorted(folder("eval/judges").glob("*.yaml")),
    "guard-judge": sorted(folder("guardrails/judges").glob("*.yaml")),
    "suite": sorted(folder("eval/suites").glob("*.yaml")),
    "comparison": [path for path in BENCHMARKS if "recipes" in yaml.safe_load(path.read_text())],
    "experiment": [path for path in BENCHMARKS if "models" in yaml.safe_load(path.read_text())],
    "attack": [path for path in ATTACKS if "attacks" in yaml.safe_load(path.read_text())],
    "tap": [path for path in ATTACKS if "attacker" in yaml.safe_load(path.read_text())],
}


@pytest.mark.parametrize("kind", MODELS)
def test_schemas_fit_what_ships(kind: str) -> None:
    """Valid JSON schemas that hold for every shipped YAML and allow no other key."""
    schema = json.loads(done("schema", kind).out)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert SHIPPED[kind]
    for path in SHIPPED[kind]:
        written = yaml.safe_load(path.read_text())
        assert set(written) <= set(schema["properties"])
        assert set(schema["required"]) <= set(written)
        Draft202012Validator.check_schema(schema)
        Draft202012Validator(schema).validate(written)


def test_export_copies_or_merges(tiny_model: Path, tiny_adapter: Path, tmp_path: Path) -> None:
    """A copy is the adapter; a merged model answers like the model with the adapter."""
    import torch

    from safeft.models import load_model

    asked = ["export", tiny_adapter, "--model", tiny_model, "--output"]
    assert f"wrote {tmp_path}/copy" in done(*asked, tmp_path / "copy", "--copy").out
    weights = "adapter_model.safetensors"
    assert (tmp_path / "copy" / weights).read_bytes() == (tiny_adapter / weights).read_bytes()
    done(*asked, tmp_path / "merged")
    ids = torch.arange(3, 20)[None]
    with torch.inference_mode():
        merged = load_model(str(tmp_path / "merged"))(ids).logits
        apart = load_model(str(tiny_model), adapters=[tiny_adapter])(ids).logits
    assert torch.allclose(merged, apart, atol=1e-4)


def test_export_refuses_what_it_would_spoil(
    tiny_model: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    """A folder with files, and an adapter that is not there: nothing is written."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("mine")
    model = ["--model", tiny_model, "--output"]
    assert "choose another --output" in refused("export", tiny_adapter, *model, tmp_path / "mine")
    said = refused("export", tmp_path / "nowhere", *model, tmp_path / "new")
    assert "no adapter_config.json" in said
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "file"]


def test_preview_shows_what_is_trained(tiny_model: Path, tmp_path: Path) -> None:
    """With a model the trained text stands in brackets, with its stop token."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(DATA)
    said = done("data", "preview", rows, "--model", tiny_model).out
    assert "⟦Thinly.<|im_end|>⟧" in said
    assert "1 rows, " in said
    assert "0 fully masked" in said


def test_preview_knows_shipped_sets_and_broken_rows(tmp_path: Path) -> None:
    """By name, like training; broken rows are refused, or left out and named."""
    assert "garden.jsonl: format prompt-completion" in done("data", "preview", "garden").out
    rows = tmp_path / "rows.jsonl"
    rows.write_text(DATA + '{"prompt": "", "completion": "B."}\n')
    assert "row 2, field 'prompt': is empty" in refused("data", "preview", rows)
    said = done("data", "preview", rows, "--skip-broken")
    assert "1 broken rows left out" in said.err
    assert "Thinly." in said.out
    rows.write_text('{"prompt": "", "completion": "B."}\n')
    assert "every row is broken" in refused("data", "preview", rows, "--skip-broken")


def test_verbose_says_what_is_done(job: Job, tmp_path: Path) -> None:
    """In a process of its own, since logging is set up once."""
    from processes import Command

    words = job.arguments(tmp_path / "run", "--set", "trainer.num_train_epochs=1")
    result = Command(["--verbose", *words], tmp_path / "log").result()
    assert result.code == 0, result.err
    assert "data: 16 rows, " in result.err
