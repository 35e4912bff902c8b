"""Planted attacks are found, and honest people are left alone."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from augment.contracts.registry import modality_class
from augment.language import typos
from augment.watch.fake_users import fake_users
from augment.watch.floods import BURST, COPIES, HOUR, click_floods, floods
from consumers.scoring import shilling

MINUTE = 60_000_000
SPAM = (
    "This shop is a scam, the dress fell apart after one wash and they refused to pay me back",
    "Absolutely love this, best quality ever, buy it now before it is sold out again this summer",
    "I bought three of these for my sisters and everyone at the wedding asked where they came from",
)


def reasons(rows, modality, seed=0):
    return modality_class(modality).bought(rows, seed)


@pytest.fixture(scope="module")
def likes(demo_folder):
    """MovieLens-100k ratings of 4 and 5, in order of time."""
    rows = pq.read_table(demo_folder / "behaviour.parquet")
    rows = rows.filter(pc.greater_equal(rows["rating"], 4)).sort_by("timestamp")
    return pa.table({name: rows[name].cast(pa.string()).combine_chunks() for name in ("user_id", "item_id")})


@pytest.fixture(scope="module")
def reviews(demo_folder):
    return pq.read_table(demo_folder / "reviews.parquet")["text"].to_pylist()


def found(table, seed=0):
    return fake_users(*(table[name].combine_chunks() for name in ("user_id", "item_id")), seed)


def attacked(likes, share, kinds, seed, monkeypatch):
    """The log with such fake users, made from each user's last fifth as `Recommender.attacks` does, and their names."""
    rows = likes.to_pandas()
    place = (rows.groupby("user_id").cumcount() + 0.5) / rows.groupby("user_id")["item_id"].transform("size")
    monkeypatch.setattr(shilling, "FAKE_SHARE", share)
    monkeypatch.setattr(shilling, "KINDS", kinds)
    fakes = shilling.fake_users(pa.Table.from_pandas(rows[place >= 0.8], preserve_index=False), seed)
    return pa.concat_tables([likes, fakes.select(likes.column_names)]), set(fakes["user_id"].to_pylist())


def spam(count, seed, rate=0.3):
    """Copies of a few templates, each misspelt, every second one with words left out."""
    rng = np.random.default_rng(seed)
    made = [typos.typo(SPAM[i % len(SPAM)], rng, rate) for i in range(count)]
    return [typos.word_drop(text, rng, rate) if i % 2 else text for i, text in enumerate(made)]


def test_hardly_an_honest_user_is_called_a_fake(likes):
    assert len(found(likes)) < 0.01 * pc.count_distinct(likes["user_id"]).as_py()


@pytest.mark.parametrize("kinds", [*((kind,) for kind in shilling.KINDS), shilling.KINDS], ids="+".join)
@pytest.mark.parametrize("share", [0.01, 0.02, 0.05])
def test_fake_users_are_found(likes, share, kinds, monkeypatch):
    rows, fakes = attacked(likes, share, kinds, 7, monkeypatch)
    names = found(rows)
    assert len(fakes & set(names)) > 0.7 * len(fakes)
    assert len(set(names) - fakes) < 0.02 * pc.count_distinct(likes["user_id"]).as_py()
    assert all(names[name].startswith("fake user: incoherent history pushing ") for name in names)


def test_odd_users_who_push_nothing_are_left_alone(likes, monkeypatch):
    """The same fake users, without what they push: one sign alone is no proof."""
    rows, fakes = attacked(likes, 0.05, ("random",), 7, monkeypatch)
    fake = pc.is_in(rows["user_id"], pa.array(sorted(fakes)))
    counts = pc.value_counts(rows.filter(fake)["item_id"].combine_chunks()).flatten()
    targets = counts[0].filter(pc.greater_equal(counts[1], len(fakes)))
    assert len(targets) == shilling.FAKE_TARGETS
    bare = rows.filter(pc.invert(pc.and_(fake, pc.is_in(rows["item_id"], targets))))
    assert len(fakes & set(found(bare))) < 0.1 * len(fakes)
    assert len(fakes & set(found(rows))) > 0.9 * len(fakes)


def test_a_fan_club_is_left_alone(likes):
    """Real users who all take up the same five unpopular items: pushed, but by people with a history."""
    counts = pc.value_counts(likes["item_id"].combine_chunks()).flatten()
    rare = counts[0].filter(pc.equal(counts[1], 5)).slice(0, 5).to_pylist()
    fans = pc.unique(likes["user_id"]).to_pylist()[:40]
    more = [(fan, item) for fan in fans for item in rare]
    rows = pa.concat_tables([likes, pa.table(dict(zip(likes.column_names, zip(*more, strict=True), strict=True)))])
    assert len(set(fans) & set(found(rows))) < 0.2 * len(fans)


def test_fakes_are_the_same_in_any_order_of_rows_and_with_repeats(likes, monkeypatch):
    rows, _ = attacked(likes, 0.02, shilling.KINDS, 7, monkeypatch)
    mixed = rows.take(pa.array(np.random.default_rng(0).permutation(len(rows))))
    assert found(rows)
    assert found(rows) == found(mixed) == found(pa.concat_tables([rows, rows]))


@pytest.mark.parametrize(
    ("users", "items"),
    [([], []), (["a"], ["x"]), (["a"] * 9, list("stuvwxyzq")), ([None, "a"], ["x", None]), ([1, 2, 3], [7, 7, 7])],
)
def test_nobody_is_found_in_next_to_nothing(users, items):
    assert fake_users(pa.array(users), pa.array(items)) == {}


