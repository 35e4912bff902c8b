"""Numbers as shops write them: with a currency or a measure, and thousands apart."""

import duckdb
import pytest
from pydantic import ValidationError

from augment.base.errors import BadInput
from augment.contracts.modality import RowRules
from augment.drafting.draft import write_recipe
from augment.drafting.units import unit
from augment.recipes.loading import parse
from augment.recipes.source import Source
from augment.sources.prepare import prepare_catalogue
from augment.sources.sql import literal, number_of

WIDE, NARROW = "\u00a0", "\u202f"
ROWS = 120


def read(value, decimal=".", units=()):
    return duckdb.execute(f"SELECT {number_of(literal(value), decimal, units)}").fetchall()[0][0]


@pytest.mark.parametrize(
    ("value", "decimal", "units", "number"),
    [
        ("$1,234.50", ".", ["$"], 1234.5),
        ("-$ 12", ".", ["$"], -12),
        ("45%", ".", ["%"], 45),
        ("12.5 kg", ".", ["kg", "g"], 12.5),
        ("1'234.50 CHF", ".", ["CHF"], 1234.5),
        ("12,345", ".", [], 12345),
        ("€ 1.234,50", ",", ["€"], 1234.5),
        (f"1{NARROW}234{NARROW}567,5{WIDE}€", ",", ["€"], 1234567.5),
        ("R$ 9,90", ",", ["R$"], 9.9),
        ("yes", ".", ["%"], 1),
    ],
)
def test_numbers_with_units_and_groups_of_thousands(value, decimal, units, number):
    assert read(value, decimal, units) == number


@pytest.mark.parametrize(
    ("value", "decimal", "units"),
    [
        ("$5", ".", ["€"]),  # another currency is another number
        ("5 kg", ".", ["g"]),
        ("€5€", ".", []),
        ("6,25", ".", []),  # a decimal comma where a point was promised
        ("0,500", ".", []),
        ("1,23,456", ".", []),
        ("1.5", ",", []),
        ("12 34", ".", []),
        ("kg", ".", ["kg"]),
        ("", ".", ["kg"]),
    ],
)
def test_what_could_be_read_otherwise_is_no_number(value, decimal, units):
    assert read(value, decimal, units) is None


def clicks(path, price, separator=";"):
    lines = [separator.join(["user_id", "item_id", "click", "price"])]
    lines += [separator.join([f"u{i % 9}", f"i{i % 7}", str(i % 3 // 2), price(i)]) for i in range(ROWS)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    (source,) = parse(write_recipe([path]), "drafted").sources.values()
    return source


@pytest.mark.parametrize(
    ("price", "units", "decimal"),
    [
        (lambda i: f"€ 1.{200 + i},{10 + i % 80}", ["€"], ","),
        (lambda i: f"${1 + i},234.5{i % 10}", ["$"], "."),
        (lambda i: f"{i / 4} %", ["%"], "."),
        (lambda i: f"{1 + i % 9}{NARROW}{200 + i},5{WIDE}€", ["€"], ","),
        (lambda i: f"{1 + i % 9},{200 + i}", [], "."),
    ],
)
def test_init_says_what_stands_beside_numbers(tmp_path, price, units, decimal):
    source = clicks(tmp_path / "clicks.csv", price)
    assert (source.columns.numbers, source.units, source.decimal) == (["price"], units, decimal)


def test_two_currencies_are_no_number_and_a_code_has_no_unit(tmp_path):
    source = clicks(tmp_path / "clicks.csv", lambda i: f"{'$€'[i % 2]}{i % 20}.5")
    assert (source.columns.fields, source.columns.numbers, source.units) == (["price"], [], [])
    assert [unit(words) for words in (["i7", "i8"], ["4/5"], ["size 38"], ["5", "5 €"], [], ["€ 5", "€7"])] == [
        "", "", "", "", "", "€",
    ]  # fmt: skip


def test_ratings_in_percent_are_numbers(tmp_path):
    rows = "\n".join(f"a warm coat of number {i},{i * 7 % 100}%" for i in range(ROWS))
    (tmp_path / "r.csv").write_text(f"review,score\n{rows}\n", "utf-8")
    (source,) = parse(write_recipe([tmp_path / "r.csv"]), "drafted").sources.values()
    assert (source.units, source.positive) == (["%"], pytest.approx(0.8 * 99))


def test_another_unit_makes_a_bad_row(tmp_path):
    (tmp_path / "p.csv").write_text("sku,weight\na,1 kg\nb,500 g\n", "utf-8")
    columns = {"item": "sku", "numbers": ["weight"]}
    rules = RowRules(needs=("item_id",), fields=True, classes=False, copies=True, catalogue=True)
    source = Source(path=str(tmp_path / "p.csv"), columns=columns, units=["kg"])
    with pytest.raises(BadInput, match=r"weight not a number \(1\)"):
        prepare_catalogue("p", source, rules, tmp_path / "out", 0)


@pytest.mark.parametrize("units", [[""], [" "], ["5"], ["k\0"]])
def test_units_have_no_digits(units):
    with pytest.raises(ValidationError, match="units"):
        Source(path="p.csv", columns={}, units=units)


def test_recipes_without_units_keep_their_digests():
    assert "units" not in Source(path="p.csv", columns={}).model_dump(mode="json")
