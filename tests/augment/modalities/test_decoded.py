"""Who trains on the decoded form trains on the sample: it holds the vector, and the label, of every published row."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from augment.contracts.modality import Classes
from augment.contracts.registry import every
from augment.contracts.strategy import build, strategy_class
from augment.contracts.values import class_of
from augment.numeric.columns import labels_of
from augment.numeric.vectors import cosine
from augment.testing.shop import usual

MODALITIES = every("modalities")
CASES = [
    (name, kind)
    for name in ("gan", "gaussian", "pgd", "mixup", "smote", "noise")
    for kind, modality in MODALITIES.items()
    if strategy_class(name).serves(modality)
]
# Oversampling makes rows of one class alone.
LABELLED = [(name, kind) for name, kind in CASES if issubclass(MODALITIES[kind], Classes) and name != "smote"]


def proposed(name, kind, folder):
    shop = usual(MODALITIES[kind])
    strategy = build(name, replace(shop.studio.workshop, folder=folder), {})
    return shop, strategy.propose(np.arange(len(shop.studio.anchors)), np.random.default_rng(0))


def read_again(shop, found):
    """Vectors of published rows, by what they decode to alone."""
    modality = shop.studio.modality
    rows = pa.Table.from_struct_array(modality.as_decoded(found.rows))
    if isinstance(modality, Classes):
        rows = modality.as_rows(rows, shop.real.train.column_names)
    return modality.encode(rows)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_decoded_form_has_the_published_vector(name, kind, tmp_path):
    shop, found = proposed(name, kind, tmp_path)
    again = read_again(shop, found)
    assert len(found) > 20
    assert cosine(again, found.embedding).min() > 0.999
    np.testing.assert_allclose(again, found.embedding, atol=1e-3)


@pytest.mark.parametrize(("name", "kind"), LABELLED)
def test_the_decoded_form_says_as_much_of_the_label_as_the_vector(name, kind, tmp_path):
    """To a model of other rows."""
    shop, found = proposed(name, kind, tmp_path)
    label = class_of(shop.studio.anchors.label[found.anchor] if found.label is None else found.label) > 0
    others = pa.concat_tables(shop.held_out)
    liked = class_of(labels_of(others["label"])) > 0  # of many classes, any but the first
    model = LogisticRegression().fit(shop.studio.modality.encode(others), liked)
    aucs = [roc_auc_score(label, model.decision_function(v)) for v in (read_again(shop, found), found.embedding)]
    assert abs(aucs[0] - aucs[1]) < 0.01


@pytest.mark.parametrize("name", ["gan", "gaussian", "pgd", "mixup"])
def test_a_generated_text_says_its_label_to_a_model_of_words(name, tmp_path):
    shop, found = proposed(name, "text", tmp_path)
    others = pa.concat_tables(shop.held_out)
    words = make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)), LogisticRegression(C=10))
    words.fit(others["text"].to_pylist(), others["label"].to_numpy() > 0.5)
    label = (shop.studio.anchors.label[found.anchor] if found.label is None else found.label) > 0.5
    assert roc_auc_score(label, words.decision_function(found.rows["text"].to_pylist())) > 0.8
