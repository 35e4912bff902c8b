"""Where shards go is looked at before any work is done."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ran import recipe_of

from augment.base.errors import UsageError
from augment.runs.single import generate_only

RECIPE = """
name = "shop"
output = "{folder}/out"
sources.logs = {{ path = "{folder}/logs.parquet", columns = {{ user = "u", item = "i" }} }}
[tasks.rec]
consumer = "recommender"
source = "logs"
samples = 10
strategies = {{ item-drop = 1 }}
verdict = {{ clean = ["ndcg@20"], improve = ["coverage"] }}
"""


@pytest.mark.parametrize("place", ["file", "file/below", "full"])
def test_a_file_in_the_place_of_a_folder_is_a_wrong_name_and_no_bug(tmp_path, place):
    pq.write_table(pa.table({"u": ["a", "b"], "i": ["c", "d"]}), tmp_path / "logs.parquet")
    (tmp_path / "file").write_text("mine", "utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").touch()
    with pytest.raises(UsageError, match=r"choose (another|a new) folder"):
        generate_only(recipe_of(RECIPE.format(folder=tmp_path)), "rec", tmp_path / place, device="cpu")
    assert (tmp_path / "file").read_text("utf-8") == "mine"
