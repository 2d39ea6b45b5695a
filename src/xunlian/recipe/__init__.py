"""What a run is: typed tables, TOML files and overrides, the size dial, the shipped recipes."""

from xunlian.recipe.load import load_recipe, shipped_recipes
from xunlian.recipe.settings import Recipe

__all__ = ["Recipe", "load_recipe", "shipped_recipes"]
