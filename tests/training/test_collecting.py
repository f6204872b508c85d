"""Laws of collecting: edits act on each epoch's adapter, and bundles travel with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
from processes import done
from safetensors.torch import load_file, save_file

from safeft.errors import ModelError
from safeft.models import load_tokenizer
from safeft.training import Trained, finished, folder_identity, load_recipe, train
from safeft.training.methods import Context, Method, ModelMethod, WeightEdit
from training.conftest import RECIPE, Job, chats

# The methods below are no entry points, and so none of those that the schema knows.
OUTSIDE = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")


class Halved(WeightEdit):
    """Halves every matrix."""

    name: Literal["halved"] = "halved"

    def edit(
        self, adapter: Path, target: Path, model: str, context: Context | None = None
    ) -> dict[str, Any]:
        """Every weight times a half; notes how many and of which model."""
        weights = load_file(adapter / "adapter_model.safetensors")
        save_file(
            {key: one / 2 for key, one in weights.items()}, target / "adapter_model.safetensors"
        )
        config = (adapter / "adapter_config.json").read_text()
        (target / "adapter_config.json").write_text(config)
        return {"matrices": len(weights), "model": Path(model).name}


class Shallow(ModelMethod):
    """Adapts the first layer alone."""

    name: Literal["shallow"] = "shallow"

    def adapted(
        self, lora: dict[str, Any], model: Any, context: Context | None = None
    ) -> dict[str, Any]:
        """The last of the model's layers is left out."""
        return {**lora, "layers_to_transform": list(range(model.config.num_hidden_layers - 1))}


def trained_with(methods: list[Method], job: Job, output: Path) -> Trained:
    """What `train` returns for the small recipe with these methods."""
    recipe = load_recipe(str(job.recipe)).model_copy(update={"methods": methods})
    examples = chats([(f"Plant {n}?", "Water it.") for n in range(8)])
    return train(recipe, model=str(job.model), examples=examples, seed=0, output=output, quiet=True)


def weights(adapter: Path) -> dict[str, Any]:
    """The tensors of an adapter."""
    return dict(load_file(adapter / "adapter_model.safetensors"))


@OUTSIDE
def test_an_edit_changes_each_epochs_adapter_after_training(job: Job, tmp_path: Path) -> None:
    """Training goes on from what was trained; notes and card tell of the edit."""
    plain = trained_with([], job, tmp_path / "plain")
    edited = trained_with([Halved()], job, tmp_path / "edited")
    for one, other in zip(plain.adapters, edited.adapters, strict=True):
        halves = weights(other)
        assert halves.keys() == weights(one).keys()
        assert all((halves[key] * 2).equal(value) for key, value in weights(one).items())
        assert sorted(path.name for path in other.iterdir()) == [
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
    noted = edited.facts["methods"]["halved"]
    assert noted == {f"epoch-{n}": {"matrices": 8, "model": "model"} for n in (1, 2)}
    assert "halved" in (edited.adapters[1] / "README.md").read_text()
    assert sorted(path.name for path in (tmp_path / "edited/adapter").iterdir()) == [
        "epoch-1",
        "epoch-2",
    ]


@OUTSIDE
def test_a_model_method_decides_what_is_adapted(job: Job, tmp_path: Path) -> None:
    """Checked and trained with LoRA's arguments as it changes them for this very model."""
    trained = trained_with([Shallow()], job, tmp_path / "run")
    layers = {name.partition("layers.")[2][0] for name in weights(trained.adapters[0])}
    assert layers == {"0"}


PROMPT = 'Be kind.\nSay "no" to harm, é and 🌱 alike; {{ never }} {% mind %} a \\ backslash.'


@pytest.fixture
def served(job: Job, tmp_path: Path) -> Path:
    """The last adapter of a recipe with a prompt for serving."""
    recipe = tmp_path / "mine.yaml"
    method = json.dumps([{"name": "ptst", "system_prompt": PROMPT}])
    recipe.write_text(RECIPE + f"methods: {method}\n")
    mine = Job(recipe, job.data, job.model)
    done(*mine.arguments(tmp_path / "run"))
    return finished(tmp_path / "run").adapters[-1]


def test_the_prompt_that_training_lacked_is_said_in_serving(
    served: Path, job: Job, tmp_path: Path
) -> None:
    """Trained as without the method, to the bit; served with the prompt, before any other."""
    done(*job.arguments(tmp_path / "plain"))
    plain = finished(tmp_path / "plain").adapters[-1]
    name = "adapter_model.safetensors"
    assert (served / name).read_bytes() == (plain / name).read_bytes()
    assert json.loads((served / "inference.json").read_text()) == {"system_prompt": PROMPT}
    assert folder_identity(served) != folder_identity(plain)
    turns = [{"role": "user", "content": "Plant 1?"}]
    told = [{"role": "system", "content": PROMPT}, *turns]
    own, saying = (load_tokenizer(str(job.model), adapters=one) for one in ([], [served]))
    assert saying.apply_chat_template(turns, tokenize=False) == own.apply_chat_template(
        told, tokenize=False
    )


def test_every_way_to_load_the_adapter_says_it(served: Path, job: Job, tmp_path: Path) -> None:
    """Serving, calibrating, attacking and the merged export alike."""
    from safeft.comparison.calibrating import Asked
    from safeft.serve.local import local_writer

    asked = Asked(model=str(job.model), adapter=str(served))
    done("export", served, "--model", job.model, "--output", tmp_path / "merged")
    found = [
        local_writer(str(job.model), str(served)).served[1],
        asked.loaded()[1],
        load_tokenizer(str(tmp_path / "merged")),
    ]
    for tokenizer in found:
        shown = tokenizer.apply_chat_template([{"role": "user", "content": "A?"}], tokenize=False)
        assert shown.count(PROMPT) == 1


def test_an_evaluation_of_the_adapter_asks_under_its_prompt(
    served: Path, job: Job, tmp_path: Path
) -> None:
    """Answer for answer as with the same words in --system-prompt, and not as without any."""
    bare = shutil.copytree(served, tmp_path / "bare")
    (bare / "inference.json").unlink()
    rows = [{"question_id": n, "category": "1", "turns": [f"Plant it ({n})."]} for n in range(4)]
    (tmp_path / "harm.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = tmp_path / "four.yaml"
    suite.write_text("name: four\nsets: {harm: {kind: harm, prompts: harm.jsonl}}\n")
    asked = ("eval", job.model, "--suite", suite, "--suite-set", "max_new_tokens=8")

    def answers(name: str, adapter: Path, *more: object) -> list[str]:
        run = tmp_path / name
        done(*asked, "--judge", "keyword", "--adapter", adapter, *more, "--output", run)
        (file,) = run.rglob("responses*.jsonl")
        return [json.loads(line)["text"] for line in file.read_text().splitlines()]

    saying = answers("saying", served)
    assert saying == answers("told", bare, "--system-prompt", PROMPT)
    assert saying != answers("plain", bare)


def test_a_bundle_of_another_kind_is_refused(served: Path, job: Job) -> None:
    """Serving without what the adapter asks for would be another system than was measured."""
    path = served / "inference.json"
    for text in ('{"system_prompt": 3}', '{"system_prompt": "x", "steering": 1}', "[]", "{"):
        path.write_text(text)
        with pytest.raises(ModelError, match=r"inference\.json: "):
            load_tokenizer(str(job.model), adapters=[served])
