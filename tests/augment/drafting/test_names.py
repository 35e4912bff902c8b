"""Columns and labels are told in the languages of shops, and in the spellings of exports."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augment.base.errors import BadInput, UsageError
from augment.drafting.draft import write_recipe
from augment.drafting.guess import Choices
from augment.drafting.names import plain, rating
from augment.recipes.loading import parse

ROWS = 120
TEXTS = [f"{'soft warm coat' if i % 2 else 'thin torn seam'} number {i}" for i in range(ROWS)]


def drafted(path, columns, **choices):
    pq.write_table(pa.table(columns), path)
    text = write_recipe([path], Choices(**choices))
    recipe = parse(text, "drafted")
    (source,), (task,) = recipe.sources.values(), recipe.tasks.values()
    return source, task, text


@pytest.mark.parametrize(
    ("user", "item", "time"),
    [
        ("customerId", "productId", "createdAt"),
        ("Customer ID", "StockCode", "Invoice Date"),
        ("Kundennummer", "Artikelnr", "Datum"),
        ("id_utilisateur", "id_produit", "date_achat"),
        ("покупатель", "товар", "дата"),
        ("ユーザーID", "商品ＩＤ", "日時"),  # the second with wide letters
    ],
)
def test_a_log_is_told_in_any_spelling_and_several_languages(tmp_path, user, item, time):
    columns = {user: [f"u{i % 12}" for i in range(ROWS)], item: [f"i{i % 11}" for i in range(ROWS)]}
    columns[time] = [f"2024-03-{1 + i % 28:02}T08:00:00Z" for i in range(ROWS)]
    source, task, _ = drafted(tmp_path / "log.parquet", columns)
    assert (source.columns.user, source.columns.item, source.columns.timestamp) == (user, item, time)
    assert task.consumer == "recommender"


@pytest.mark.parametrize(
    ("text", "label", "good", "bad"),
    [
        ("reseña", "valoración", "bueno", "malo"),
        ("Rezension", "Bewertung", "gut", "schlecht"),
        ("口コミ", "評価", "良い", "悪い"),
        ("Review Text", "Star Rating", "★★★★★", "★★☆☆☆"),
        ("review", "rating", "4 out of 5 stars", "1 out of 5 stars"),
        ("review", "rating", "5/5", "2/5"),
        ("comments", "sentiment", "P", "n"),
        ("comments", "sentiment", "👍", "👎"),
    ],
)
def test_opinions_are_told_by_what_labels_say(tmp_path, text, label, good, bad):
    source, task, _ = drafted(tmp_path / "r.parquet", {text: TEXTS, label: [bad, good] * (ROWS // 2)})
    assert task.consumer == "sentiment"
    assert (source.columns.text, source.columns.label, source.positive) == (text, label, [good])


def test_stars_in_words_are_good_from_where_stars_in_numbers_are(tmp_path):
    stars = [f"{1 + i % 5} star{'s' * (i % 5 > 0)}" for i in range(ROWS)]
    source, _, _ = drafted(tmp_path / "r.parquet", {"review": TEXTS, "rating": stars})
    assert source.positive == ["4 stars", "5 stars"]


@pytest.mark.parametrize(("yes", "no"), [("oui", "non"), ("Ja", "Nein"), ("sí", "no"), ("да", "нет"), ("是", "否")])
def test_clicks_in_words_are_no_log_of_interactions(tmp_path, yes, no):
    columns = {"user_id": [f"u{i % 12}" for i in range(ROWS)], "item_id": [f"i{i % 11}" for i in range(ROWS)]}
    source, task, _ = drafted(tmp_path / "c.parquet", columns | {"click": [yes if i % 3 else no for i in range(ROWS)]})
    assert (task.consumer, source.columns.label, source.positive) == ("ctr", "click", [yes])


def test_numbers_are_no_text_whatever_they_are_called(tmp_path):
    columns = {"Review": [1 + i % 5 for i in range(ROWS)], "comment": TEXTS, "rating": [1 + i % 5 for i in range(ROWS)]}
    source, _, _ = drafted(tmp_path / "r.parquet", columns)
    assert source.columns.text == "comment"


@pytest.mark.parametrize("time", ["transaction_timestamp", "orderPurchaseDatetime", "order_approved_at", "click date"])
def test_a_time_is_told_by_what_happened_then(tmp_path, time):
    columns = {"user_id": [f"u{i % 12}" for i in range(ROWS)], "item_id": [f"i{i % 11}" for i in range(ROWS)]}
    columns |= {"signup_date": ["2019-01-01"] * ROWS, time: [f"2024-03-{1 + i % 28:02}T08:00:00Z" for i in range(ROWS)]}
    source, _, text = drafted(tmp_path / "log.parquet", columns)
    assert source.columns.timestamp == time
    columns[time] = [i % 7 for i in range(ROWS)]
    source, _, text = drafted(tmp_path / "log.parquet", columns)
    assert source.columns.timestamp is None
    assert "left out" not in text


def test_a_column_of_times_that_cannot_be_read_gives_way_to_another(tmp_path):
    columns = {"user_id": [f"u{i % 12}" for i in range(ROWS)], "item_id": [f"i{i % 11}" for i in range(ROWS)]}
    columns |= {"time": ["morning", "evening"] * (ROWS // 2), "date": [f"2024-03-{1 + i % 28:02}" for i in range(ROWS)]}
    source, _, _ = drafted(tmp_path / "log.parquet", columns)
    assert source.columns.timestamp == "date"
    with pytest.raises(UsageError, match="--time time: 'evening' is no time"):
        drafted(tmp_path / "log.parquet", columns, timestamp="time")


def test_ratings_beside_interactions_are_named_where_they_are_not_used(tmp_path):
    columns = {"userId": [i % 12 for i in range(ROWS)], "movieId": [i % 11 for i in range(ROWS)]}
    source, task, text = drafted(tmp_path / "ratings.parquet", columns | {"rating": [1 + i % 5 for i in range(ROWS)]})
    assert (task.consumer, source.columns.label) == ("recommender", None)
    assert "'rating' is not used: every row is an interaction; with label = \"rating\" and keep = 4, rows" in text


def test_a_rating_without_texts_is_not_called_unusable(tmp_path):
    with pytest.raises(UsageError, match="--text and --label for sentiment"):
        drafted(tmp_path / "r.parquet", {"rating": [1 + i % 5 for i in range(ROWS)], "words": TEXTS})


def test_lists_of_items_are_to_be_rows(tmp_path):
    with pytest.raises(UsageError, match="of lists, as in 'basket', give a row for each entry"):
        drafted(tmp_path / "b.parquet", {"user_id": [f"u{i}" for i in range(9)], "basket": [["a", "b"]] * 9})


def test_labels_of_several_scales_are_none(tmp_path):
    with pytest.raises(BadInput, match="nothing to learn from label 'rating'"):
        drafted(tmp_path / "r.parquet", {"review": TEXTS, "rating": ["4/5", "80 of 100", "3 stars"] * (ROWS // 3)})


def test_names_are_compared_by_letters_and_digits():
    assert len({plain(name) for name in ("userId", "user_id", "User ID", " USER-ID ", "ｕｓｅｒ.id")}) == 1
    assert plain("#") != plain("%")


def test_what_a_label_says_beside_its_number():
    assert rating("Rated 4 out of 5 stars") == rating("rated 4 out of 5 star")
    assert rating("⭐⭐⭐") == ("★", 3.0)
    assert rating("4,5 von 5")[1] == 4.5
    assert rating("good") is None
    assert rating("") is None
