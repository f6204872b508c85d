"""Whether a recipe's adapter fits a model: its targets are there, and PEFT can adapt them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from safeft.errors import ConfigError
from safeft.models import load_skeleton
from safeft.training.arguments import REFUSALS, blamed, lora_config
from safeft.training.edits.layers import layers
from safeft.training.methods import Context, ModelMethod
from safeft.training.schema import Recipe


def check_targets(recipe: Recipe, model: str, *, trust_remote_code: bool = False) -> None:
    """Raises ConfigError for LoRA targets that the model does not have, before it costs anything.

    The model is built without weights, so that this takes no memory and no download.
    """
    if recipe.lora is None:
        return
    from peft import get_peft_model

    skeleton = load_skeleton(model, trust_remote_code=trust_remote_code)
    recipe = adapted(recipe, skeleton)
    _refuse_absent(recipe, skeleton)
    # Other initialisations compute with weights, which a skeleton has not.
    config = lora_config(recipe, init_lora_weights=True)
    tuned = fitted(recipe, skeleton, lambda: get_peft_model(skeleton, config))
    for method in recipe.methods:
        method.refuse_unfit(layers(tuned, method.name), model)


def adapted(recipe: Recipe, model: Any, context: Context | None = None) -> Recipe:
    """The recipe with LoRA's arguments as its model methods change them for this model.

    Without `context` it is only checked.
    """
    if (lora := recipe.lora) is None:
        return recipe
    for method in recipe.methods:
        if isinstance(method, ModelMethod):
            lora = method.adapted(lora, model, context)
    return recipe.model_copy(update={"lora": lora})


def prepared(recipe: Recipe, context: Context) -> dict[str, dict[str, Any]]:
    """What the recipe's model methods note, by name, once the model is adapted."""
    methods = [one for one in recipe.methods if isinstance(one, ModelMethod)]
    return {one.name: said for one in methods if (said := one.noted(context))}


def fitted(recipe: Recipe, model: Any, make: Callable[[], Any]) -> Any:
    """What `make` makes of the model; ConfigError when TRL or PEFT refuses the recipe."""
    try:
        return make()
    except REFUSALS as error:
        problem = _untargeted(recipe, model, error) or blamed(recipe, error)
        raise ConfigError(f"recipe {recipe.name}: {problem}") from error


def _untargeted(recipe: Recipe, model: Any, error: Exception) -> str:
    """The message when PEFT complains of targets: what there is instead; else nothing."""
    said = str(error).lower()
    if "target" not in said:
        return ""
    targets = (recipe.lora or {}).get("target_modules")
    if "is not supported" in said:
        return f"lora.target_modules {targets!r} names layers that LoRA cannot adapt; {_has(model)}"
    return f"lora.target_modules {targets!r} matches nothing in the model; {_has(model)}"


def _refuse_absent(recipe: Recipe, model: Any) -> None:
    """PEFT is content when one name of a list is found, and trains without the others."""
    names = [name for name, _ in model.named_modules()]
    for key in ("target_modules", "modules_to_save"):
        wanted = (recipe.lora or {}).get(key)
        if not isinstance(wanted, list):
            continue
        if absent := [one for one in wanted if not _found(one, names)]:
            raise ConfigError(
                f"recipe {recipe.name}: lora.{key} {absent!r} matches nothing in the model; "
                f"{_has(model)}"
            )


def _found(wanted: str, names: list[str]) -> bool:
    return any(name == wanted or name.endswith(f".{wanted}") for name in names)


def _has(model: Any) -> str:
    import torch

    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    return f"its linear layers end in: {', '.join(sorted(linear))}"
