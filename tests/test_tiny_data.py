"""However few rows there are, and however alike: a verdict, a refusal or a sentence, and never a bug's exit code."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ran import night, run
from sklearn.feature_extraction.text import HashingVectorizer

from augment.base.errors import BadInput, SparringError
from augment.contracts.strategy import listing
from augment.language import encoders
from augment.language.encoders import TextEncoder
from augment.modalities.images import Images
from augment.recipes import loading
from augment.runs import single
from augment.search import search
from augment.testing.data import glimpses, picture
from consumers.category import Category
from consumers.ctr import ClickModel
from consumers.image import Image
from consumers.rankers import RANKERS
from consumers.recommender import Recommender
from consumers.scoring.click_attacks import renamed
from consumers.sentiment import Sentiment
from consumers.sequence import NextItem
from consumers.sequences import MODELS

RECIPE = """
name = "tiny"
output = "{folder}/out"
[sources.rows]
path = "{folder}/rows.parquet"
columns = {columns}
split = {{ by = "{by}", valid = {valid}, test = {test} }}
{source}
[tasks.it]
consumer = "{consumer}"
source = "rows"
encoder = "{encoder}"
options = {{ {options} }}
samples = 6
strategies = {{ {strategies} }}
gates = {{ band = [-9.0, 9.0], min_plausibility = 0.0, min_label_agreement = 0.0 }}
generator = {{ bank = 6, variants = 2, steps = 2, batch = 4, draws = 2 }}
verdict = {{ seeds = 1, draws = 100, clean = ["{clean}"], improve = ["{improve}"], tolerance = 1.0 }}
[nightly]
min_free_gb = 0.0
window_days = 9
"""
FIRST = 1_700_000_000
NIGHT = date(2023, 11, 16)  # of the three days of rows, the second
ALLOWED = {0, 3, 5}
KINDS = ("shirt", "shoe", "bag")
CLASSES = f"\nclasses = {list(KINDS)}"


@dataclass(frozen=True)
class Shape:
    """What rows look like: so many, of so many users, items and values of the one field."""

    rows: int
    users: int = 5
    items: int = 5
    colours: int = 3
    labels: str = "both"  # "one", "rare", or "sorted": the second half of the rows
    words: int = 6

    def table(self, seed: int = 0) -> pa.Table:
        rng, place = np.random.default_rng(seed), np.arange(self.rows)
        words = ["good", "bad", "fits", "small", "red", "blue", "soft", "worn", "love", "hate", "", "😀", "好看"]
        label = {"both": place % 2, "one": place * 0 + 1, "rare": place % 17 == 3, "sorted": place >= self.rows / 2}
        kind = {"both": place % 3, "one": place * 0, "rare": np.where(place == 3, 2, place % 2),
                "sorted": 3 * place // max(1, self.rows)}  # fmt: skip
        return pa.table({
            "user": pa.array([f"u{i % self.users}" for i in place], pa.string()),
            "item": pa.array([f"i{(7 * i + i // self.users) % self.items}" for i in place], pa.string()),
            "colour": pa.array([f"c{v}" for v in rng.integers(self.colours, size=self.rows)], pa.string()),
            "price": rng.random(self.rows),
            "label": label[self.labels].astype(np.int64),
            "kind": pa.array([KINDS[k] for k in kind[self.labels]], pa.string()),
            "picture": pa.array([picture(i % 2 > 0, i) for i in place], pa.binary()),
            "text": pa.array([f"{' '.join(rng.choice(words, self.words))} {i}" for i in place], pa.string()),
            "time": FIRST + place * (3 * 86_400) // max(1, self.rows),
        })  # fmt: skip


TASKS = {
    "ctr": {
        "columns": '{ user = "user", item = "item", timestamp = "time", label = "label", fields = ["colour"], '
        'numbers = ["price"] }',
        "options": 'model = "logistic", epochs = 1, weight_decay = 0.1, attacked_rows = 20',
        "clean": "auc",
        "improve": "auc_masked",
    },
    "sentiment": {
        "columns": '{ text = "text", label = "label", segment = "colour", timestamp = "time" }',
        "options": "C = 1.0, variants = 2, held_out = 1, attacked_rows = 20",
        "clean": "auc",
        "improve": "auc_pool",
    },
    "category": {
        "columns": '{ text = "text", label = "kind", segment = "colour", timestamp = "time" }' + CLASSES,
        "options": "C = 1.0, variants = 1, held_out = 1, attacked_rows = 20",
        "clean": "accuracy",
        "improve": "accuracy_pool",
    },
    "image": {
        "columns": '{ image = "picture", label = "kind", segment = "colour", timestamp = "time" }' + CLASSES,
        "options": "C = 1.0, variants = 1, held_out = 0, attacked_rows = 4",
        "clean": "accuracy",
        "improve": "accuracy_pool",
    },
    "recommender": {
        "columns": '{ user = "user", item = "item", timestamp = "time" }',
        "options": "l2 = 100.0",
        "clean": "ndcg@20",
        "improve": "coverage",
    },
    "sequence": {
        "columns": '{ user = "user", item = "item", timestamp = "time" }',
        "options": "epochs = 1",
        "clean": "ndcg@20",
        "improve": "coverage",
    },
}
MODALITY = {"ctr": "fields", "sentiment": "text", "category": "text", "image": "images", "recommender": "behaviour",
            "sequence": "sequences"}  # fmt: skip
ANONYMOUS = ("sentiment", "category", "image")  # rows of no user
NOT_HERE = {"back-translation", "synonym", "homophones"}  # they need data that is fetched
WAYS = {name: [s["name"] for s in listing() if modality in s["serves"] and s["name"] not in NOT_HERE]
        for name, modality in MODALITY.items()}  # fmt: skip
OPTIONS = {  # beside those of TASKS
    "ctr": [
        'model = "dcnv2", epochs = 1, weight_decay = 0.1, attacked_rows = 20',
        'model = "deepfm", epochs = 1, weight_decay = 0.1, attacked_rows = 20, target_statistics = true',
        'model = "trees", attacked_rows = 20',
    ],
    "sentiment": ['model = "mlp", C = 1.0, epochs = 1, variants = 2, held_out = 1, attacked_rows = 20'],
    "category": ['model = "mlp", C = 1.0, epochs = 1, variants = 1, held_out = 1, attacked_rows = 20'],
    "image": ['model = "mlp", C = 1.0, epochs = 1, variants = 0, held_out = 1, attacked_rows = 4'],
    "recommender": [
        *(f'model = "{model}", epochs = 1, l2 = 1.0' for model in ("mf", "lightgcn")),
        *(f'model = "{model}"' for model in RANKERS if model not in ("mf", "lightgcn")),
    ],
    "sequence": [
        'model = "gru4rec", epochs = 1',
        *(f'model = "{m}"' for m in MODELS if m not in ("sasrec", "gru4rec")),
    ],
}


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Texts are encoded by hashed words, pictures by random filters; one plain baseline for each task."""
    hashing = HashingVectorizer(n_features=24, norm="l2")
    hashed = TextEncoder("hashed", 24, lambda texts: hashing.transform(texts).toarray(), None)
    monkeypatch.setattr(encoders, "_sentence_transformer", lambda *_: hashed)
    monkeypatch.setattr(Images, "encoder_of", classmethod(lambda cls, *given: glimpses()))
    for consumer, plain in ((ClickModel, {"model": "logistic", "epochs": 1, "weight_decay": 0.1}),
                            (Sentiment, {"C": 1.0}), (Category, {"C": 1.0}), (Image, {"C": 1.0}),
                            (Recommender, {"model": "popular"}),
                            (NextItem, {"model": "popular"})):  # fmt: skip
        made = lambda cls, seed, device, plain=plain: {"plain": cls(**plain, seed=seed, device=device)}  # noqa: E731
        monkeypatch.setattr(consumer, "baselines", classmethod(made))


