"""A consumer's constructor: options checked when it is made, then kept, as scikit-learn's estimators keep them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

from pydantic import BaseModel, create_model, model_validator

from augment.base.errors import suggest
from augment.contracts.options import BaseOptions, checked


class Configured:
    """Each option is an attribute of its own name too, as `seed` and `device` are, which are no options.

    name: what the consumer is registered as, with which errors begin.
    """

    name: ClassVar[str]
    Options: ClassVar[type[BaseModel]]
    options: Any

    def __init__(self, *, seed: int = 0, device: str = "cpu", **options: Any) -> None:
        """Raises UsageError for a name that is no option, and a value that is none; see `Options`."""
        self.options = checked(self.options_for(options), options, self.name)
        vars(self).update(dict(self.options))
        self.seed, self.device = seed, device

    @classmethod
    def options_for(cls, given: Mapping[str, Any]) -> type[BaseModel]:
        """The model that options `given` by name are of."""
        return cls.Options

    def parameters(self) -> dict[str, Any]:
        """What the constructor makes the same model of, but for the device: that of whoever loads it."""
        return {**dict(self.options), "seed": self.seed}


class ModelOptions(BaseOptions):
    """Options of a consumer that has several models: `model` names one, whose own are beside these."""

    models: ClassVar[Mapping[str, Any]] = {}  # name → what has `Options` of its own

    @model_validator(mode="before")
    @classmethod
    def _are_of_the_model(cls, given: dict[str, Any]) -> dict[str, Any]:
        model = given.get("model", cls.model_fields["model"].default)
        if model in cls.models:  # another is refused below
            for option in given:
                if option not in cls.model_fields:
                    raise ValueError(cls._unknown(option, model))
        return given

    @classmethod
    def _unknown(cls, option: str, model: str) -> str:
        others = [name for name, one in cls.models.items() if option in one.Options.model_fields]
        belongs = f" (an option of {' and '.join(others)})" if others else ""
        return f"unknown option '{option}' of model '{model}'{belongs}{suggest(option, cls.model_fields)}"


class ByModel(Configured):
    """A consumer whose option `model` says which others there are."""

    Options: ClassVar[type[ModelOptions]]

    @classmethod
    def options_for(cls, given: Mapping[str, Any]) -> type[BaseModel]:
        """Those of every model, and of the one that `given` names."""
        model = given.get("model", cls.Options.model_fields["model"].default)
        models = cls.Options.models
        return _with_own(cls.Options, models[model].Options) if model in models else cls.Options

    @classmethod
    def option_models(cls) -> dict[str, type[BaseModel]]:
        """When they can be given → options, to be explained."""
        own = {f'model = "{name}"': one.Options for name, one in cls.Options.models.items()}
        return {"": cls.Options, **own}


@cache
def _with_own(options: type[ModelOptions], own: type[BaseModel]) -> type[BaseModel]:
    return create_model("Options", __base__=(options, own))
