"""Options of a plug-in: one place for the default, the range, the prose and the error."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, field_validator, model_validator

from augment.base.errors import UsageError
from augment.contracts.options import BaseOptions, OnlyWith, checked, described, one_of


class Options(BaseOptions):
    strength: float = Field(1.0, gt=0, le=4, description="How far.")
    rounds: int = Field(3, ge=1, description="How often.")
    loud: bool = Field(False, description="Say so.")
    name: str = Field("x", description="What it is called.")
    norm: Literal["l2", "linf"] = Field("l2", description="Of the ball.")
    loss: Annotated[str, one_of(("hinge", "softmax"))] = Field("hinge", description="What is made small.")
    scale: float = 0.5
    margin: Annotated[float, OnlyWith("loss", ("hinge",))] = Field(1.0, description="Between two classes.")

    @field_validator("rounds")
    @classmethod
    def _odd(cls, rounds: int) -> int:
        if rounds % 2 == 0:
            raise ValueError("must be odd")
        return rounds

    @model_validator(mode="after")
    def _not_both(self):
        if self.loud and self.name == "":
            raise ValueError("'loud' needs a name")
        return self


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"strenght": 1.0}, "unknown option 'strenght'; did you mean 'strength'?"),
        ({"zzz": 1.0}, "unknown option 'zzz'; known: loss, loud, margin, name, norm, rounds, scale, strength"),
        ({"strength": 0.0}, "strength = 0.0 must be above 0 and at most 4"),
        ({"strength": 5}, "strength = 5 must be above 0 and at most 4"),
        ({"strength": float("nan")}, "strength = nan must be above 0 and at most 4"),
        ({"scale": float("inf")}, "scale = inf must be a finite number"),
        ({"strength": "far"}, "strength = 'far' must be a number"),
        ({"strength": True}, "strength = True must be a number"),
        ({"rounds": 2.5}, "rounds = 2.5 must be a whole number"),
        ({"rounds": True}, "rounds = True must be a whole number"),
        ({"rounds": 0}, "rounds = 0 must be at least 1"),
        ({"rounds": 4}, "rounds = 4 must be odd"),
        ({"loud": 1}, "loud = 1 must be true or false"),
        ({"name": 7}, "name = 7 must be text"),
        ({"norm": "linff"}, "unknown norm 'linff'; did you mean 'linf'?"),
        ({"loss": "hing"}, "unknown loss 'hing'; did you mean 'hinge'?"),
        ({"loss": "softmax", "margin": 2.0}, "'margin' is read with loss hinge only; loss is 'softmax'"),
        ({"loud": True, "name": ""}, "'loud' needs a name"),
    ],
    ids=str,
)
def test_a_wrong_option_is_said_in_one_line(values, said):
    with pytest.raises(UsageError) as error:
        checked(Options, values, "tasks.a.options")
    assert str(error.value) == f"tasks.a.options: {said}"


def test_a_whole_number_may_stand_for_any_number():
    assert checked(Options, {"strength": 2, "rounds": 5}, "here") == Options(strength=2.0, rounds=5)


def test_what_is_described_is_what_is_declared():
    found = described(Options)
    assert found[:2] == [("strength", 1.0, "How far."), ("rounds", 3, "How often.")]
    assert found[-2:] == [("scale", 0.5, ""), ("margin", 1.0, "Between two classes. Read with loss hinge only.")]


def test_a_model_that_says_nothing_of_other_names_takes_none():
    class Plain(BaseModel):
        size: int

    with pytest.raises(UsageError, match="here: unknown option 'sise'; did you mean 'size'"):
        checked(Plain, {"size": 1, "sise": 2}, "here")
    with pytest.raises(UsageError, match="here: 'size' must be given"):
        checked(Plain, {}, "here")
    with pytest.raises(UsageError, match="here: size = 'x' must be a whole number"):
        checked(Plain, {"size": "x"}, "here")
    assert described(Plain) == [("size", None, "")]
