"""Attacks on new items: stuffed titles and properties, and fake users who push; defences, and what these cost.

    python scripts/bench/new_item_attacks.py --data FOLDER --demo FOLDER --set retail --cache CACHE --out retail.json

The splits are those of `new_items.py`. An eighth of the test's new items cheat; how often each of these is shown is
compared to how often it was, item by item, and what a defence costs honest ones user by user. `--dev` attacks new items
of validation rows instead: that is where defences were chosen.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import new_items as bench
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import splits
import torch
from scipy.sparse import csr_matrix, diags

from augment.base.progress import say
from augment.generation import new_items
from augment.generation.catalogue import Catalogue, values_of
from augment.generation.new_items import Mapped
from augment.numeric.new_items import new_scores, standardised
from augment.recipes.schema import NewItems
from augment.watch.fake_users import fake_users
from augment.watch.stuffing import honesty
from consumers import Recommender

CHEATS = 1 / 8  # of new items
BEST, WORDS = 3, 10  # best sellers whose titles or properties are taken over; words that most interactions have
FAKES, PUSHED, PROFILE = (0.001, 0.05), 5, 20  # shares of users; new items that each pushes; other items that each has
MET = (1, 5, 10, 20)  # interactions that an item got since its row was published
METRICS = {"exposure": "lists with a cheat", "rank": "its place", "ndcg_all@20": "NDCG@20, all items",
           "recall_new@20": "recall@20 among new"}  # fmt: skip
LOST = ("implausible", "none shown", "fakes found")  # parts of names of what was tried, and is in tables of --dev alone


# -- stuffing --------------------------------------------------------------------------------------


class Shop:
    """A split's catalogue, who cheats in it, and with whom they want to be taken for."""

    def __init__(self, split: bench.Split, rows: pa.Table) -> None:
        self.split, self.rows = split, rows
        asked = pc.unique(rows["item_id"].combine_chunks())
        met = split.mapped.names.filter(pc.is_in(split.mapped.names, asked)).sort().to_pylist()
        drawn = np.random.default_rng(split.seed).choice(len(met), max(10, int(CHEATS * len(met))), replace=False)
        self.cheats = {met[place] for place in drawn}
        known = split.known
        self.popularity = known.history.getnnz(axis=0)
        order = known.described[np.argsort(-self.popularity[known.described], kind="stable")]
        self.best = known.items.take(pa.array(order[:BEST])).to_pylist()
        self.users = pc.index_in(pc.unique(rows["user_id"].combine_chunks()), known.users).drop_null().to_numpy()

    def stuffed(self, columns: str, change: Callable[[str, list[str]], str]) -> Catalogue:
        """The catalogue, whose cheats' `columns` ("text" or "properties") are what `change` makes."""
        products = self.split.products
        names = products["item_id"].to_pylist()
        for column in products.column_names:
            if column == "item_id" or (column == "text") != (columns == "text"):
                continue
            held = products[column].to_pylist()
            value = dict(zip(names, held, strict=True))
            best = [value[name] or "" for name in self.best]
            held = [change(own or "", best) if name in self.cheats else own
                    for name, own in zip(names, held, strict=True)]  # fmt: skip
            products = products.set_column(products.column_names.index(column), column, pa.array(held, pa.string()))
        return self.split.catalogue_of(products)

    def attacks(self) -> dict[str, Callable[[], Catalogue]]:
        made: dict[str, Callable[[], Catalogue]] = {"honest": lambda: self.split.catalogue}
        columns = self.split.products.column_names
        if "text" in columns:
            words = self._words()
            made["ten popular words"] = lambda: self.stuffed("text", lambda own, _: f"{own} {words}")
            made["the best seller's title"] = lambda: self.stuffed("text", lambda own, best: f"{own} {best[0]}")
            made["three best sellers' titles"] = lambda: self.stuffed("text", lambda own, best: " ".join([own, *best]))
            made["a copy of the best seller's title"] = lambda: self.stuffed("text", lambda _, best: best[0])
        if self.split.found.share:
            made["three best sellers' properties"] = lambda: self.stuffed("properties", _joined)
        return made

    def _words(self) -> str:
        """Those that most interactions have in their item's title."""
        title = dict(zip(*(self.split.products[name].to_pylist() for name in ("item_id", "text")), strict=True))
        count: dict[str, int] = {}
        for name, met in zip(self.split.known.items.to_pylist(), self.popularity.tolist(), strict=True):
            for word in set(re.findall(r"[a-z]{3,}", (title.get(name) or "").lower())):
                count[word] = count.get(word, 0) + met
        return " ".join(sorted(count, key=lambda word: -count[word])[:WORDS])

    def defences(self, catalogue: Catalogue, mapped: Mapped) -> dict[str, csr_matrix]:
        """Rows as they would be published."""
        split, known = self.split, self.split.known
        content = catalogue.vectors(split.found.share)[known.place[known.described]]
        honest = honesty(mapped.content, content, self.popularity[known.described])
        # How usual an item's content is: the published column `plausibility`.
        near = new_items.Neighbours(content).search(mapped.content, 1)[0][:, 0]
        usual = new_items.usual(near, new_items.spacing(content))
        plain = self.scaled(mapped, np.ones(len(usual)))
        return {
            "no defence": plain,
            "`stuffed = 0.01`": self.scaled(mapped, honest >= 0.01),
            "implausible 5%": self.scaled(mapped, usual >= 0.05),
            "none shown to more than a tenth": self.capped(plain, 0.1),
        }

    def scaled(self, mapped: Mapped, factor: np.ndarray) -> csr_matrix:
        weights = (diags(factor.astype(np.float32)) @ mapped.weights).tocsr()
        weights.eliminate_zeros()
        split = self.split
        size = new_items.scale(mapped._replace(weights=weights), split.known, split.ease, split.valid, None, split.seed)
        return weights * np.float32(size)

    def capped(self, weights: csr_matrix, most: float) -> csr_matrix:
        """Rows that are in more than that share of lists weigh less, so that they are in as many."""
        scores = self._all(weights, self.split.known.history)
        last, new = -np.partition(-scores, 19, axis=1)[:, 19:20], scores[:, len(self.split.known.items) :]
        ratio = np.where(new > 0, last / np.maximum(new, 1e-9), np.inf)
        factor = np.minimum(1, np.sort(ratio, axis=0)[int(most * len(ratio))])
        return (diags(np.where(np.isfinite(factor), factor, 1).astype(np.float32)) @ weights).tocsr()

    def _all(self, weights: csr_matrix, shown: csr_matrix) -> np.ndarray:
        """float32[n, I + N]: scores of known items, those that users have at −∞, and of new ones."""
        scores, seen = self.split.ease._scores(shown, self.users), shown[self.users]
        plain = standardised(scores)
        plain[seen.nonzero()] = -np.inf
        new = new_scores(scores, seen, weights)
        new[:, weights.getnnz(axis=1) == 0] = -np.inf  # without a row it is not shown
        return np.concatenate([plain, new], axis=1)

    def measured(self, mapped: Mapped, weights: csr_matrix) -> dict[str, np.ndarray]:
        """How often each cheat is shown, and its mean place, one value per cheat; and what lists are worth to users."""
        scores = self._all(weights, self.split.ease.seen_)
        cheats = len(self.split.known.items) + np.flatnonzero([n in self.cheats for n in mapped.names.to_pylist()])
        place = np.stack([(scores > scores[:, [cheat]]).sum(axis=1) for cheat in cheats], axis=1)
        model = self.split.ease
        some = np.flatnonzero(weights.getnnz(axis=1))
        names = mapped.names.take(pa.array(some))
        model.new_ = bench.Rows(names, weights[some], bench.place_of(names, model.items_))
        found: dict[str, Any] = model.evaluate(self.rows, {})
        model.new_ = bench.Rows.none(len(model.items_))
        worth = {name: found[name].values for name in ("ndcg_all@20", "recall_new@20")}
        return {"exposure": (place < 20).mean(axis=0), "rank": 1 + place.mean(axis=0), **worth}


