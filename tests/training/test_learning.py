"""The bundled first recipe does what the documentation says it does."""

from pathlib import Path

import pytest

from hourglass.recipe.recipe import bundled_recipes, load_recipe
from hourglass.training.loop import BEST, train
from hourglass.weights.checkpoint import load_weights


@pytest.mark.slow
def test_rendered_people_are_learnt_in_a_minute(tmp_path: Path) -> None:
    """Half of the recipe reached 43 on unseen rendered people when it was written."""
    recipe = load_recipe(bundled_recipes()["synthetic_tiny"], ["train.length.steps=200"])
    train(recipe, tmp_path / "run", "tiny")
    _, facts = load_weights(tmp_path / "run" / BEST)
    assert facts.metrics["PCK@0.2"] > 33
