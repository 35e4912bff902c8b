"""A consumer's constructor: options checked when it is made, then kept, as scikit-learn's estimators keep them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel

from augment.contracts.options import checked


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