def _joined(own: str, best: list[str]) -> str:
    """Every value of an item and of best sellers; where a property has one value, the best seller's."""
    if not any("|" in value or value.startswith("[") for value in (own, *best)):
        return best[0]
    return "|".join(dict.fromkeys(value for held in (own, *best) for value in values_of(held)))


def stuffing(shop: Shop) -> dict[str, dict[str, np.ndarray]]:
    out = {}
    for attack, made in shop.attacks().items():
        catalogue, split = made(), shop.split
        mapped = new_items.apply(split.found, catalogue, split.known, NewItems().neighbours)
        for defence, weights in shop.defences(catalogue, mapped).items():
            out[f"{attack}, {defence}"] = shop.measured(mapped, weights)
    return out


# -- fake users ------------------------------------------------------------------------------------


def pushes(shop: Shop) -> dict[str, dict[str, np.ndarray]]:
    """Fake users who have five new items each beside popular ones, or beside the neighbours that the rows name."""
    split = shop.split
    weights = shop.scaled(split.mapped, np.ones(len(split.mapped.names)))
    names = split.mapped.names.to_pylist()
    pushed = sorted(shop.cheats)[:PUSHED]
    rows = weights[[names.index(name) for name in pushed]]
    out = {"pushed, no fakes: its row": _shown(shop, split.ease, split.known.history, rows, range(PUSHED))}
    near = split.known.items.take(pa.array(np.argsort(-np.asarray(rows.sum(axis=0)).ravel())[:100]))
    popular = split.known.items.take(pa.array(np.argsort(-shop.popularity, kind="stable")[:100]))
    for share in FAKES:
        for kind, fillers in (("popular", popular), ("neighbours", near)):
            who = f"{share:.1%} fakes"
            fakes = _fakes(max(1, round(share * len(split.known.users))), pushed, fillers.to_pylist(), split.seed)
            log = pa.concat_tables([pa.table({n: split.train[n] for n in fakes.column_names}), fakes])
            found = fake_users(log["user_id"].combine_chunks(), log["item_id"].combine_chunks(), split.seed)
            left = log.filter(pc.invert(pc.is_in(log["user_id"], pa.array(list(found), pa.string()))))
            for said, table in (("the model", log), ("the model without fakes found", left)):
                out[f"pushed by {who}, {kind}: {said}"] = _by_model(shop, table, pushed, rows)
            kept = log.filter(pc.invert(pc.is_in(log["item_id"], pa.array(pushed))))
            out[f"pushed by {who}, {kind}: its row"] = _by_model(shop, kept, pushed, rows)
    return out