def recipe_of(folder, consumer, rows, strategies="noise = 0.5, gan = 0.5", by="random", source="", **changes):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, folder / "rows.parquet")
    values = {"valid": 0.2, "test": 0.3, "encoder": "minilm", **TASKS[consumer], **changes}
    values |= {"encoder": "efficientnet-lite0"} if consumer == "image" else {}
    text = RECIPE.format(folder=folder, consumer=consumer, strategies=strategies, by=by, source=source, **values)
    return loading.parse(text, "tiny.toml")


def do(how, wanted, folder):
    """The exit code that the command line would end with; what is no known error is raised."""
    try:
        if how == "run":
            done = run(wanted, device="cpu")
        elif how == "generate":
            done = single.generate_only(wanted, "it", folder / "made", device="cpu")
        elif how == "search":
            done = {"found": search.search(wanted, trials=1, seeds=1, device="cpu")}
        else:
            done = night(wanted, as_of=NIGHT, device="cpu")
    except SparringError as error:
        return error.exit_code
    return 3 if done.get("status") == "rejected" else 0


# -- what is too little is said, with how much is needed -------------------------------------------


@pytest.mark.parametrize("how", ["run", "generate"])
@pytest.mark.parametrize(
    ("consumer", "shape", "said"),
    [
        ("recommender", Shape(60, users=1, items=60), "1 of 1 users have 4 different items .* 2 such users are needed"),
        ("recommender", Shape(60, users=60), "0 of .* users have 4 different items"),
        ("recommender", Shape(60, items=1), "0 of 5 users have 4 different items"),
        ("recommender", Shape(0), "has no rows"),
        ("sequence", Shape(60, users=60), "0 of .* users have 4 rows"),
        ("sequence", Shape(0), "has no rows"),
        ("ctr", Shape(12), "of .* labelled training rows have a label .* 5 are needed"),
        ("ctr", Shape(50, labels="rare"), "of .* labelled training rows have a label above 0.5; 5 are needed"),
        ("ctr", Shape(50, labels="one"), "labels of all training rows are on one side of 0.5"),
        ("ctr", Shape(1), "no rows left for the"),
        ("sentiment", Shape(12), "of .* labelled training rows have a label .* 5 are needed"),
        ("sentiment", Shape(50, labels="one"), "labels of all training rows are on one side of 0.5"),
        ("category", Shape(12), "training rows the second largest class has .* 5 are needed"),
        ("category", Shape(50, labels="one"), "labels of all training rows are of one class"),
        ("image", Shape(0), "has no rows"),
        ("image", Shape(12), "training rows the second largest class has .* 5 are needed"),
    ],
)
def test_too_little_is_bad_input_that_says_how_much_is_needed(tmp_path, how, consumer, shape, said):
    def made(wanted):
        if how == "run":
            run(wanted, device="cpu")
        single.generate_only(wanted, "it", tmp_path / "made", device="cpu")

    with pytest.raises(BadInput, match=said):
        made(recipe_of(tmp_path, consumer, shape.table()))


