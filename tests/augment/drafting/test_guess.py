"""What names and texts tell without being asked."""

import pytest

from augment.drafting.guess import is_mutable, script_of


def test_names_of_mutable_fields():
    free = ("hour", "weekday", "banner_pos", "deviceType", "Price", "app_platform", "day-of-week")
    fixed = (
        "device_id",
        "item_price",
        "adPosition",
        "user_hour",
        "brand",
        "gender",
        "C14",
        "category",
        "first_time",
        "",
    )
    assert [name for name in (*free, *fixed) if is_mutable(name)] == list(free)


@pytest.mark.parametrize(
    ("texts", "script"),
    [
        (["The colour is off", "ok 很"], "latin"),
        (["质量很好，物流快", "不错 good"], "chinese"),
        (["質の良いコートでした、また買います"], "other"),
        (["Очень хорошее пальто"], "other"),
        (["สินค้าดีมาก"], "other"),
        (["123 !!", ""], "latin"),
    ],
)
def test_scripts(texts, script):
    assert script_of(texts) == script
