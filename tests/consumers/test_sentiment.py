import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

from augment.base.errors import UsageError
from augment.contracts.sample import sample_schema
from consumers import Sentiment
from gan.victim import Condition


def embedded(vectors):
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), vectors.shape[1])


@pytest.fixture(scope="module")
def rows():
    """Real measurements in the place of sentence embeddings: the model reads vectors and labels only."""
    data = load_breast_cancer()
    vectors = StandardScaler().fit_transform(data.data)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = np.random.default_rng(0).permutation(len(vectors))
    table = pa.table(
        {
            "row_id": [str(i) for i in order],
            "text": [f"a text that is number {i}" for i in order],
            "segment": [["a", "b", "c", "d", "e"][i % 5] for i in order],
            "label": pa.array(data.target[order], pa.float32()),
            "embedding": embedded(vectors[order]),
        }
    )
    return table.slice(0, 200), table.slice(200, 150), table.slice(350)


def mix_of(vectors, label, weight=1.0):
    schema = sample_schema(pa.struct([("text", pa.string())]))
    count = len(vectors)
    values = {
        "embedding": pa.array(list(vectors.astype(np.float32)), pa.list_(pa.float32())),
        "label": pa.array(label, pa.float32()),
        "weight": pa.array([weight] * count, pa.float32()),
    }
    return pa.table({f.name: values.get(f.name, pa.nulls(count, f.type)) for f in schema}, schema)


@pytest.mark.parametrize("model", ["logistic", "mlp"])
def test_both_models_learn_and_measure_everything_they_promise(rows, model):
    train, valid, test = rows
    fitted = Sentiment(model=model).fit(train, valid)
    attacked = {"pool": test, "unseen": test, "respelt": test}
    measures = fitted.evaluate(test, attacked)
    assert measures["auc"].value() > 0.97
    assert measures["auc_pool"].value() == pytest.approx(measures["auc"].value())  # one variant: the text itself
    assert set(measures) == {m for group in Sentiment.metrics.values() for m in group}


def test_worst_of_pool_takes_the_variant_the_model_likes_least(rows):
    train, valid, test = rows
    model = Sentiment().fit(train, valid)
    flipped = test.set_column(
        test.column_names.index("embedding"), "embedding", embedded(-np.stack(test["embedding"].to_pylist()))
    )
    pool = pa.concat_tables([test, flipped])
    assert model.evaluate(test, {"pool": pool})["auc_pool"].value() < 0.1


def test_settings_are_chosen_on_validation_rows_alone(rows):
    train, valid, test = rows
    chosen = Sentiment().fit(train, valid)
    other = Sentiment().fit(
        train, valid.set_column(valid.column_names.index("label"), "label", pa.array(1 - valid["label"].to_numpy()))
    )
    assert not np.allclose(chosen.predict(test), other.predict(test))


def test_a_soft_label_is_two_weighted_rows(rows):
    train, valid, test = rows
    vectors = np.stack(train["embedding"].to_pylist())
    soft = Sentiment(C=1.0).fit(train, valid, mix_of(vectors, np.full(200, 0.25)))
    ones, zeros = mix_of(vectors, np.ones(200), 0.25), mix_of(vectors, np.zeros(200), 0.75)
    hard = Sentiment(C=1.0).fit(train, valid, pa.concat_tables([ones, zeros]))
    np.testing.assert_allclose(soft.predict(test), hard.predict(test), atol=2e-3)


@pytest.mark.parametrize("model", ["logistic", "mlp"])
def test_a_saved_model_predicts_the_same(rows, model, tmp_path):
    train, valid, test = rows
    fitted = Sentiment(model=model).fit(train, valid)
    fitted.save(tmp_path)
    loaded = Sentiment.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(test), fitted.predict(test))
    assert loaded.threshold_ == fitted.threshold_


def test_attacks_keep_labels_and_are_repeatable(rows):
    _, _, test = rows
    model = Sentiment(variants=3, attacked_rows=20)
    pools, again = model.attacks(test, 1), model.attacks(test, 1)
    for name, pool in pools.items():
        assert pool.equals(again[name])
        assert len(pool) == 20 * (3 if name == "pool" else 4)
        assert len(set(pool["row_id"].to_pylist())) == 20
    known = set(test["text"].to_pylist())
    assert not set(pools["pool"]["text"].to_pylist()) & set(pools["unseen"]["text"].to_pylist()) - known


@pytest.mark.parametrize("loss", ["cross-entropy", "l2", "hinge"])
@pytest.mark.parametrize("adversarial", ["", "fgm", "vat+mixup"])
def test_every_loss_learns_plainly_and_adversarially(rows, loss, adversarial):
    train, valid, test = rows
    model = Sentiment(loss=loss, adversarial=adversarial, C=1.0, epochs=60).fit(train, valid)
    assert model.evaluate(test, {})["auc"].value() > 0.95
    again = Sentiment(loss=loss, adversarial=adversarial, C=1.0, epochs=60).fit(train, valid)
    np.testing.assert_array_equal(model.predict(test), again.predict(test))