@pytest.mark.parametrize(
    ("consumer", "shape", "by"),
    [
        ("ctr", Shape(50, users=50, items=50), "random"),  # one row per user: none has two training rows
        ("ctr", Shape(50, users=50, items=50), "time"),
        ("ctr", Shape(50, users=1, items=1, colours=1), "random"),  # one user, one item, one category
        ("ctr", Shape(50, labels="sorted"), "random"),
        ("sentiment", Shape(50, words=0), "random"),  # texts of one word, all different
        ("sentiment", Shape(50, colours=1), "time"),  # one segment
        ("category", Shape(50, labels="rare"), "random"),  # a class of one row
        ("category", Shape(50, labels="sorted"), "time"),  # a class of test rows alone
        ("image", Shape(50, labels="rare", colours=1), "random"),
        ("image", Shape(50, labels="sorted"), "time"),
        ("recommender", Shape(50, users=2, items=23), "user_time"),  # two anchors
        ("recommender", Shape(50, users=3, items=5), "random"),
        ("sequence", Shape(50, users=2, items=23), "user_time"),
        ("sequence", Shape(50, users=3, items=5), "random"),
    ],
)
def test_what_is_enough_comes_to_a_verdict(tmp_path, consumer, shape, by):
    assert do("run", recipe_of(tmp_path, consumer, shape.table(), by=by), tmp_path) in (0, 3)


