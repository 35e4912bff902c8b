import numpy as np
import pytest
import torch

from augment.base.errors import UsageError
from consumers import ClickModel, Sentiment
from consumers.models.clicks import HEADS, OnFields
from consumers.training import adversarial, loop
from consumers.training.adversarial import FAMILIES, PGD_STEPS, Adversary, Rows, Settings
from consumers.training.losses import LOSSES
from gan import attacks
from gan.losses import cross_entropy


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


def test_the_live_generator_learns_to_be_harder_than_a_gradient_step(clicks, monkeypatch):
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
    ClickModel(adversarial="live", adv_share=1.0, radius=0.4, weight_decay=0.03, epochs=25).fit(train, valid)
    assert shares[0] == pytest.approx(1, abs=0.01)
    assert np.mean(shares[-len(shares) // 4 :]) > 1.01


def small_net(seed=0):
    torch.manual_seed(seed)
    return OnFields([6, 6, 6, 6], 4, HEADS["dcnv2"])


def some_rows(seed=0, count=60):
    """With soft labels, and every third without weight."""
    random = torch.Generator().manual_seed(seed)
    codes = torch.randint(6, (count, 4), generator=random)
    weight = torch.rand(count, generator=random) * (torch.arange(count) % 3 > 0)
    return codes, torch.rand(count, generator=random), weight


@pytest.mark.parametrize("loss", [cross_entropy, LOSSES["l2"]])
@pytest.mark.parametrize("families", ["fgm", "masking+swaps+fgm"])
def test_a_step_has_the_gradients_of_fgm_with_a_pass_of_its_own(families, loss):
    """The mean loss of clean rows and λ times that of copies, all weighted; FGM's direction from its own pass."""
    net, (codes, label, weight) = small_net(), some_rows()
    settings = Settings(adversarial=families, adv_share=0.8, adv_weight=0.7, radius=0.2)
    loop.backward(net, (codes, label, weight), loss, Adversary(settings, net, net.width, 3, "cpu"))

    same, known = Adversary(settings, net, net.width, 3, "cpu"), []
    x = net.embed(codes)
    for name, part in zip(same.names, torch.arange(48).chunk(len(same.names)), strict=True):
        rows = Rows(codes[part], x[part], label[part], weight[part], x[part])
        delta = attacks.fgm(same.hardness(rows), rows.x, same.radius(rows.x))
        moved = rows.x + delta if name == "fgm" else FAMILIES[name](same, rows).x
        known.append(loss(net.head(moved), rows.label) * rows.weight)
    clean = (loss(net.head(x), label) * weight).sum() / weight.sum()
    total = clean + settings.adv_weight * torch.cat(known).sum() / weight[:48].sum()
    for parameter, expected in zip(net.parameters(), torch.autograd.grad(total, list(net.parameters())), strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("families", "passes"),
    [("", 1), ("fgm", 2), ("live", 2), ("masking+swaps+fgm", 2), ("masking+swaps+live", 2), ("pgd", 2 + PGD_STEPS)],
)
def test_one_more_pass_through_the_head_serves_all_families_that_take_no_gradient_steps(families, passes):
    net, counted = small_net(), {"forward": 0, "backward": 0}
    net.head.register_forward_hook(lambda *_: counted.update(forward=counted["forward"] + 1))
    net.head.register_full_backward_hook(lambda *_: counted.update(backward=counted["backward"] + 1))
    adversary = Adversary.of(Settings(adversarial=families), net, net.width, 0, "cpu")
    for _ in range(5):  # the live generator learns in some steps
        loop.backward(net, some_rows(), cross_entropy, adversary)
    assert counted == {"forward": 5 * passes, "backward": 5 * passes}


def test_perturbed_rows_in_every_third_step_count_three_times():
    net, rows, grads = small_net(), some_rows(), {}
    for every in (1, 3):
        adversary = Adversary(Settings(adversarial="fgm", adv_every=every), net, net.width, 0, "cpu")
        for step in range(6):
            net.zero_grad()
            loop.backward(net, rows, cross_entropy, adversary)
            grads[every, step] = net.head.out.weight.grad.clone()
    net.zero_grad()
    loop.backward(net, rows, cross_entropy)
    clean = net.head.out.weight.grad
    for step in range(6):
        expected = 3 * (grads[1, step] - clean) if step % 3 == 0 else torch.zeros_like(clean)
        torch.testing.assert_close(grads[3, step] - clean, expected, rtol=1e-3, atol=1e-6)


def test_a_batch_smaller_than_the_portfolio_is_trained_on():
    net, settings = small_net(), Settings(adversarial="masking+swaps+fgm")
    rows = (codes[:2] for codes in some_rows()[:2])
    loop.backward(net, (*rows, torch.ones(2)), cross_entropy, Adversary(settings, net, net.width, 0, "cpu"))
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())


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
        ({"adv_every": 0}, "adv_every = 0 must be at least 1"),
    ],
)
def test_settings_out_of_range_are_said_at_once(model, option, said):
    with pytest.raises(UsageError, match=said):
        model(adversarial="fgm", **option)
    model(adversarial="fgm", adv_share=1.0, adv_weight=0.0)
