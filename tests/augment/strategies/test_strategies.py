"""Every strategy on a small shop of each modality, through the gates."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional as F

from augment.base.errors import UsageError
from augment.contracts.strategy import Workshop, build, check, listing, strategies
from augment.contracts.values import Anchors
from augment.gates.keeper import Gatekeeper
from augment.gates.labels import LabelValidity
from augment.gates.rankings import RankingValidity
from augment.generation.maker import Maker, Tally
from augment.generation.studio import Studio, build_bank
from augment.language.encoders import TextEncoder
from augment.modalities import behaviour
from augment.modalities.behaviour import Behaviour
from augment.modalities.clips import Clips
from augment.modalities.fields import Fields
from augment.modalities.images import Images
from augment.modalities.sequences import Sequences
from augment.modalities.text import Text
from augment.recipes.schema import Gates, Generator
from augment.strategies.negatives import Negatives
from augment.testing.data import glimpses, heard, picture, tone

GOOD, BAD = ["great", "lovely", "perfect", "happy", "soft"], ["awful", "broken", "terrible", "ugly", "rough"]
PLAIN = [
    "the",
    "dress",
    "shirt",
    "colour",
    "fabric",
    "waist",
    "size",
    "arrived",
    "today",
    "and",
    "very",
    "really",
    "quite",
]
TYPED = {"synonym", "back-translation", "homophones"}  # need engines and data: they have tests of their own


class Linear:
    """The victim: the logit is a fixed direction, or one for each class; for behaviour, vectors score items."""

    def __init__(self, weight, items=None):
        self.dim, self.weight, self.items = len(weight), torch.from_numpy(weight), items

    def loss(self, embedding, condition):
        if self.items is not None:
            items = torch.from_numpy(self.items)
            scores = embedding @ items.T
            target = scores.gather(1, condition.label.long()[:, None])[:, 0]
            return F.softplus(scores.topk(5, dim=1).values[:, -1] - target)
        logit = embedding @ self.weight
        if logit.ndim > 1:
            return F.cross_entropy(logit, condition.label, reduction="none")
        return condition.label * F.softplus(-logit) + (1 - condition.label) * F.softplus(logit)


class Shop:
    def __init__(self, modality, rows, label, victim, tmp_path):
        rng = np.random.default_rng(1)
        embedding = modality.encode(rows)
        validity = (
            modality.validity(rows, embedding, Gates(), 0) if label is None else LabelValidity(embedding, label, 0)
        )
        anchors = Anchors(rows, embedding, validity.label, modality.describe(rows, validity.label, rng), "cpu")
        bank = build_bank(anchors, modality, 60, 3, rng)
        gates = Gates(band=(-30, 30), min_label_agreement=0.1, min_plausibility=0.01)
        self.keeper = Gatekeeper(anchors, bank, validity, victim, gates)
        self.maker = Maker("task", "run", "all", (), 1.0, False, modality, anchors, validity, self.keeper)
        self.workshop = Workshop(modality, anchors, bank, victim, (-30, 30),
                                 Generator(steps=10, batch=32, draws=4), tmp_path, seed=0)  # fmt: skip
        self.modality, self.anchors, self.bank = modality, anchors, bank

    def samples(self, name, wanted=30, **options):
        tally = Tally()
        made = list(self.maker.samples(name, build(name, self.workshop, options), wanted, 5, tally))
        return (pa.concat_tables(made) if made else None), tally


def text_shop(tmp_path):
    rng = np.random.default_rng(0)
    label = (np.arange(200) % 3 > 0).astype(np.float32)
    texts = [" ".join(rng.permutation([*rng.choice(PLAIN, 8), *rng.choice(GOOD if y else BAD, 3)])) for y in label]
    projection = rng.standard_normal((997, 16)).astype(np.float32)

    def encode(batch):
        """Hashed character trigrams, projected: near texts have near vectors."""
        out = np.zeros((len(batch), 16), np.float32)
        for i, text in enumerate(batch):
            for j in range(len(text) - 2):
                code = sum(ord(c) * 31**k for k, c in enumerate(text[j : j + 3]))
                out[i] += projection[code % 997]
        return out

    modality = Text(TextEncoder("trigrams", 16, encode, None))
    rows = modality.attach(pa.table({"row_id": [f"r{i}" for i in range(200)], "text": texts}))
    known = np.where(np.arange(200) < 120, label, np.nan)
    return Shop(modality, rows, known, Linear(rng.standard_normal(16).astype(np.float32)), tmp_path)


def fields_shop(tmp_path):
    rng = np.random.default_rng(0)
    names = {"colour": list("abcdef"), "size": list("uvwxyz"), "brand": [f"b{i}" for i in range(20)]}
    tables = {n: (["", *v], rng.standard_normal((len(v) + 1, 4)).astype(np.float32)) for n, v in names.items()}
    rows = pa.table({"row_id": [f"r{i}" for i in range(300)]} | {n: rng.choice(v, 300) for n, v in names.items()})
    modality = Fields(tables, rows)
    weight = rng.standard_normal(12).astype(np.float32)
    label = (modality.encode(rows) @ weight > 0.5).astype(np.float32)
    known = np.where(np.arange(300) < 200, label, np.nan)
    return Shop(modality, rows, known, Linear(weight), tmp_path)


def behaviour_shop(tmp_path, kind=Behaviour):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 8)).astype(np.float32)
    items = [f"i{n}" for n in range(60)]
    users, history = [], []
    for user in range(80):
        taste = vectors @ rng.standard_normal(8)
        for item in np.argsort(-taste - rng.gumbel(size=60))[:12]:
            users.append(f"u{user}")
            history.append(items[item])
    train = pa.table({"user_id": users, "item_id": history, "timestamp": np.arange(len(users))})
    modality = kind({"item_id": (items, vectors)}, train)
    rows = modality.anchors(train)
    return Shop(modality, rows, None, Linear(vectors[0], vectors), tmp_path)


def sequences_shop(tmp_path):
    return behaviour_shop(tmp_path, Sequences)


def images_shop(tmp_path):
    return files_shop(tmp_path, Images(glimpses()), picture)


def clips_shop(tmp_path):
    return files_shop(tmp_path, Clips(heard()), tone)


def files_shop(tmp_path, modality, make, count=90):
    """Of three classes, a third of the rows without a label."""
    files = pa.array([make(n % 3 > 0, n) for n in range(count)], pa.binary())
    rows = modality.attach(pa.table({"row_id": [f"r{n}" for n in range(count)], modality.content: files}))
    label = np.eye(3, dtype=np.float32)[(np.arange(count) % 3 > 0) * (1 + (np.arange(count) % 4 > 0))]
    label[60:] = np.nan
    weight = np.random.default_rng(0).standard_normal((modality.dim, 3)).astype(np.float32)
    return Shop(modality, rows, label, Linear(weight), tmp_path)


SHOPS = {"text": text_shop, "images": images_shop, "clips": clips_shop, "fields": fields_shop,
         "behaviour": behaviour_shop, "sequences": sequences_shop}  # fmt: skip
CASES = [(s["name"], modality) for s in listing() for modality in s["serves"] if s["name"] not in TYPED]


@pytest.mark.parametrize(("name", "modality"), CASES)
def test_every_strategy_makes_samples_that_pass_the_gates_and_a_seed_repeats_them(name, modality, tmp_path):
    table, tally = SHOPS[modality](tmp_path).samples(name)
    assert 1 <= len(table) == tally.kept <= 30
    assert set(table["strategy"].to_pylist()) == {name}
    vectors = np.stack(table["embedding"].to_pylist())
    assert np.isfinite(vectors).all()
    assert len(np.unique(vectors.round(5), axis=0)) > 0.6 * len(vectors)
    again, _ = SHOPS[modality](tmp_path).samples(name)
    assert table.equals(again)


@pytest.mark.parametrize("name", ["fgm", "pgd", "pgd-linf", "freelb"])
def test_gradient_samples_are_harder_than_noise_of_the_same_length(name, tmp_path):
    shop = text_shop(tmp_path)
    chosen = np.arange(100)
    hard = build(name, shop.workshop, {}).propose(chosen, np.random.default_rng(0))
    soft = build("gaussian", shop.workshop, {}).propose(chosen, np.random.default_rng(0))
    loss = [shop.keeper.hardness(c.anchor, c.embedding).mean() for c in (hard, soft)]
    assert loss[0] > loss[1] + 0.02


@pytest.mark.parametrize("name", ["gan", "pgd", "gaussian"])
def test_strength_is_how_far_samples_move(name, tmp_path):
    shop = text_shop(tmp_path)
    moved = []
    for strength in (0.5, 1.5):
        found = build(name, shop.workshop, {"strength": strength}).propose(np.arange(50), np.random.default_rng(0))
        moved.append(np.linalg.norm(found.embedding - shop.anchors.embedding[found.anchor], axis=1).mean())
    assert moved[1] > 1.5 * moved[0]


def test_mixed_rows_have_mixed_labels(tmp_path):
    table, _ = fields_shop(tmp_path).samples("mixup", 100)
    label = np.array(table["label"].to_pylist())
    assert ((label > 0.02) & (label < 0.98)).sum() > 10


def test_mixed_reviews_are_words_of_two_in_a_row_with_a_label_between_theirs(tmp_path):
    shop = text_shop(tmp_path)
    chosen = np.arange(100)
    found = build("mixup", shop.workshop, {"alpha": 2.0}).propose(chosen, np.random.default_rng(0))
    texts, label = shop.anchors.rows["text"].to_pylist(), shop.anchors.label
    assert ((found.label > 0.05) & (found.label < 0.95)).sum() > 30
    for i, made in enumerate(found.rows["text"].to_pylist()):
        mine = max(n for n in range(len(made)) if made[:n] in texts[found.anchor[i]])
        others = [j for j, text in enumerate(texts) if made[mine:].strip() in text]
        share = mine / len(made)
        mixed = [share * label[found.anchor[i]] + (1 - share) * label[j] for j in others]
        assert min(abs(found.label[i] - one) for one in mixed) < 0.15


@pytest.mark.parametrize("name", ["smote", "adasyn"])
def test_oversampling_makes_minority_rows_alone(name, tmp_path):
    shop = fields_shop(tmp_path)
    minority = float(np.mean(shop.anchors.label > 0.5) < 0.5)
    table, _ = shop.samples(name)
    assert set(np.round(table["label"].to_pylist())) == {minority}


def test_self_training_takes_unlabelled_rows_as_they_are(tmp_path):
    shop = text_shop(tmp_path)
    table, _ = shop.samples("self-training", 60)
    unlabelled = {f"r{i}" for i in range(120, 200)}
    assert set(table["anchor_id"].to_pylist()) <= unlabelled
    assert max(table["novelty"].to_pylist()) < 1e-6
    assert all(0 < y < 1 for y in table["label"].to_pylist())
    sure, _ = shop.samples("self-training", 60, confidence=0.45)
    assert len(sure) < len(table)


@pytest.mark.parametrize("name", [n for n, s in strategies().items() if issubclass(s, Negatives)])
def test_no_sampler_draws_a_users_own_items(name, tmp_path):
    table, _ = behaviour_shop(tmp_path).samples(name, 60)
    for row in table["decoded"].to_pylist():
        assert not set(row["negatives"]) & set(row["targets"])
    assert sum(len(row["negatives"]) for row in table["decoded"].to_pylist()) > len(table)


def test_harder_samplers_draw_nearer_negatives(tmp_path):
    shop = behaviour_shop(tmp_path)

    def nearness(name):
        found = build(name, shop.workshop, {}).propose(np.arange(80), np.random.default_rng(0))
        items, offsets = shop.modality.codes(found.rows["negatives"])
        owner = np.repeat(np.arange(len(found)), np.diff(offsets))
        return np.einsum("nd,nd->n", found.embedding[owner], shop.modality.vectors[items]).mean()

    assert nearness("dns") > nearness("dns-mn") > nearness("uniform-negatives")


def test_hard_negatives_are_drawn_without_a_copy_of_every_drawn_vector(tmp_path):
    shop = behaviour_shop(tmp_path)
    strategy = build("dns", shop.workshop, {"pool": 256})
    tracemalloc.start()
    strategy.propose(np.arange(80), np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80 * shop.modality.draws * shop.modality.negatives * 256 * shop.modality.vectors[0].nbytes


def test_pseudo_interactions_add_tail_items_to_the_targets_alone(tmp_path):
    shop = behaviour_shop(tmp_path)
    copy = shop.modality.perturb(shop.anchors.rows, np.random.default_rng(0), "pseudo-interactions")
    for row, anchor in zip(copy.to_pylist(), shop.anchors.rows.to_pylist(), strict=True):
        assert set(anchor["targets"]) <= set(row["targets"])
        assert set(row["items"]) <= set(anchor["items"])
    assert sum(map(len, copy["targets"].to_pylist())) > sum(map(len, shop.anchors.rows["targets"].to_pylist()))


def test_another_order_is_the_same_user_to_a_mean_of_vectors(tmp_path):
    shop = behaviour_shop(tmp_path)
    copy = shop.modality.perturb(shop.anchors.rows, np.random.default_rng(0), "item-reorder")
    assert copy["items"].to_pylist() != shop.anchors.rows["items"].to_pylist()
    np.testing.assert_allclose(shop.modality.encode(copy), shop.anchors.embedding, atol=1e-5)


def test_a_user_gives_many_orders_each_with_an_id_of_its_own(tmp_path):
    table, _ = behaviour_shop(tmp_path).samples("item-reorder", 200)
    items = [tuple(row["items"]) for row in table["decoded"].to_pylist()]
    assert len(set(items)) == len(set(table["sample_id"].to_pylist())) == 200
    assert len(set(table["anchor_id"].to_pylist())) <= 80


def test_without_a_share_no_negative_is_filtered(tmp_path):
    shop = behaviour_shop(tmp_path)
    rows = build("uniform-negatives", shop.workshop, {}).propose(np.arange(20), np.random.default_rng(0)).rows
    anchors = np.repeat(np.arange(20), shop.modality.draws)
    assert RankingValidity(shop.anchors.rows, 0.0, 0).filter(anchors, rows) == (rows, 0)
    assert RankingValidity(shop.anchors.rows, 0.3, 0).filter(anchors, rows)[1] > 0


def test_samples_are_filtered_again_without_fitting_again(tmp_path, monkeypatch):
    shop = behaviour_shop(tmp_path)
    samples, _ = shop.samples("uniform-negatives")
    here = Studio.__new__(Studio)
    here.modality, here.anchors, here._seed, here._filters = shop.modality, shop.anchors, 0, {}
    here._task = SimpleNamespace(gates=Gates())
    fitted = []
    monkeypatch.setattr(behaviour, "RankingValidity", lambda *given: fitted.append(given) or RankingValidity(*given))

    def negatives(share):
        return sum(len(row["negatives"]) for row in here.refiltered(samples, share)["decoded"].to_pylist())

    assert negatives(0.0) > negatives(0.1) > negatives(0.3)
    assert negatives(0.1) > negatives(0.3)
    assert len(fitted) == 2


def test_check_says_what_is_wrong_with_a_recipes_strategy():
    with pytest.raises(UsageError, match="did you mean 'noise'"):
        check("nois", "text", {}, "tasks.a")
    with pytest.raises(UsageError, match="'typos' serves text, not fields"):
        check("typos", "fields", {}, "tasks.a")
    with pytest.raises(UsageError, match="did you mean 'strength'"):
        check("pgd", "fields", {"strenth": 1.0}, "tasks.a")
    check("pgd", "fields", {"strength": 1.0}, "tasks.a")


@pytest.mark.parametrize(
    ("name", "modality", "options", "said"),
    [
        ("mixup", "fields", {"alpha": 0}, "alpha = 0 must be above 0"),
        ("dns", "behaviour", {"pool": 0}, "pool = 0 must be above 0"),
        ("dns", "behaviour", {"pool": 2.5}, "pool = 2.5 must be a whole number"),
        ("pgd", "text", {"strength": "x"}, "strength = 'x' must be a number"),
        ("pgd", "text", {"strength": True}, "strength = True must be a number"),
        ("pgd", "text", {"strength": -1}, "strength = -1 must be above 0"),
        ("pgd", "text", {"strength": 0}, "strength = 0 must be above 0"),
        ("gan", "text", {"strength": -0.5}, "strength = -0.5 must be at least 0"),
        ("gan", "text", {"strength": float("nan")}, "strength = nan must be at least 0"),
        ("self-training", "text", {"confidence": "x"}, "confidence = 'x' must be a number"),
        ("self-training", "text", {"confidence": 0.6}, "confidence = 0.6 must be at least 0 and at most 0.5"),
        ("synonym", "text", {"rate": 2.0}, "rate = 2.0 must be above 0 and at most 1"),
        ("synonym", "text", {"similarity": 0}, "similarity = 0 must be above 0 and at most 1"),
        ("back-translation", "text", {"engine": 1}, "engine = 1 must be text"),
        ("noise", "fields", {"kind": "typos"}, "unknown kind 'typos'; known: masking, swaps"),
    ],
)
def test_options_of_the_wrong_type_or_range_are_said_before_any_work(name, modality, options, said):
    with pytest.raises(UsageError, match=f"tasks.a.strategy_options.{name}: {said}"):
        check(name, modality, options, "tasks.a")


def test_options_at_their_limits_are_taken():
    check("gan", "text", {"strength": 0}, "tasks.a")
    check("self-training", "text", {"confidence": 0.0}, "tasks.a")
    check("pgd", "text", {"strength": 2}, "tasks.a")
    check("noise", "fields", {"kind": "masking"}, "tasks.a")


def test_homophones_and_synonyms_without_their_data_are_said_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setenv("SPARRING_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="'homophones' is not available here: sparring data homophones"):
        check("homophones", "text", {}, "tasks.a")
    with pytest.raises(UsageError, match="'noise' is not available here: sparring data homophones"):
        check("noise", "text", {"kind": "homophones"}, "tasks.a")
    check("noise", "text", {}, "tasks.a")
    assert not {s["name"]: s for s in listing()}["homophones"]["available"]
    with pytest.raises(UsageError, match="'cilin': sparring data cilin"):
        check("synonym", "text", {"source": "cilin"}, "tasks.a")
    (tmp_path / "own.txt").write_text("good,great")
    check("synonym", "text", {"source": str(tmp_path / "own.txt")}, "tasks.a")


def test_the_list_names_options_and_what_is_missing(monkeypatch):
    found = {s["name"]: s for s in listing()}
    assert found["gan"]["options"] == {"strength": 1.0, "offers": 16}
    assert found["pgd"]["serves"] == ["behaviour", "clips", "fields", "images", "sequences", "text"]
    monkeypatch.setattr("augment.strategies.mixing.find_spec", lambda name: None)
    assert "pip install 'sparring[mixing]'" in next(s for s in listing() if s["name"] == "smote")["missing"]
    with pytest.raises(UsageError, match="not available here: pip install"):
        check("smote", "fields", {}, "tasks.a")
