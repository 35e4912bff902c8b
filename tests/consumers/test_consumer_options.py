"""Options of the consumers: checked when one is made, kept under their names, explained where they are declared."""

import pytest

from augment.base.errors import UsageError
from augment.contracts.consumer import check_options, explained, options_of
from consumers import ClickModel, Recommender, Sentiment

CONSUMERS = [ClickModel, Recommender, Sentiment]


@pytest.mark.parametrize(
    ("consumer", "settings", "said"),
    [
        (ClickModel, {"epoch": 2}, "ctr: unknown option 'epoch'; did you mean 'epochs'?"),
        (ClickModel, {"epochs": 0}, "ctr: epochs = 0 must be at least 1"),
        (ClickModel, {"epochs": "two"}, "ctr: epochs = 'two' must be a whole number"),
        (ClickModel, {"dim": True}, "ctr: dim = True must be a whole number"),
        (ClickModel, {"lr": 0.0}, "ctr: lr = 0.0 must be above 0"),
        (ClickModel, {"weight_decay": float("inf")}, "ctr: weight_decay = inf must be at least 0"),
        (ClickModel, {"trades": 1}, "ctr: trades = 1 must be true or false"),
        (ClickModel, {"adversarial": "fgm+pdg"}, "ctr: unknown family 'pdg'; did you mean 'pgd'?"),
        (Sentiment, {"c": 1.0}, "sentiment: unknown option 'c'; known: C, adv_every, "),
        (Sentiment, {"C": -1.0}, "sentiment: C = -1.0 must be at least 0"),
        (Sentiment, {"loss": "hing"}, "sentiment: unknown loss 'hing'; did you mean 'hinge'?"),
        (Sentiment, {"synonyms": 3}, "sentiment: synonyms = 3 must be text"),
    ],
    ids=str,
)
def test_what_is_no_option_and_no_value_is_said_in_one_line(consumer, settings, said):
    with pytest.raises(UsageError) as error:
        consumer(**settings)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_options_are_kept_under_their_names_and_make_the_same_again(consumer):
    model = consumer(seed=4, device="cpu")
    for option in options_of(consumer, vars(model)):
        assert getattr(model, option.name) == option.default
    assert (model.seed, model.device) == (4, "cpu")
    again = consumer(**model.parameters(), device="cpu")
    assert again.parameters() == model.parameters()
    assert "device" not in model.parameters()


def test_what_a_recipe_may_not_set_is_no_option():
    for name in ("seed", "device", "mutable"):
        with pytest.raises(UsageError, match=rf"tasks\.a\.options: unknown option '{name}'"):
            check_options(ClickModel, {name: 0}, "tasks.a.options")
    assert ClickModel(mutable=["device"]).parameters()["mutable"] == ("device",)


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_every_option_has_its_prose(consumer):
    assert all(option.text.endswith(".") for options in explained(consumer).values() for option in options)


class Plain:
    """A consumer of another package, without a model of its options."""

    def __init__(self, *, depth: int = 3, mutable: tuple[str, ...] | None = None, seed: int = 0, device: str = "cpu"):
        self.depth, self.mutable, self.seed, self.device = depth, mutable, seed, device


def test_without_a_model_the_signature_says_what_there_is():
    assert options_of(Plain) == [("depth", 3, "")]
    assert explained(Plain) == {"": [("depth", 3, "")]}
    check_options(Plain, {"depth": 5}, "tasks.a.options")
    with pytest.raises(UsageError, match=r"^tasks\.a\.options: unknown option 'dept'; did you mean 'depth'\?$"):
        check_options(Plain, {"dept": 5}, "tasks.a.options")
    with pytest.raises(UsageError, match=r"^tasks\.a\.options: depth = 'x' must be a whole number$"):
        check_options(Plain, {"depth": "x"}, "tasks.a.options")
