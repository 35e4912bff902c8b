"""`sparring init` on a log, and a file of what its users declare of themselves."""

import pyarrow as pa
import pyarrow.csv as pc
import pytest

from augment.base.errors import BadInput, UsageError
from augment.drafting.draft import write_recipe
from augment.recipes import loading

ROWS, USERS = 300, 50


def shop(folder, key="user_id", timed=True, **more):
    """A log of 30 users, and attributes of these and of 20 who have done nothing yet."""
    log = {"user_id": [f"u{i % 30}" for i in range(ROWS)], "item_id": [f"i{i * 7 % 20}" for i in range(ROWS)]}
    if timed:
        log["timestamp"] = [1_700_000_000 + 3600 * i for i in range(ROWS)]
    pc.write_csv(pa.table(log), folder / "log.csv")
    declared = {key: [f"u{i}" for i in range(USERS)], "gender": ["f", "m"] * (USERS // 2)}
    declared |= {"height": [1.5 + i / 90 for i in range(USERS)], "signup_date": ["2024-01-01", "2024-02-01"] * 25}
    pc.write_csv(pa.table(declared | more), folder / "users.csv")
    return [folder / "log.csv", folder / "users.csv"]


def drafted(files):
    return loading.parse(write_recipe(files), "drafted")


@pytest.mark.parametrize("key", ["user_id", "Customer ID", "id"])
def test_people_beside_a_log_serve_users_whom_nobody_has_met(tmp_path, key):
    made = drafted(shop(tmp_path, key))
    assert list(made.tasks) == ["log"]
    task, columns = made.tasks["log"], made.sources["users"].columns
    assert (task.new_users.attributes, task.products, made.sources["log"].split.by) == ("users", None, "time")
    assert (columns.user, columns.fields, columns.numbers) == (key, ["gender"], ["height"])
    assert "ndcg_unmet_users@20" in task.verdict.improve


def test_the_order_of_the_files_does_not_matter(tmp_path):
    assert drafted(shop(tmp_path)[::-1]).tasks["log"].new_users.attributes == "users"


def test_a_catalogue_and_people_stand_beside_one_log(tmp_path):
    files = shop(tmp_path, "id")
    items = {"id": [f"i{i}" for i in range(25)], "title": [f"a thing of the kind {i % 5}" for i in range(25)]}
    pc.write_csv(pa.table(items | {"brand": ["a", "b", "c", "d", "e"] * 5}), tmp_path / "things.csv")
    made = drafted([*files, tmp_path / "things.csv"])
    task = made.tasks["log"]
    assert (task.products, task.new_users.attributes, list(made.tasks)) == ("things", "users", ["log"])
    assert {"recall_new@20", "ndcg_unmet_users@20"} <= set(task.verdict.improve)


def test_without_times_nothing_says_who_came_late(tmp_path):
    made = drafted(shop(tmp_path, timed=False))
    assert (made.tasks["log"].new_users.attributes, made.sources["log"].split.by) == ("users", "random")


def test_what_users_did_or_wrote_is_a_task_and_no_attribute(tmp_path):
    files = shop(tmp_path, clicked=[i % 2 for i in range(USERS)])
    assert {name: task.consumer for name, task in drafted(files).tasks.items()} == {
        "log": "recommender",
        "users": "ctr",
    }
    files = shop(tmp_path, review=[f"a text of number {i}, long enough" for i in range(USERS)], rating=[1, 5] * 25)
    assert drafted(files).tasks["users"].consumer == "sentiment"


def test_people_without_attributes_or_twice_are_none(tmp_path):
    log, users = shop(tmp_path)
    users.write_text("user_id,email\n" + "\n".join(f"u{i},a{i}@b.c" for i in range(USERS)), "utf-8")
    with pytest.raises(UsageError, match="fit no task"):
        write_recipe([log, users])
    users.write_text("user_id,gender\n" + "\n".join(f"u{i % 5},f" for i in range(USERS)), "utf-8")
    with pytest.raises((UsageError, BadInput)):
        write_recipe([log, users])
