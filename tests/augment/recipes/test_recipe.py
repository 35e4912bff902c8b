import pytest

from augment.base.errors import UsageError
from augment.recipes import loading, source
from augment.recipes import schema as recipe

GOOD = """
name = "shop"
output = "out"
[sources.logs]
path = "logs.parquet"
columns = { user = "u", item = "i" }
[tasks.rec]
consumer = "recommender"
source = "logs"
samples = 10
strategies = { noise = 1 }
verdict = { clean = ["ndcg@20"], improve = ["coverage"] }
"""


def complaint(text):
    with pytest.raises(UsageError) as raised:
        loading.parse(text, "r.toml")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_defaults_fill_a_short_recipe():
    assert loading.parse(GOOD, "r").tasks["rec"].gates.band == (-0.5, 1.5)


def test_an_unknown_key_names_the_nearest_known_one_and_its_place():
    message = complaint(GOOD + "[tasks.rec.gates]\nmin_plausability = 0.1\n")
    assert "[tasks.rec.gates] unknown key 'min_plausability'; did you mean 'min_plausibility'?" in message


def test_which_keys_a_section_knows_is_said_once():
    message = complaint(GOOD.replace("columns =", "zzz = 1\nyyy = 1\ncolumns ="))
    assert message.count("[sources.logs] unknown key ") == 2
    assert message.count("known: ") == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("samples = 10", "samples = 0"), "tasks.rec: `samples`, at least 1, and `strategies` go together"),
        (('source = "logs"', 'source = "log"'), "no source 'log'; did you mean 'logs'?"),
        (('path = "logs.parquet"', ""), "give either `path` or `connection`"),
        (("[tasks.rec]", '[tasks."../rec"]'), "lower-case letters"),
        (('name = "shop"', "name = shop"), "not valid TOML"),
        (("strategies = { noise = 1 }", "strategies = { noise = -1 }"), "strategies"),
        (("samples = 10", "samples = 10\ngates = { band = [2, 1] }"), "gates.band: the first margin must be below the"),
        (("samples = 10", "samples = 10\ngenerator = { band = [2, 1] }"), "generator.band: the first margin must be"),
    ],
)
def test_each_mistake_is_one_line_that_says_where(change, expected):
    assert expected in complaint(GOOD.replace(*change))


def test_shipped_recipes_load_and_unknown_names_get_a_suggestion():
    assert {"demo", "demo-fashion", "demo-zh"} <= set(loading.shipped())
    for name in loading.shipped():
        assert loading.load(name).name == name
    with pytest.raises(UsageError, match="did you mean 'demo'"):
        loading.load("demmo")


def test_every_field_is_documented():
    text = loading.explain()
    for model in (source.Source, source.Split, recipe.Task, recipe.Gates, recipe.Generator, recipe.VerdictSettings):
        for name, field in model.model_fields.items():
            assert field.description, name
            assert name in text or issubclass(field.annotation, source.Section)


def test_uncapped_keeps_labels_scarce_and_lifts_the_rest():
    lifted = loading.load("demo").uncapped().sources["reviews"]
    assert lifted.labelled == loading.load("demo").sources["reviews"].labelled
    assert lifted.test_rows is None
    clicks = loading.parse(GOOD.replace("[tasks.rec]", "unlabelled = 5\n[tasks.rec]"), "r").uncapped().sources["logs"]
    assert clicks.unlabelled > 10**9  # still asked for


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ('{ user = "u", item = "i", fields = ["U"] }', "'u' and 'U' differ in case alone"),
        ('{ user = "u", item = "i", fields = ["price"], numbers = ["price"] }', "'price' is twice"),
    ],
)
def test_a_field_has_a_name_of_its_own(columns, expected):
    assert f"sources.logs.columns: {expected}" in complaint(GOOD.replace('{ user = "u", item = "i" }', columns))


@pytest.mark.parametrize(
    ("connection", "kept"),
    [
        ("postgresql://me:hunter2@host/shop", "postgresql://me:***@host/shop"),
        ("postgresql://me:hun/t@er2@host/shop", "postgresql://me:***@host/shop"),
        ("postgresql://host/shop?user=me&password=hunter2&sslmode=require",
         "postgresql://host/shop?user=me&password=***&sslmode=require"),
        ("postgresql://me:${SECRET}@host/shop", "postgresql://me:${SECRET}@host/shop"),
        ("sqlite:///a@b:c.db", "sqlite:///a@b:c.db"),
    ],
)  # fmt: skip
def test_a_manifest_never_holds_a_password(connection, kept):
    read = source.Source.model_validate({"connection": connection, "query": "SELECT 1", "columns": {}})
    assert read.connection == connection
    assert read.model_dump(mode="json")["connection"] == kept
