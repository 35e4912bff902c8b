"""A shop's history for tests of nights: real impressions, dealt out to days, a file each."""

from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augment.recipes import loading

FIRST = date(2026, 3, 1)
RECIPE = """
name = "nights"
seed = 3
output = "{output}"
[sources.impressions]
path = "{data}/*.parquet"
columns = {{ user = "user_id", item = "item_id", timestamp = "timestamp", label = "label", fields = [
    "gender", "genre"] }}
split = {{ by = "random", valid = 0.2, test = 0.3 }}
[tasks.ctr]
consumer = "ctr"
source = "impressions"
options = {{ epochs = 2, weight_decay = 0.03, attacked_rows = 100 }}
samples = 300
strategies = {{ gan = 0.5, masking = 0.5 }}
gates = {{ band = [-4, 4] }}
generator = {{ anchors = 500, bank = 60, steps = 10, batch = 32, draws = 2 }}
verdict = {{ seeds = 1, draws = 100, clean = ["auc"], improve = ["auc_masked"], tolerance = {tolerance} }}
[nightly]
window_days = 6
keep_days = 3
refit_days = 3
refit_drift = 1.0
min_free_gb = 0.0
"""


def day(number):
    return FIRST + timedelta(days=number)


def rows_of(impressions, number, count=500):
    """`count` real impressions, whose times are moved into the day."""
    part = impressions.slice(number * count, count)
    start = datetime(*day(number).timetuple()[:3], tzinfo=timezone.utc).timestamp()
    times = start + np.linspace(0, 86_000, len(part))
    place = part.column_names.index("timestamp")
    return part.set_column(place, "timestamp", pa.array(times.astype(np.int64)))


def write(folder, impressions, number, count=500):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{day(number)}.parquet"
    pq.write_table(rows_of(impressions, number, count), path)
    return path


def nightly_recipe(data, output, tolerance=1.0, **replaced):
    text = RECIPE.format(output=output, data=data, tolerance=tolerance)
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return loading.parse(text, "nights.toml")
