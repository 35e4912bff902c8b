"""Networks over sequences: what SASRec and GRU4Rec have in common, options and training.

Cross-entropy at every position over the whole catalogue (over a sample of it where it is large), which on its own beats
what was published for augmentation, contrastive losses and bidirectional models (Klenitskiy & Vasilev, 2023; Petrov &
Macdonald, 2023).
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from augment.contracts.options import BaseOptions
from augment.numeric.sequences import Sequences
from consumers.sequences.base import Arrays, Material, SequenceModel, Tried
from consumers.sequences.popular import popularity

WHOLE = 20_000  # items up to which the loss is over all of them
DRAWN = 1024  # beyond, over so many of them in each step
POSITIONS = 2048  # of sequences, in a step, at most
STEPS = 16  # of an epoch, at least, where the log is small
ASKED = 512  # sequences scored at a time


class NetworkOptions(BaseOptions):
    """Of SASRec and GRU4Rec."""

    dim: int = Field(64, ge=2, multiple_of=2, description="Learnt numbers per item, and of each state.")
    layers: int = Field(2, ge=1, description="Blocks of the network, one over the other.")
    dropout: float = Field(0.3, ge=0, lt=1, description="Share of numbers that training hides at each place.")
    longest: int = Field(50, ge=1, description="Items that it reads: of a longer history the latest.")
    epochs: int = Field(60, ge=1, description="Times that training goes through all sequences, at most.")
    patience: int = Field(4, ge=0, description="Epochs in a row without a better validation NDCG that it goes on for.")
    lr: float = Field(0.002, gt=0, description="Learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="Of AdamW.")


class Net(nn.Module):
    """Items int64[B, L], `pad` where there is none, → states float[B, L, dim]; each knows what came up to it alone."""

    def __init__(self, items: int, dim: int) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 1, dim, padding_idx=items)
        nn.init.normal_(self.item.weight, std=0.02)


class Windows(NamedTuple):
    """Sequences cut into pieces that a network reads: what each position is to say, and how much that counts.

    entry: places in the arrays below of what belongs to each window; column: position in its window.
    """

    shown: Sequences
    entry: Sequences
    column: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    avoided: Sequences


class Batch(NamedTuple):
    items: Tensor  # int64[B, L]
    place: Tensor  # int64[E], row · L + column
    target: Tensor  # int64[E]
    weight: Tensor  # float[E]
    end: Tensor  # int64[A], places at which an item of `avoided` int64[A] does not come next
    avoided: Tensor


class Network(SequenceModel):
    chance = True
    Options: ClassVar[type[NetworkOptions]] = NetworkOptions
    options: NetworkOptions

    @abstractmethod
    def net(self, items: int) -> Net: ...

    def fit(self, material: Material, tried: Tried) -> Arrays:
        """The epoch whose validation NDCG is best; training stops after `patience` epochs without a better one."""
        options, cuda = self.options, [self.device] if self.device.startswith("cuda") else []
        windows, rng = cut(material, options.longest), np.random.default_rng(self.seed)
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(self.seed)
            net = self.net(material.items).to(self.device)
            optimiser = torch.optim.AdamW(net.parameters(), lr=options.lr, weight_decay=options.weight_decay)
            best, kept, since = -1.0, net.state_dict(), 0
            for _ in range(options.epochs):
                net.train()
                for batch in batches(windows, material.items, rng, self.device):
                    optimiser.zero_grad(set_to_none=True)
                    loss(net, batch, material.items).backward()
                    optimiser.step()
                found = tried(lambda shown: self._asked(net, shown))
                if found > best:
                    best, kept, since = found, copy.deepcopy(net.state_dict()), 0
                else:
                    since += 1
                    if since > options.patience:
                        break
        arrays = {f"net.{name}": value.cpu().numpy() for name, value in kept.items()}
        return {**arrays, "item": arrays["net.item.weight"][:-1], "popularity": popularity(material)}

    def scores(self, arrays: Arrays, shown: Sequences) -> np.ndarray:
        net = self.net(len(arrays["item"]))
        state = {name[4:]: torch.from_numpy(value) for name, value in arrays.items() if name.startswith("net.")}
        net.load_state_dict(state)
        out = self._asked(net.to(self.device), shown)
        empty = shown.lengths == 0
        out[empty] = np.log1p(arrays["popularity"])
        return out

    @torch.no_grad()
    def _asked(self, net: Net, shown: Sequences) -> np.ndarray:
        """float32[n, I], as the state after the last item says; for an empty sequence, anything."""
        net.eval()
        pad = net.item.num_embeddings - 1
        shown = shown.last(self.options.longest)
        out = np.empty((len(shown), pad), np.float32)
        for some in np.array_split(np.argsort(shown.lengths, kind="stable"), max(1, -(-len(shown) // ASKED))):
            items = torch.from_numpy(padded(shown.take(some), pad)).to(self.device)
            last = torch.from_numpy(np.maximum(shown.lengths[some] - 1, 0)).to(self.device)
            state = net(items)[torch.arange(len(items), device=self.device), last]
            out[some] = (state @ net.item.weight[:pad].T).cpu().numpy()
        return out


def padded(shown: Sequences, pad: int) -> np.ndarray:
    """int64[n, longest]: items from the left, `pad` after the last."""
    out = np.full((len(shown), max(1, int(shown.lengths.max(initial=1)))), pad, np.int64)
    out[shown.owners, np.arange(len(shown.items)) - shown.offsets[shown.owners]] = shown.items
    return out


def cut(material: Material, longest: int) -> Windows:
    """Windows of at most `longest` items, from the end of each sequence backwards."""
    shown, wanted = material.shown, material.wanted
    count = -(-shown.lengths // longest)
    whose = np.repeat(np.arange(len(shown)), count)
    back = np.arange(len(whose)) - np.repeat(np.cumsum(count) - count, count)  # 0: the last window of its sequence
    stop = shown.offsets[whose + 1] - back * longest
    start = np.maximum(stop - longest, shown.offsets[whose])
    # At each place the next item; at the last one of a sequence, each of those wanted.
    owner, last = shown.owners, shown.ages == 0
    place = np.concatenate([np.flatnonzero(~last), (shown.offsets[1:] - 1)[wanted.owners]])
    target = np.concatenate([shown.items[np.flatnonzero(~last) + 1], wanted.items])
    share = material.weights[wanted.owners] / wanted.lengths[wanted.owners]
    weight = np.concatenate([material.weights[owner[~last]], share])
    order = np.argsort(place, kind="stable")
    place, target, weight = place[order], target[order], weight[order].astype(np.float32)
    low, high = np.searchsorted(place, start), np.searchsorted(place, stop)
    pieces = Sequences.joined([shown.items[a:b] for a, b in zip(start, stop, strict=True)])
    entry = Sequences.joined([np.arange(a, b) for a, b in zip(low, high, strict=True)])
    column = np.empty(len(place), np.int64)
    column[entry.items] = place[entry.items] - start[entry.owners]
    avoided = material.avoided.take(whose)
    return Windows(pieces, entry, column, target, weight, avoided.kept(back[avoided.owners] == 0))


def batches(windows: Windows, pad: int, rng: np.random.Generator, device: str) -> Iterator[Batch]:
    """All windows once, in random order, those of a step of about one length."""
    lengths = windows.shown.lengths
    order = np.argsort(lengths * rng.uniform(0.8, 1.25, len(lengths)))
    size = np.clip(lengths.sum() // STEPS, 1, POSITIONS)
    step = np.cumsum(lengths[order]) // size
    groups = np.split(order, np.flatnonzero(np.diff(step)) + 1)
    for group in rng.permutation(len(groups)):
        some = groups[group]
        items = padded(windows.shown.take(some), pad)
        entry, avoided = windows.entry.take(some), windows.avoided.take(some)
        width = items.shape[1]
        place = entry.owners * width + windows.column[entry.items]
        end = np.arange(len(some)) * width + lengths[some] - 1
        target, weight = windows.target[entry.items], windows.weight[entry.items]
        arrays = items, place, target, weight, end[avoided.owners], avoided.items
        yield Batch(*(torch.from_numpy(x).to(device) for x in arrays))


def loss(net: Net, batch: Batch, items: int) -> Tensor:
    """Weighted mean of −log softmax; a synthetic sequence's hard negative counts twice in its last denominator."""
    place, entry = torch.unique(batch.place, return_inverse=True)
    state, table = net(batch.items).flatten(0, 1)[place], net.item.weight[:items]
    if items > WHOLE:
        return _sampled(state[entry], table, batch)
    logits = state @ table.T
    if len(batch.avoided):
        at, log2 = torch.searchsorted(place, batch.end), torch.full_like(batch.end, 0.6931, dtype=logits.dtype)
        logits = logits.index_put((at, batch.avoided), log2, accumulate=True)
    own = (state[entry] * table[batch.target]).sum(dim=1)  # not read off the logits: cheaper backwards
    losses = logits.logsumexp(dim=1)[entry] - own
    return (losses * batch.weight).sum() / batch.weight.sum()


def _sampled(state: Tensor, table: Tensor, batch: Batch) -> Tensor:
    """Over the target and items drawn evenly, which stand for all others (Jean et al., 2015)."""
    drawn = torch.randint(len(table), (DRAWN,), device=state.device)
    own = (state * table[batch.target]).sum(dim=1, keepdim=True)
    others = state @ table[drawn].T + float(np.log(len(table) / DRAWN))
    others = others.masked_fill(drawn == batch.target[:, None], -torch.inf)
    losses = F.cross_entropy(torch.cat([own, others], dim=1), torch.zeros_like(batch.target), reduction="none")
    return (losses * batch.weight).sum() / batch.weight.sum()
