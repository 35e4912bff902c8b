"""A check: a day with far more rows than usual, because somebody imported its log twice.

Entry point, group `sparring.checks`: `many_rows = check:many_rows`. Recipes then may set `checks.many_rows.limit`
under `[nightly]`.
"""

import numpy as np

from augment.contracts.check import check


@check("many_rows", limit=1.8, severity="error", what="rows of the day, over the window's median day")
def many_rows(night):
    usual = np.median([rows for rows in night.window_rows if rows] or [night.day_rows])
    return night.day_rows / max(1, usual), f"{night.day_rows:,} rows, usually {usual:,.0f}"


if __name__ == "__main__":
    from dataclasses import replace

    from augment.testing.checks import ORDINARY

    for rows in (500, 1000):
        failed = many_rows.failure(*many_rows.figure(replace(ORDINARY, day_rows=rows)))
        print(f"a day of {rows} rows: {failed['reason'] if failed else 'passes'}")
