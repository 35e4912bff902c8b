"""New items' published rows beside visual recommenders, and as pairs for those who can only train.

    python scripts/bench/new_item_baselines.py --data FOLDER --demo FOLDER --set retail --cache CACHE --out FILE.json

Splits, lists and scales are those of `new_items.py`. VBPR (He & McAuley, 2016) learns, beside factors of users and
items, a map from content to further factors: of a new item its content alone speaks. AMR (Tang et al., 2020) goes on
from it with content moved against it by a small step. Content is what the maps read: texts, properties, pictures.
Their regularisation, step and epochs are chosen by recall among the new items of validation rows. Each ranks all items
alone, and new ones beside EASE. Pseudo-interactions (`new_item_pairs`) train EASE anew: as targets, or in the log too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import new_items as bench
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import splits
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from augment.base.progress import say
from augment.generation import new_items
from augment.numeric.ease import ease
from augment.numeric.histories import binary, ordered
from augment.numeric.new_items import standardised
from consumers import Recommender, new_item_pairs
from consumers.data.new_items import NewItems as Rows
from consumers.data.new_items import place_of
from consumers.scoring import ranking

DIM, BATCH, EPOCHS, LOOKS = 32, 4096, 60, 5  # of each kind of factor; users' items; and at how many epochs it is asked
SETTINGS = tuple({"l2": l2, "step": 0.0} for l2 in (0.001, 0.01, 0.1))
STEPS = (0.05, 0.2, 0.5)  # of AMR, of unit vectors of content

Score = Callable[[np.ndarray, csr_matrix], np.ndarray]  # users' places, what they show → float32[n, new items]


class VBPR(torch.nn.Module):
    """Scores γ_u γ_i + θ_u E f_i + β' f_i + β_i of users and items with content float32[I, C]."""

    def __init__(self, users: int, content: np.ndarray, seed: int) -> None:
        super().__init__()
        draw, (items, width) = torch.Generator().manual_seed(seed), content.shape
        self.content = torch.from_numpy(content)

        def table(*shape: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(0.1 * torch.randn(*shape, generator=draw))

        self.user, self.item, self.taste, self.map = (
            table(users, DIM),
            table(items, DIM),
            table(users, DIM),
            table(width, DIM),
        )
        self.bias, self.style = (torch.nn.Parameter(torch.zeros(n)) for n in (items, width))

    def forward(self, user: Tensor, item: Tensor, moved: Tensor | None = None) -> Tensor:
        content = self.content[item] if moved is None else moved
        own = (self.user[user] * self.item[item]).sum(1) + self.bias[item]
        return own + (self.taste[user] * (content @ self.map)).sum(1) + content @ self.style

    def of(self, users: np.ndarray, content: np.ndarray, known: bool) -> np.ndarray:
        """float32[n, I] of the known items, whose content this is, or of new ones."""
        with torch.no_grad():
            features = torch.from_numpy(content)
            scores = self.taste[users] @ (features @ self.map).T + features @ self.style
            return (scores + self.user[users] @ self.item.T + self.bias if known else scores).numpy()


def trained(
    model: VBPR, history: csr_matrix, setting: dict[str, float], seed: int, asked: Callable[[VBPR], float]
) -> float:
    """The model at the epoch at which it was best, and what it was worth then; step > 0: with adversarial content."""
    draw, rows = (
        torch.Generator().manual_seed(seed),
        torch.from_numpy(np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))),
    )
    items, optimiser = torch.from_numpy(history.indices.astype(np.int64)), torch.optim.Adam(model.parameters(), lr=5e-3)
    best, kept = asked(model), {name: value.clone() for name, value in model.state_dict().items()}
    for epoch in range(1, EPOCHS + 1):
        for some in torch.randperm(len(rows), generator=draw).split(BATCH):
            user, good = rows[some], items[some]
            bad = torch.randint(history.shape[1], good.shape, generator=draw)
            loss = _loss(model, user, good, bad, setting)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if epoch % (EPOCHS // LOOKS) == 0 and (worth := asked(model)) > best:
            best, kept = worth, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return best


def _loss(model: VBPR, user: Tensor, good: Tensor, bad: Tensor, setting: dict[str, float]) -> Tensor:
    plain = -F.logsigmoid(model(user, good) - model(user, bad)).mean()
    size = sum(x.square().sum() for x in (model.user[user], model.item[good], model.item[bad], model.taste[user]))
    loss = plain + setting["l2"] * (size / len(user) + model.map.square().mean() + model.style.square().mean())
    if not setting["step"]:
        return loss
    content = [model.content[one].clone().requires_grad_() for one in (good, bad)]
    worst = -F.logsigmoid(model(user, good, content[0]) - model(user, bad, content[1])).mean()
    against = torch.autograd.grad(worst, content)
    moved = [
        (one + setting["step"] * F.normalize(move, dim=1)).detach() for one, move in zip(content, against, strict=True)
    ]
    return loss - F.logsigmoid(model(user, good, moved[0]) - model(user, bad, moved[1])).mean()


def visual(split: bench.Split) -> dict[str, VBPR]:
    """Tuned by recall among the new items of validation rows."""
    known, names = split.known, split.mapped.names
    content = np.zeros((len(known.items), split.vectors.shape[1]), np.float32)
    content[known.described] = split.vectors[known.place[known.described]]
    hoped = binary(ordered(split.valid, known.users, names))
    asked = np.flatnonzero(hoped.getnnz(axis=0))
    users = np.flatnonzero(hoped.getnnz(axis=1))

    def recall(model: VBPR) -> float:
        lists = ranking.top(
            model.of(users, split.mapped.content[asked], known=False), csr_matrix((len(users), len(asked))), ranking.K
        )
        wanted = hoped[users][:, asked]
        return float((ranking.hits(lists, wanted).sum(1) / np.minimum(wanted.getnnz(axis=1), ranking.K)).mean())

    def best(settings: list[dict[str, float]], start: dict[str, Tensor] | None) -> tuple[VBPR, dict[str, float]]:
        found = []
        for setting in settings:
            model = VBPR(len(known.users), content, split.seed)
            model.load_state_dict(start or model.state_dict())
            found.append((trained(model, known.history, setting, split.seed, recall), model, setting))
            say(f"{setting}: {found[-1][0]:.4f} on validation rows")
        return max(found, key=lambda one: one[0])[1:]

    plain, setting = best([*SETTINGS], None)
    start = {name: value.clone() for name, value in plain.state_dict().items()}
    return {"VBPR": plain, "AMR": best([{**setting, "step": step} for step in STEPS], start)[0]}


def judged(split: bench.Split, plain: Score | None, score: Score, scaled: bool) -> dict[str, np.ndarray]:
    """Lists of known items by `plain`, or EASE, and of new ones by `score`, at the exposure asked for if `scaled`.

    Where they are not scaled, scores are as they come: those of one model for both.
    """
    known, names, model = split.known, split.mapped.names, split.ease
    everyone, size = np.arange(len(known.users)), 1.0

    class Shown(Recommender):
        def _scores(self, history: csr_matrix, users: np.ndarray) -> np.ndarray:
            self.now_ = users
            return plain(users, history[users]) if plain else super()._scores(history, users)

        def _top(self, history: csr_matrix, users: np.ndarray, seen: csr_matrix, k: int) -> np.ndarray:
            parts = np.array_split(users, len(users) // 512 + 1)
            return np.concatenate([ranking.top(self._scores(history, part), seen[part], k) for part in parts])

    shown = Shown(model="ease", l2=split.l2, seed=split.seed)
    shown.__dict__.update(vars(model))
    if scaled:
        asked = pc.is_in(names, split.valid["item_id"].combine_chunks()).to_numpy(zero_copy_only=False)
        users = everyone[np.isin(known.users.to_numpy(zero_copy_only=False), split.valid["user_id"].to_numpy())]
        size = new_items.scale_for(split.exposure, bench.served(shown, users),
                                   new_items.highest(score(users, binary(model.seen_[users]))[:, asked]))  # fmt: skip

    class Listed(Rows):
        def beside(self, scores: np.ndarray, history: csr_matrix, wanted: pa.Array) -> np.ndarray:
            place = pc.index_in(wanted, names).to_numpy(zero_copy_only=False)
            new = size * score(shown.now_, history)[:, place]
            return np.concatenate([standardised(scores) if scaled else scores, new], axis=1)

    shown.new_ = Listed(
        names, csr_matrix((len(names), len(known.items)), dtype=np.float32), place_of(names, known.items)
    )
    found: dict[str, Any] = shown.evaluate(split.test, {})
    return {name: found[name].values for name in bench.METRICS}


def every(split: bench.Split) -> dict[str, dict[str, np.ndarray]]:
    known, names, model = split.known, split.mapped.names, split.ease
    weights = split.mapped.weights * np.float32(split.scaled_for(model))
    out = {"EASE": split.measured(model, weights[:0], names[:0]),
           "EASE, published rows": split.measured(model, weights, names)}  # fmt: skip
    old, columns = known.described, model.state_["items"] + 0.3 * np.eye(len(known.items), dtype=np.float32)
    for kind in ("ridge", "kernel-ridge"):
        chosen = new_items.choose(split.catalogue, known, bench.NewItems(maps=[kind]), split.seed)
        chosen.map.fit(split.vectors[known.place[old]], np.empty(0))
        direct = columns[:, old] @ chosen.map.weights(split.mapped.content).T
        out[f"{kind} to EASE's columns"] = judged(split, None, by(direct), scaled=True)
    out |= pairs(split)
    for name, one in visual(split).items():
        content = one.content.numpy()

        def plain(users: np.ndarray, _: csr_matrix, one: VBPR = one, content: np.ndarray = content) -> np.ndarray:
            return one.of(users, content, known=True)

        def new(users: np.ndarray, _: csr_matrix, one: VBPR = one) -> np.ndarray:
            return standardised(one.of(users, split.mapped.content, known=False))

        out[f"{name} alone"] = judged(split, plain, new, scaled=True)
        out[f"{name} beside EASE"] = judged(split, None, new, scaled=True)
    return out


def by(columns: np.ndarray) -> Score:
    return lambda _, shown: np.asarray(binary(shown) @ columns, np.float32)


def pairs(split: bench.Split) -> dict[str, dict[str, np.ndarray]]:
    """EASE trained on pairs: as what users want, unscaled and scaled, or as if it were in their log."""
    known, names, model = split.known, split.mapped.names, split.ease
    users, count = known.users.to_pylist(), len(known.items)
    scores = model._scores(known.history, np.arange(len(users)))
    near = [
        slice(*pair) for pair in zip(split.mapped.weights.indptr[:-1], split.mapped.weights.indptr[1:], strict=True)
    ]
    said = split.mapped.weights
    rows = pa.table({
        "sample_id": names, "anchor_id": names, "day": [""] * len(names), "strategy": ["new-items"] * len(names),
        "neighbour_ids": [known.items.take(pa.array(said.indices[one])).to_pylist() for one in near],
        "neighbour_weights": pa.array([said.data[one] for one in near], pa.list_(pa.float32())),
    })  # fmt: skip
    made = new_item_pairs(rows, known.items.to_pylist(), users, scores, known.history, seed=split.seed)
    place = (
        pc.index_in(made["user_id"], known.users).to_numpy(),
        count + pc.index_in(made["item_id"], names).to_numpy(),
    )
    shape = (len(users), count + len(names))
    wide = csr_matrix((known.history.data, known.history.indices, known.history.indptr), shape=shape)
    more = csr_matrix((made["weight"].to_numpy(), place), shape=shape)
    targets, logged = (
        ease(inputs, wanted, split.l2)[:count] for inputs, wanted in ((wide, wide + more), (wide + more, None))
    )
    by_log = np.ascontiguousarray(logged[:, :count])

    def plain(users: np.ndarray, shown: csr_matrix) -> np.ndarray:
        return np.asarray(binary(shown) @ by_log, np.float32)

    without = ease(known.history, None, split.l2)
    return {
        "EASE, trained on pairs as targets": judged(split, None, by(targets[:, count:]), scaled=False),
        "EASE, trained on pairs as targets, scaled": judged(split, None, by(targets[:, count:]), scaled=True),
        "EASE without recency": judged(split, by(without), by(np.zeros((count, len(names)), np.float32)), scaled=False),
        "EASE without recency, pairs in its log": judged(split, plain, by(logged[:, count:]), scaled=False),
    }


def main() -> None:
    options = splits.arguments(__doc__, bench.SETS).parse_args()
    options.by = "new_items"
    torch.set_num_threads(1)
    made, _ = splits.run(
        bench.SPLITS, lambda seed: options.cache / f"baselines-{options.set}-{seed}.json",
        lambda seed: {"arms": every(bench.Split(options, seed))}, bench.METRICS,
    )  # fmt: skip
    title = f"New items, {options.set}: visual recommenders and pairs, {len(bench.SPLITS)} splits"
    splits.finish(made, bench.METRICS, _reference, title, options.out)


def _reference(name: str) -> str:
    return "EASE without recency" if name.startswith("EASE without") else "EASE"


if __name__ == "__main__":
    main()
