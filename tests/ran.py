"""Runs and nights as the JSON that machines read: what most tests look into."""

from augment.nights import night as nights
from augment.recipes import loading
from augment.runs import run as runs


def run(recipe, **options):
    return runs.run(recipe, **options).as_json()


def night(recipe, **options):
    return nights.night(recipe, **options).as_json()


def recipe_of(text, **replaced):
    """The recipe in TOML `text`, with some of it, which must be there, replaced."""
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return loading.parse(text, "shop.toml")