@pytest.mark.parametrize("fields", ['fields = ["colour"]', 'numbers = ["price"]', 'user = "user"'])
def test_one_field_is_enough(tmp_path, fields):
    wanted = recipe_of(tmp_path, "ctr", Shape(50).table(), columns=f'{{ label = "label", {fields} }}')
    assert do("run", wanted, tmp_path) in (0, 3)


def test_few_labels_among_many_rows_are_anchors(tmp_path):
    """At most ten anchors of which any might be unlabelled: enough of each class are among them."""
    wanted = recipe_of(tmp_path, "ctr", Shape(400).table(), source="labelled = 30")
    task = wanted.tasks["it"]
    few = task.model_copy(update={"generator": task.generator.model_copy(update={"anchors": 10})})
    wanted = wanted.model_copy(update={"tasks": {"it": few}})
    assert single.generate_only(wanted, "it", tmp_path / "made", device="cpu")["rows"] > 0


def test_fields_without_nulls_are_renamed_beside_others():
    schema = pa.schema([pa.field(name, pa.string(), nullable=name == "page") for name in ("row_id", "colour", "page")])
    rows = pa.table([["1", "2"], ["red", "red"], ["p", None]], schema=schema)
    assert len(renamed(rows, ["colour", "page"], np.random.default_rng(0))) == 4


# -- any size --------------------------------------------------------------------------------------

shapes = st.builds(
    Shape,
    rows=st.integers(0, 50),
    users=st.sampled_from([1, 2, 3, 7, 50]),
    items=st.sampled_from([1, 2, 5, 11, 50]),
    colours=st.sampled_from([1, 2, 9]),
    labels=st.sampled_from(["both", "both", "sorted", "one", "rare"]),
    words=st.sampled_from([0, 1, 6]),
)


@st.composite
def situations(draw, consumer):
    first, second = draw(st.lists(st.sampled_from(WAYS[consumer]), min_size=2, max_size=2, unique=True))
    valid, test = draw(st.sampled_from([(0.2, 0.3), (0.05, 0.05), (0.4, 0.4)]))
    by = ["random", "time"] + ["user_time"] * (consumer not in ANONYMOUS)
    changes = {"strategies": f"{first} = 0.5, {second} = 0.5", "valid": valid, "test": test,
               "by": draw(st.sampled_from(by))}  # fmt: skip
    changes["options"] = draw(st.sampled_from([TASKS[consumer]["options"], *OPTIONS[consumer]]))
    changes["encoder"] = draw(st.sampled_from(["minilm", "minilm+ngrams"]))
    if consumer in ("ctr", *ANONYMOUS) and draw(st.integers(0, 3)) == 0:
        changes["source"] = f"labelled = {draw(st.integers(1, 14))}"
    return draw(shapes), changes


@pytest.mark.slow
@pytest.mark.parametrize(("how", "examples"), [("generate", 90), ("run", 40), ("nightly", 10), ("search", 6)])
@pytest.mark.parametrize("consumer", TASKS)
def test_no_size_is_a_bug(tmp_path_factory, consumer, how, examples):
    if how == "search":
        pytest.importorskip("optuna")

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(situation=situations(consumer))
    def tried(situation):
        shape, changes = situation
        folder = tmp_path_factory.mktemp("tiny")
        wanted = recipe_of(folder, consumer, shape.table(), **changes)
        assert do(how, wanted, folder) in ALLOWED

    tried()