def _fakes(count: int, pushed: list[str], fillers: list[str], seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    held = [[*pushed, *rng.choice(fillers, PROFILE, replace=False).tolist()] for _ in range(count)]
    users = [f"fake-{number}" for number, items in enumerate(held) for _ in items]
    return pa.table({"user_id": users, "item_id": [item for items in held for item in items]})


def _by_model(shop: Shop, log: pa.Table, pushed: list[str], rows: csr_matrix) -> dict[str, np.ndarray]:
    """By EASE that was trained on a log; an item that it does not know is scored by its row."""
    split = shop.split
    model = Recommender(model="ease", l2=split.l2, recency=0.0, seed=split.seed).fit(log, log.slice(0, 0))
    place = pc.index_in(split.known.items, model.items_).to_numpy()
    wide = csr_matrix((rows.data, place[rows.indices], rows.indptr), shape=(rows.shape[0], len(model.items_)))
    own = [pc.index(model.items_, name).as_py() for name in pushed]
    real = pc.fill_null(pc.index_in(split.known.users, model.users_), -1).to_numpy()  # −1: taken for a fake
    cheats = [len(model.items_) + number if at < 0 else at for number, at in enumerate(own)]
    return _shown(shop, model, model.history_, wide, cheats, real)


def _shown(
    shop: Shop, model: Recommender, shown: csr_matrix, rows: csr_matrix, cheats: Any, users: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """How often items at `cheats` (of known ones, then of rows) are among the 20 best of the test's real users."""
    whose = shop.users if users is None else users[shop.users]
    whose = whose[whose >= 0]
    scores, seen = model._scores(shown, whose), shown[whose]
    every = np.concatenate([standardised(scores), new_scores(scores, seen, rows)], axis=1)
    every[seen.nonzero()] = -np.inf
    items = len(model.items_)
    places = [items + number if users is None else number for number in cheats]
    if users is not None:  # a model that knows an item does not use its row
        every[:, [items + n for n, at in enumerate(cheats) if at < items]] = -np.inf
    place = np.stack([(every > every[:, [at]]).sum(axis=1) for at in places], axis=1)
    return {"exposure": (place < 20).mean(axis=0), "rank": 1 + place.mean(axis=0)}


# -- honest items that were met a few times --------------------------------------------------------


def met(shop: Shop) -> dict[str, dict[str, np.ndarray]]:
    """New items that got their first honest interactions: what the model says of them against what their rows say."""
    split, out = shop.split, {}
    weights = shop.scaled(split.mapped, np.ones(len(split.mapped.names)))
    fresh = shop.rows.filter(pc.is_in(shop.rows["item_id"], split.mapped.names))
    order = np.random.default_rng(split.seed).permutation(len(fresh))
    fresh = fresh.take(pa.array(order))
    codes = fresh["item_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    sort = np.argsort(codes, kind="stable")
    nth = np.empty(len(codes), np.int64)
    nth[sort] = np.arange(len(codes)) - np.searchsorted(codes[sort], codes[sort])
    names = pc.unique(fresh["item_id"].combine_chunks())
    for count in MET:
        seen, rest = fresh.filter(pa.array(nth < count)), fresh.filter(pa.array(nth >= count))
        columns = ["user_id", "item_id", "timestamp"]
        log = pa.concat_tables([part.select(columns) for part in (split.train, seen)])
        model = Recommender(model="ease", l2=split.l2, seed=split.seed).fit(log, split.valid)
        own = _recall(shop, model, rest, names, None)
        out[f"met {count} times: the model"] = {"recall_new@20": own}
        out[f"met {count} times: its row"] = {"recall_new@20": _recall(shop, split.ease, rest, names, weights)}
    return out


def _recall(shop: Shop, model: Recommender, asked: pa.Table, names: pa.Array, weights: csr_matrix | None) -> np.ndarray:
    """recall@20 among new items alone, one value per user: by rows, or by what a model that met them says."""
    users = pc.unique(asked["user_id"].combine_chunks())
    users = users.filter(pc.is_in(users, shop.split.known.users))
    place = pc.index_in(users, model.users_).to_numpy()
    scores = model._scores(model.seen_, place)
    if weights is None:
        of_new = scores[:, pc.index_in(names, model.items_).to_numpy()]
    else:
        rows = weights[pc.index_in(names, shop.split.mapped.names).to_numpy()]
        of_new = new_scores(scores, model.seen_[place], rows)
    wanted = new_items.ordered(asked, users, names)
    best = np.argpartition(-of_new, min(20, of_new.shape[1]) - 1, axis=1)[:, :20]
    hit = np.asarray((wanted[np.arange(len(place))[:, None], best] > 0).sum(axis=1)).ravel()
    return hit / np.minimum(wanted.getnnz(axis=1), 20)


def reference(name: str) -> str:
    """Of an arm: the same items without the attack and without a defence, or by their rows."""
    if name.startswith("met"):
        return name.partition(":")[0] + ": the model"
    return "pushed, no fakes: its row" if name.startswith("pushed") else "honest, no defence"


def main() -> None:
    parser = splits.arguments(__doc__, bench.SETS)
    parser.add_argument("--dev", action="store_true", help="new items of validation rows: to choose defences")
    options = parser.parse_args()
    options.by = "new_items"
    torch.set_num_threads(1)

    def make(seed: int) -> dict[str, Any]:
        split = bench.Split(options, seed)
        shop = Shop(split, split.valid if options.dev else split.test)
        say(f"{options.set} {seed}: {len(shop.cheats)} cheats among {len(split.mapped.names)} new items")
        return {"arms": stuffing(shop) | pushes(shop) | met(shop)}

    made, _ = splits.run(
        bench.SPLITS,
        lambda seed: options.cache / f"attacks-{options.set}-{seed}{'-dev' if options.dev else ''}.json", make, METRICS,
    )  # fmt: skip
    made = {name: arm for name, arm in made.items() if options.dev or not any(lost in name for lost in LOST)}
    title = f"Attacks on new items, {options.set}: {len(bench.SPLITS)} splits"
    splits.finish(made, METRICS, reference, title, options.out)


if __name__ == "__main__":
    main()
