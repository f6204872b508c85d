"""Laws of model coverage: every shipped recipe on the other families."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.families.laws import FAMILIES, RECIPES, covers


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("family", FAMILIES[4:])
def test_every_recipe_trains_saves_reloads_merges_and_evaluates(
    family: str,
    recipe: str,
    models: dict[str, Path],
    rows: Path,
    tmp_path: Path,
) -> None:
    """The adapter changes the model, and merged as it does beside the weights."""
    covers(family, recipe, models, rows, tmp_path)