def test_rows_without_user_or_item_change_nothing(likes, monkeypatch):
    rows, _ = attacked(likes, 0.02, shilling.KINDS, 7, monkeypatch)
    nulls = pa.table({"user_id": pa.array([None, "1"], pa.string()), "item_id": pa.array(["1", None], pa.string())})
    assert found(pa.concat_tables([rows, nulls])) == found(rows)


def test_hardly_an_honest_review_is_called_a_flood(reviews):
    assert len(floods(pa.array(reviews))) < 0.005 * len(reviews)


def test_a_flood_is_found_among_real_reviews(reviews):
    text = pa.array(reviews + spam(200, 0))
    rows = floods(text)
    planted = [row for row in rows if row >= len(reviews)]
    assert len(planted) > 0.9 * 200
    assert len(rows) - len(planted) < 0.005 * len(reviews)
    assert all(
        rows[row].startswith("review flood: ") and rows[row].endswith(" near copies (limit 8)") for row in planted
    )
    assert floods(text) == rows


def test_the_reason_says_how_many(reviews):
    copies = [SPAM[0] + " !" * i for i in range(12)]
    rows = floods(pa.array(reviews[:500] + copies))
    assert {rows[500 + i] for i in range(12)} == {"review flood: 12 near copies (limit 8)"}


@pytest.mark.parametrize("rows", [10, 20, 40, 150])
def test_in_a_small_window_common_words_are_no_likeness(reviews, rows):
    for start in range(0, 2000, 400):
        assert floods(pa.array(reviews[start : start + rows])) == {}


def test_a_few_copies_are_no_flood(reviews):
    rows = floods(pa.array(reviews[:2000] + [SPAM[0]] * COPIES))
    assert not [row for row in rows if row >= 2000]


def test_stock_phrases_of_different_people_are_no_flood(reviews):
    """Said often, all through the window."""
    phrases = ["Great dress", "great dress!!", "Love it", "fits perfectly"] * 100
    text = reviews[:2000] + phrases
    rng = np.random.default_rng(0)
    moment = pa.array(rng.integers(0, 30 * 24, len(text)) * HOUR + rng.integers(0, HOUR, len(text)))
    rows = floods(pa.array(text), moment, pa.array([f"u{i}" for i in range(len(text))]))
    assert not [row for row in rows if row >= 2000]


def test_a_stock_phrase_in_a_burst_is_a_flood(reviews):
    rng = np.random.default_rng(0)
    text = reviews[:2000] + ["Great dress!"] * 60
    moment = rng.integers(0, 24 * HOUR, len(text))
    moment[2030:] = 20 * HOUR + rng.integers(0, 20 * MINUTE, 30)
    rows = floods(pa.array(text), pa.array(moment), None)
    assert set(range(2030, 2060)) <= set(rows)
    assert len([row for row in rows if 2000 <= row < 2030]) < 10
    assert rows[2059].endswith("copies within an hour (limit 8, and far above chance)")


def test_many_reviews_by_one_user_within_minutes_are_a_flood(reviews):
    busy = [10 * HOUR + i * MINUTE // 2 for i in range(BURST + 2)]
    idle = [HOUR * i + 7 for i in range(BURST + 2)]
    user = ["bot"] * len(busy) + ["fan"] * len(idle) + [None] * len(busy)
    text, moment = pa.array(reviews[: len(user)]), pa.array(busy + idle + busy)
    rows = floods(text, moment, pa.array(user))
    assert rows == dict.fromkeys(
        range(BURST + 2), f"review flood: {BURST + 2} reviews by one user within minutes (limit {BURST})"
    )
    assert floods(text, moment.cast(pa.timestamp("us", "UTC")), pa.array(user)) == rows


def test_dates_say_nothing_of_minutes(reviews):
    text, user = pa.array(reviews[:30]), pa.array(["fan"] * 30)
    assert floods(text, pa.array([24 * HOUR] * 30), user) == {}
    assert floods(text, pa.nulls(30, pa.int64()), user) == {}


@pytest.mark.parametrize("texts", [[], [None], ["good"], [None] * 50, [""] * 50, ["!!"] * 50])
def test_nothing_to_tell(texts):
    text = pa.array(texts, pa.string())
    assert floods(text, pa.array(range(len(texts)), pa.int64()), pa.nulls(len(texts), pa.string())) == {}


def clicks(*bursts):
    """Rows of (user, item, label, time) from bursts of (user, item, label, count), a row each half minute."""
    rows = [(u, i, label, n * MINUTE // 2 + 1) for u, i, label, count in bursts for n in range(count)]
    return [pa.array(column) for column in zip(*rows, strict=True)]


def test_one_item_clicked_over_and_over_is_a_flood():
    shown = ("u", "y", 0.0, 3 * BURST)
    rows = click_floods(*clicks(("u", "x", 1.0, BURST + 2), ("u", "y", 1.0, 3), shown, ("v", "x", 1.0, BURST - 1)))
    assert rows == dict.fromkeys(
        range(BURST + 2), f"click flood: {BURST + 2} clicks by one user on one item within minutes (limit {BURST})"
    )


def test_guests_who_share_an_id_are_no_flood():
    assert click_floods(*clicks(*(("guest", item, 1.0, BURST) for item in "xyz"))) == {}
    assert click_floods(*clicks((None, "x", 1.0, 2 * BURST))) == {}


def test_hardly_an_honest_click_is_called_a_flood(demo_folder):
    rows = pq.read_table(demo_folder / "impressions.parquet")
    rows = rows.set_column(rows.column_names.index("timestamp"), "timestamp", pc.multiply(rows["timestamp"], 1_000_000))
    assert reasons(rows, "fields") == {}
    assert reasons(rows.drop_columns(["user_id"]), "fields") == {}
