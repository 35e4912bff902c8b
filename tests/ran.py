"""Runs and nights as the JSON that machines read: what most tests look into."""

from augment.nights import night as nights
from augment.runs import run as runs


def run(recipe, **options):
    return runs.run(recipe, **options).as_json()


def night(recipe, **options):
    return nights.night(recipe, **options).as_json()
