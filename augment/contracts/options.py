"""Options of a plug-in: a pydantic model in the plug-in's own file, the one place for default, range, prose and error.

    class Options(BaseOptions):
        strength: float = Field(1.0, gt=0, description="Length of the move, in medians of the real ones.")

Whoever gives options (a recipe, a constructor) checks them by `checked`; what they are `described` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from augment.base.errors import UsageError, suggest

Model = TypeVar("Model", bound=BaseModel)
KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "string": "text"}
LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


class BaseOptions(BaseModel):
    """No other names, no text for a number, nothing infinite: a slip is an error before any work."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="after")
    def _all_are_read(self) -> BaseOptions:
        """An option that is set and would change nothing is a mistake too; see `OnlyWith`."""
        for name, info in type(self).model_fields.items():
            for needed in (item for item in info.metadata if isinstance(item, OnlyWith)):
                other = getattr(self, needed.option)
                if other not in needed.values and getattr(self, name) != info.default:
                    raise ValueError(f"'{name}' is {needed}; {needed.option} is '{other}'")
        return self


@dataclass(frozen=True)
class OnlyWith:
    """For `Annotated[float, OnlyWith("loss", ("hinge",))]`: read where the option `option` has one of these values."""

    option: str
    values: Collection[str]

    def __str__(self) -> str:
        return f"read with {self.option} {' or '.join(self.values)} only"


class Described(NamedTuple):
    name: str
    default: Any  # None where the option must be given
    text: str

    def __str__(self) -> str:
        """A line of `sparring init --explain`."""
        return f"  {self.name}: {self.text}" + ("" if self.default is None else f" Default: {self.default!r}.")


def one_of(known: Callable[[], Iterable[str]] | Iterable[str]) -> AfterValidator:
    """For `Annotated[str, one_of(names)]`: one of the names, else an error that suggests the nearest.

    known: the names, or a function that gives them when they are asked for.
    """

    def checked_name(value: str, info: ValidationInfo) -> str:
        names = list(known() if callable(known) else known)
        if value not in names:
            raise unknown_name(str(info.field_name), value, names)
        return value

    return AfterValidator(checked_name)


def unknown_name(what: str, name: str, known: Iterable[str]) -> PydanticCustomError:
    """For a validator to raise: there is no `what` called so, but perhaps one of a like name."""
    return PydanticCustomError("unknown_name", "{said}", {"said": f"unknown {what} '{name}'{suggest(name, known)}"})


def described(options: type[BaseModel]) -> list[Described]:
    """Every option in its order: name, default, prose."""
    return [
        Described(name, None if info.is_required() else info.get_default(call_default_factory=True), _prose(info))
        for name, info in options.model_fields.items()
    ]


def checked(options: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """The options with `values`, the others at their defaults.

    Raises UsageError, in one line that begins with `where`, for a name that is not an option and a value that is none.
    What a validator of a field raises is said after the value ("must be even"); one of the whole model, by itself.
    """
    try:
        found = options.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(f"{where}: {_problem(options, error.errors()[0])}") from None
    for name in values:
        if name not in options.model_fields:  # of a model that does not forbid them
            raise UsageError(f"{where}: {_unknown(options, name)}")
    return found


def _problem(options: type[BaseModel], error: ErrorDetails) -> str:
    """One pydantic error, without where."""
    kind, said = error["type"], error["msg"].removeprefix("Value error, ")
    if not error["loc"] or kind == "unknown_name":
        return said
    name = str(error["loc"][0])
    if kind == "extra_forbidden":
        return _unknown(options, name)
    if kind == "missing":
        return f"'{name}' must be given"
    if kind == "literal_error":
        return f"unknown {name} '{error['input']}'{suggest(str(error['input']), _choices(options.model_fields[name]))}"
    if kind != "value_error":
        said = _must(kind, options.model_fields[name], said)
    return f"{name} = {error['input']!r} {said}"


def _must(kind: str, info: FieldInfo, said: str) -> str:
    """What a value must be: of which kind where it is of another, else within which limits."""
    first, _, rest = kind.partition("_")
    if first in KINDS and rest in ("type", "parsing", "from_float"):
        return f"must be {KINDS[first]}"
    limits = [(word, getattr(limit, key)) for limit in info.metadata for key, word in LIMITS.items()
              if getattr(limit, key, None) is not None]  # fmt: skip
    within = " and ".join(f"{word} {limit:g}" for word, limit in limits)
    if kind == "finite_number" and not within:
        within = "a finite number"
    return f"must be {within}" if within else f"is wrong: {said[0].lower() + said[1:]}"


def _unknown(options: type[BaseModel], name: str) -> str:
    return f"unknown option '{name}'{suggest(name, options.model_fields)}"


def _choices(info: FieldInfo) -> list[str]:
    return [str(choice) for choice in get_args(info.annotation)]


def _prose(info: FieldInfo) -> str:
    """What it means, and with what it is read."""
    needed = [f"{str(item).capitalize()}." for item in info.metadata if isinstance(item, OnlyWith)]
    return " ".join([*([info.description] if info.description else []), *needed])
