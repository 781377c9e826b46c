"""Old name of recipe.network, kept for who imports it."""

from hourglass.recipe.network import *  # noqa: F403