@pytest.mark.parametrize("family", ["fgm", "pgd", "freelb", "vat"])
def test_gradient_training_withstands_gradients(rows, family):
    train, valid, test = rows
    options = {"model": "mlp", "C": 1.0, "epochs": 60}
    attacked = {"pool": test, "unseen": test, "respelt": test}
    plain = Sentiment(**options).fit(train, valid).evaluate(test, attacked)
    hard = Sentiment(adversarial=family, radius=0.3, adv_share=1.0, **options).fit(train, valid)
    assert hard.evaluate(test, attacked)["auc_apgd"].value() > plain["auc_apgd"].value()


def test_field_families_are_refused_where_there_are_no_fields(rows):
    with pytest.raises(UsageError, match="'masking' changes categorical fields"):
        Sentiment(adversarial="masking").fit(rows[0], rows[1])


def test_an_unknown_model_gets_a_suggestion():
    with pytest.raises(UsageError, match="sentiment: unknown model 'mpl'; did you mean 'mlp'"):
        Sentiment(model="mpl")


def test_the_victim_is_differentiable_and_centred_on_the_prior(rows):
    train, valid, test = rows
    model = Sentiment().fit(train, valid)
    vectors = torch.tensor(np.stack(test["embedding"].to_pylist()), dtype=torch.float32, requires_grad=True)
    condition = Condition(torch.ones(len(test)), torch.zeros(len(test), dtype=torch.long), torch.zeros(len(test), 2))
    loss = model.as_victim().loss(vectors, condition)
    logit = -torch.log(torch.expm1(loss)) + model.prior_
    np.testing.assert_allclose(torch.sigmoid(logit).detach(), model.predict(test), atol=1e-4)
    loss.sum().backward()
    assert vectors.grad.abs().sum() > 0


# -- logistic regression on n-grams ----------------------------------------------------------------

GOOD, BAD = ("lovely", "soft", "fits", "great", "beautiful"), ("broke", "cheap", "returned", "itchy", "awful")


def review(rng, label):
    """A few plain words, and one that tells: rarely the wrong one."""
    words = ["the", "dress", "fabric", "colour", "size", "arrived", "on", "time"]
    tells = (GOOD if label else BAD) if rng.random() < 0.9 else (BAD if label else GOOD)
    return " ".join([*rng.choice(words, 6), str(rng.choice(tells)), *rng.choice(words, 3)])


@pytest.fixture(scope="module")
def reviews():
    """Texts tell their labels, embeddings tell nothing."""
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=400)
    table = pa.table(
        {
            "row_id": [str(i) for i in range(400)],
            "text": [review(rng, y) for y in label],
            "label": pa.array(label, pa.float32()),
            "embedding": embedded(rng.standard_normal((400, 8))),
        }
    )
    return table.slice(0, 150), table.slice(150, 100), table.slice(250)


def test_ngrams_are_read_from_the_text(reviews, tmp_path):
    train, valid, test = reviews
    model = Sentiment(model="ngrams", attacked_rows=80).fit(train, valid)
    attacked = model.attacks(test, 0)
    measures = model.evaluate(test, attacked)
    assert measures["auc"].value() > 0.85 > Sentiment().fit(train, valid).evaluate(test, {})["auc"].value()
    assert measures["auc_pool"].value() < measures["auc"].value()
    assert measures["auc_pgd"].value() < measures["auc"].value()
    assert set(measures) == {m for group in Sentiment.metrics.values() for m in group}
    model.save(tmp_path)
    loaded = Sentiment.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(test), model.predict(test))
    assert loaded.evaluate(test, attacked)["auc_pool"].value() == measures["auc_pool"].value()


def test_ngrams_train_on_the_decoded_texts_of_a_mix(reviews):
    train, valid, _ = reviews
    taught = mix_of(np.zeros((40, 8)), np.zeros(40))
    decoded = pa.StructArray.from_arrays([pa.array(["zebra stripes"] * 40)], ["text"])
    taught = taught.set_column(taught.column_names.index("decoded"), "decoded", decoded)
    seen = train.slice(0, 140).select(["row_id", "text", "label", "embedding"])
    zebra = seen.slice(0, 4).set_column(1, "text", pa.array(["zebra stripes"] * 4))
    rows = pa.concat_tables([seen, zebra])
    plain, mixed = (Sentiment(model="ngrams", C=1.0).fit(rows, valid, mix) for mix in (None, taught))
    assert mixed.predict(zebra)[0] < plain.predict(zebra)[0] - 0.1


def test_ngrams_are_no_victim(reviews):
    with pytest.raises(UsageError, match=r"no vectors to move; use an encoder with \+ngrams"):
        Sentiment(model="ngrams", C=1.0).fit(reviews[0], reviews[1]).as_victim()
    with pytest.raises(UsageError, match="model 'ngrams' has neither"):
        Sentiment(model="ngrams", adversarial="fgm")


def test_attacks_say_how_many_words_they_touched(reviews, capsys):
    test = reviews[2]
    Sentiment(variants=1, held_out=1).attacks(test, 0)
    said = capsys.readouterr().err
    assert "attack 'typos' touched" in said
    assert "were asked" not in said
    arabic = pa.array(["القماش ناعم جدا واللون مطابق تماما للصورة"] * len(test))
    Sentiment(variants=1, held_out=1).attacks(test.set_column(1, "text", arabic), 0)
    assert "attack 'respelt' touched 0% of words, 30% were asked" in capsys.readouterr().err
