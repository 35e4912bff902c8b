import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.sparse import csr_matrix

from augment.numeric.ease import CrossFitted
from consumers.rankers.samplers import SAMPLERS, Sampler

DIM, LAYERS = 16, 3


@pytest.fixture(scope="module")
def liked(demo_folder):
    """MovieLens-100k ratings of 4 and 5 as a binary matrix: the earlier 80% of the rows, and the rest, held out."""
    ratings = pq.read_table(demo_folder / "behaviour.parquet").to_pandas()
    ratings = ratings[ratings["rating"] >= 4].sort_values(["timestamp", "user_id", "item_id"])
    ratings = ratings[ratings.groupby("item_id")["user_id"].transform("size") >= 10]
    ratings = ratings[ratings.groupby("user_id")["item_id"].transform("size") >= 10]
    users, items = (np.unique(ratings[name], return_inverse=True)[1] for name in ("user_id", "item_id"))
    late = np.random.default_rng(0).random(len(users)) < 0.2
    shape = (users.max() + 1, items.max() + 1)
    return [csr_matrix((np.ones(m.sum(), np.float32), (users[m], items[m])), shape=shape) for m in (~late, late)]


@pytest.fixture(scope="module")
def factors(liked):
    """Singular vectors: what a trained model would score by."""
    left, values, right = np.linalg.svd(liked[0].toarray(), full_matrices=False)
    item = torch.from_numpy(right[:DIM].T.astype(np.float32))
    user = torch.from_numpy((left[:, :DIM] * values[:DIM]).astype(np.float32))
    return user, torch.stack([item] * LAYERS)


def draw(kind, liked, factors, barred=None, seed=0, avoided=None, **options):
    wanted = torch.from_numpy(liked[0].toarray())
    popularity = wanted.sum(dim=0)
    barred = wanted > 0 if barred is None else (wanted > 0) | barred
    sampler = Sampler(kind, popularity, torch.Generator().manual_seed(seed), **{"pool": 16, "nearest": 4, **options})
    return sampler.draw(*factors, wanted, barred, avoided)


def share_of(matrix, items):
    """Share of the drawn items int64[U, …] that are entries of the matrix."""
    dense = torch.from_numpy(matrix.toarray())
    return float(dense.gather(1, items.flatten(1)).mean())


@pytest.mark.parametrize("kind", SAMPLERS)
def test_positives_are_own_items_and_negatives_never_are(kind, liked, factors):
    pairs = draw(kind, liked, factors)
    wants_some = liked[0].getnnz(axis=1) > 0
    assert share_of(liked[0][wants_some], pairs.positive[torch.from_numpy(wants_some)]) == 1
    assert share_of(liked[0], pairs.negative) == 0


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_seed_repeats_the_draws(kind, liked, factors):
    first, second, other = (draw(kind, liked, factors, seed=seed).negative for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", ["dns", "dns-mn", "mixgcf"])
def test_hard_samplers_draw_harder_items_than_uniform(kind, liked, factors):
    def mean_score(pairs):
        return float(pairs.scores(*factors)[1].mean())

    assert mean_score(draw(kind, liked, factors)) > mean_score(draw("uniform", liked, factors))


def test_popularity_draws_popular_items(liked, factors):
    popularity = torch.from_numpy(np.asarray(liked[0].sum(axis=0)).ravel())
    drawn = {kind: popularity[draw(kind, liked, factors).negative].mean() for kind in ("popularity", "uniform")}
    assert drawn["popularity"] > 1.5 * drawn["uniform"]


def test_dns_mn_is_dns_when_one_is_nearest(liked, factors):
    one = draw("dns-mn", liked, factors, nearest=1)
    four = draw("dns-mn", liked, factors)
    assert one.scores(*factors)[1].mean() > four.scores(*factors)[1].mean()


def test_mixed_negatives_lie_between_the_positive_and_the_item(liked, factors):
    pairs = draw("mixgcf", liked, factors)
    assert pairs.negative.shape[2] == pairs.share.shape[2] == LAYERS
    positive, negative = pairs.scores(*factors)
    plain = (factors[0] @ factors[1][0].T)[:, None].expand(-1, positive.shape[1], -1)
    items = plain.gather(2, pairs.negative).mean(dim=2)
    low, high = torch.minimum(positive, items.min()), torch.maximum(positive, plain.amax(dim=2))
    assert ((negative >= low - 1e-4) & (negative <= high + 1e-4)).all()


@pytest.mark.parametrize("kind", SAMPLERS)
def test_the_filter_lowers_the_share_of_held_out_positives(kind, liked, factors):
    train, held_out = liked
    likely = torch.from_numpy(CrossFitted(train, 0).likeliest(np.arange(train.shape[0]), 0.05).toarray())
    before = share_of(held_out, draw(kind, liked, factors).negative)
    after = share_of(held_out, draw(kind, liked, factors, barred=likely).negative)
    assert after < 0.8 * before


def test_likely_items_are_unseen_and_of_the_share_asked_for(liked):
    train, held_out = liked
    likely = CrossFitted(train, 0).likeliest(np.arange(train.shape[0]), 0.05)
    assert likely.multiply(train).nnz == 0
    assert set(likely.getnnz(axis=1).tolist()) == {round(0.05 * train.shape[1])}
    by_chance = held_out.nnz / (train.shape[0] * train.shape[1])
    assert likely.multiply(held_out).sum() / likely.nnz > 3 * by_chance


def test_hard_negatives_of_a_synthetic_user_are_drawn_every_second_time(liked, factors):
    avoided = torch.zeros(liked[0].shape)
    avoided[:, 7] = 1
    drawn = draw("uniform", liked, factors, avoided=avoided).negative
    free = torch.from_numpy(liked[0][:, 7].toarray().ravel() == 0)
    assert float((drawn[free] == 7).float().mean()) == pytest.approx(0.5, abs=0.05)
    assert not (drawn[~free] == 7).any()
