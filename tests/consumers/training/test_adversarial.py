import numpy as np
import pytest
import torch

from augment.base.errors import UsageError
from consumers import ClickModel, Sentiment
from consumers.training import adversarial
from consumers.training.adversarial import FAMILIES, Adversary, Rows, Settings
from consumers.training.losses import cross_entropy
from gan import attacks


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_and_a_seed_repeats_it(clicks, family):
    train, valid, test = clicks
    models = [ClickModel(adversarial=family, weight_decay=0.03, epochs=2).fit(train, valid) for _ in range(2)]
    np.testing.assert_array_equal(models[0].predict(test), models[1].predict(test))
    plain = ClickModel(weight_decay=0.03, epochs=2).fit(train, valid)
    assert np.abs(plain.predict(test) - models[0].predict(test)).max() > 1e-4
    assert models[0].evaluate(test, {})["auc"].value() > plain.evaluate(test, {})["auc"].value() - 0.1


def test_masking_withstands_missing_fields(clicks):
    train, valid, test = clicks
    options = {"weight_decay": 0.03, "epochs": 6}
    plain = ClickModel(**options).fit(train, valid)
    attacked = plain.attacks(test, 0)
    masked = ClickModel(adversarial="masking", adv_share=1.0, **options).fit(train, valid)
    before, after = (model.evaluate(test, attacked)["auc_masked"].value() for model in (plain, masked))
    assert after > before


@pytest.mark.parametrize("loss", ["l2", "hinge"])
def test_other_losses_learn_too(clicks, loss):
    train, valid, test = clicks
    assert ClickModel(loss=loss, weight_decay=0.03).fit(train, valid).evaluate(test, {})["auc"].value() > 0.6


def test_the_divergence_of_trades_needs_no_label(clicks):
    train, valid, test = clicks
    models = [ClickModel(adversarial="fgm", trades=t, weight_decay=0.03, epochs=2) for t in (False, True)]
    first, second = (model.fit(train, valid).predict(test) for model in models)
    assert np.abs(first - second).max() > 1e-3


def test_vat_needs_no_label(clicks):
    train, valid, _ = clicks
    net = ClickModel(weight_decay=0.03, epochs=1).fit(train, valid).net_
    codes = torch.randint(1, 3, (64, len(net.starts)), generator=torch.Generator().manual_seed(0))
    losses = []
    for label in (torch.zeros(64), torch.ones(64)):
        x = net.embed(codes)
        rows = Rows(codes, x, label, torch.ones(64), torch.zeros_like(x))
        adversary = Adversary(Settings(adversarial="vat", adv_share=1.0), net, x.shape[1], 0, "cpu")
        losses.append(adversary.loss(rows, net.head(x), cross_entropy))
    assert losses[0] == losses[1] > 0


def test_the_live_generator_learns_to_be_hard(clicks, monkeypatch):
    """Towards the end its copies cost the model at least half of what a gradient step of the same length does."""
    train, valid, _ = clicks
    shares = []

    def watched(adversary, rows):
        moved = FAMILIES["live"](adversary, rows)
        loss, x = adversary.hardness(rows), rows.x.detach()
        best = attacks.fgm(loss, x, adversary.radius(x))
        with torch.no_grad():
            easy, hard, hardest = (loss(v).mean() for v in (x, moved.x, x + best))
        shares.append(float((hard - easy) / (hardest - easy)))
        return moved

    families = {**FAMILIES, "live": watched}
    monkeypatch.setattr(adversarial, "FAMILIES", families)
    ClickModel(adversarial="live", adv_share=1.0, radius=0.1, weight_decay=0.03, epochs=25).fit(train, valid)
    assert np.mean(shares[: len(shares) // 10]) < 0.3
    assert np.mean(shares[-len(shares) // 4 :]) > 0.5


def test_unknown_names_get_a_suggestion():
    with pytest.raises(UsageError, match="did you mean 'masking'"):
        ClickModel(adversarial="maskng+fgm")
    with pytest.raises(UsageError, match="did you mean 'hinge'"):
        ClickModel(loss="hing")


@pytest.mark.parametrize("model", [ClickModel, Sentiment])
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"adv_share": 0.0}, "adv_share = 0.0 must be above 0 and at most 1"),
        ({"adv_share": 1.5}, "adv_share = 1.5 must be"),
        ({"radius": 0.0}, "radius = 0.0 must be above 0"),
        ({"radius": float("nan")}, "radius = nan must be above 0"),
        ({"adv_weight": -1.0}, "adv_weight = -1.0 must be at least 0"),
    ],
)
def test_settings_out_of_range_are_said_at_once(model, option, said):
    with pytest.raises(UsageError, match=said):
        model(adversarial="fgm", **option)
    model(adversarial="fgm", adv_share=1.0, adv_weight=0.0)
