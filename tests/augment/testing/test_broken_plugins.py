"""A suite is worth what it finds: each plug-in here breaks one promise, and fails the test of that promise."""

import inspect
from contextlib import contextmanager, suppress

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import Field

from augment.base.errors import BadInput
from augment.contracts.check import check
from augment.contracts.options import BaseOptions
from augment.contracts.registry import consumer_class, modality_class
from augment.contracts.strategy import Strategy
from augment.contracts.values import Candidates
from augment.sources.streamed import Streamed
from augment.testing import checks, consumers, data, engines, modalities, sources, strategies
from augment.testing.shop import shop_of


def failed(suite, folder, *promises):
    """Of these promises, or all, those that are not kept."""
    (cases,) = (mark.args[1] for mark in suite.pytestmark)
    found = set()
    for name, promise in inspect.getmembers(suite, inspect.isfunction):
        told = name.removeprefix("test_")
        if told == name or (promises and told not in promises):
            continue
        (folder / name).mkdir()
        given = {"tmp_path": folder / name} if "tmp_path" in inspect.signature(promise).parameters else {}
        try:
            with suppress(pytest.skip.Exception):
                promise(suite(), case=cases[0], **given)
        except Exception:
            found.add(told)
    return found


# -- strategies ------------------------------------------------------------------------------------


class Jitter(Strategy):
    name = "jitter"
    what = "a little noise on the embedding"

    class Options(BaseOptions):
        size: float = Field(0.1, gt=0, description="Standard deviation of the noise.")

    def propose(self, anchors, rng):
        x = self.workshop.anchors.embedding[anchors]
        return self.workshop.candidates(anchors, x + self.options.size * rng.standard_normal(x.shape, np.float32), rng)


class Undocumented(Jitter):
    class Options(BaseOptions):
        size: float = 0.1


class Unlimited(Jitter):
    class Options(BaseOptions):
        size: float = Field(0.1, description="Of the noise.")


class Everyone(Jitter):
    def propose(self, anchors, rng):
        return super().propose(np.arange(len(self.workshop.anchors)), rng)


class Wide(Jitter):
    def propose(self, anchors, rng):
        found = super().propose(anchors, rng)
        return Candidates(found.anchor, found.rows, found.embedding.astype(np.float64))


class Global(Jitter):
    def propose(self, anchors, rng):
        return super().propose(anchors, np.random.default_rng(torch.randint(2**31, ()).item()))


class Greedy(Jitter):
    def propose(self, anchors, rng):
        self.workshop.anchors.embedding[anchors] += np.float32(0.1)
        return super().propose(anchors, rng)


class Forgetful(Jitter):
    keeps = {"noise.safetensors": "warm.safetensors"}  # noqa: RUF012


class Short(Jitter):
    def propose(self, anchors, rng):
        found = super().propose(anchors, rng)
        return Candidates(found.anchor, found.rows.slice(1), found.embedding)


class Mute(Jitter):
    def propose(self, anchors, rng):
        return super().propose(anchors[:0], rng)


class Lost(Jitter):
    def propose(self, anchors, rng):
        found = super().propose(anchors, rng)
        return Candidates(found.anchor, found.rows, found.embedding * np.float32(np.nan))


class Detached(Jitter):
    def propose(self, anchors, rng):
        found = super().propose(anchors, rng)
        return Candidates(found.anchor, found.rows, -found.embedding)


SHAPES = {"candidates_have_the_right_shapes", "candidates_are_of_the_anchors_asked_for"}
STRATEGIES = {
    Undocumented: {"it_says_what_it_is"},
    Unlimited: {"it_says_what_it_is"},
    Everyone: {"candidates_are_of_the_anchors_asked_for"},
    Wide: SHAPES,
    Global: {"the_same_seed_gives_the_same_candidates"},
    Greedy: {"it_changes_nothing_that_it_is_given"},
    Forgetful: {"what_nights_lend_again_is_there"},
    Short: SHAPES,
    Detached: SHAPES,
    Mute: {"candidates_have_the_right_shapes"},
    Lost: {*SHAPES, "the_gates_can_judge_them"},
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_that_breaks_a_promise_fails(strategy, tmp_path):
    rows = data.rows_of(modality_class("fields"))
    shop = shop_of(modality_class("fields"), rows)  # a shop of its own: one of them changes it
    assert failed(strategies.suite(strategy, shop=shop), tmp_path, *STRATEGIES[strategy]) == STRATEGIES[strategy]


def test_a_strategy_that_breaks_none_passes(tmp_path):
    assert not failed(strategies.suite(Jitter), tmp_path)


# -- modalities ------------------------------------------------------------------------------------

Fields, Sentiment = modality_class("fields"), consumer_class("sentiment")


class Quick(consumer_class("ctr")):
    def __init__(self, **options):
        super().__init__(**{"model": "logistic", "epochs": 1, "weight_decay": 0.1, **options})


class Shuffling(Fields):
    def perturb(self, rows, rng, kind=""):
        return super().perturb(rows, rng, kind).take(pa.array(rng.permutation(len(rows))))


class Idle(Fields):
    def perturb(self, rows, rng, kind=""):
        return rows


class Centred(Fields):
    def encode(self, rows):
        vectors = super().encode(rows)
        return vectors - vectors.mean(axis=0)


class Elsewhere(Fields):
    def decode(self, embedding, anchors, bank, rng):
        return super().decode(embedding, anchors, bank, rng)[0], embedding


class Unreadable(Fields):
    def as_decoded(self, rows):
        return pa.StructArray.from_arrays([rows["row_id"].combine_chunks()], names=["row_id"])


class Narrow(Fields):
    def describe(self, rows, label, rng):
        found = super().describe(rows, label, rng)
        return found._replace(segment=found.segment.astype(np.int32))


class Sure(Fields):
    def validity(self, rows, embedding, gates, seed):
        found = super().validity(rows, embedding, gates, seed)
        found.label = found.label + 1
        return found


class Content(Fields):
    @classmethod
    def check_enough(cls, source, train):
        pass


MODALITIES = {
    Shuffling: "a_copy_is_another_row_in_its_place",
    Idle: "a_copy_is_another_row_in_its_place",
    Centred: "vectors_are_those_of_the_rows",
    Elsewhere: "what_is_decoded_is_what_was_encoded",
    Unreadable: "published_rows_have_their_type",
    Narrow: "conditions_have_their_shapes",
    Sure: "labels_are_judged",
    Content: "an_empty_table_is_too_few_and_training_rows_are_enough",
}


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_modality_that_breaks_a_promise_fails(modality, tmp_path):
    suite = modalities.suite(modality, consumer=Quick)
    assert failed(suite, tmp_path, MODALITIES[modality])


# -- consumers -------------------------------------------------------------------------------------


class Rude(Sentiment):
    def __init__(self, **options):
        super().__init__(**options)
        self.C = 7.0


class Loud(Sentiment):
    def predict(self, rows):
        return super().predict(rows) * 2


class Moody(Sentiment):
    def predict(self, rows):
        return super().predict(rows) * np.float32(torch.rand(()).item())


class Stubborn(Sentiment):
    def fit(self, train, valid, mix=None):
        return super().fit(train, valid)


class Vague(Sentiment):
    def evaluate(self, test, attacked):
        return {name: one for name, one in super().evaluate(test, attacked).items() if name != "auc_pgd"}


class Inventive(Sentiment):
    def attacks(self, test, seed):
        return {
            n: rows.set_column(0, "row_id", [["new"] * len(rows)]) for n, rows in super().attacks(test, seed).items()
        }


class Deaf(Sentiment):
    def as_victim(self):
        victim = super().as_victim()
        victim._logit = lambda x: 0 * x.sum(dim=1)
        return victim


class Amnesiac(Sentiment):
    @classmethod
    def load(cls, folder, device="cpu"):
        model = super().load(folder, device)
        model.net_.body.bias.data += 1
        return model


CONSUMERS = {
    Rude: "options_are_kept_under_their_names",
    Loud: "predictions_have_their_shape_and_range",
    Moody: "a_seed_repeats_itself",
    Stubborn: "it_learns_from_the_mix",
    Vague: "every_metric_is_measured",
    Inventive: "attacks_are_copies_of_the_rows",
    Deaf: "it_can_be_sparred_with",
    Amnesiac: "a_saved_model_is_the_same",
}


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_a_consumer_that_breaks_a_promise_fails(consumer, tmp_path):
    assert failed(consumers.suite(consumer, {"C": 1.0}), tmp_path, CONSUMERS[consumer])


# -- sources, checks, engines ----------------------------------------------------------------------


class Lake(Streamed):
    name = "lake"

    def table(self, source):
        try:
            return pq.read_table(source.path.removeprefix("lake://"))
        except OSError as error:
            raise BadInput(f"the lake is dry: {error}") from None

    @contextmanager
    def batches(self, source, since=None):
        yield self.table(source).to_reader(100)


def put(folder, rows):
    pq.write_table(rows, folder / "rows.parquet")
    return {"path": f"lake://{folder}/rows.parquet"}


class Leaking(Lake):
    def table(self, source):
        return super().table(source).slice(1)


class Alike(Lake):
    def fingerprint(self, source):
        super().fingerprint(source)
        return {"lake": "0" * 64}


class Bare(Lake):
    def table(self, source):
        return pq.read_table(source.path.removeprefix("lake://"))


class Twice(Lake):
    def new_parts(self, source, reading, taken):
        new = reading.read()
        return {**reading.known, f"read {len(reading.known)}": new}


class Foreign(Lake):
    @classmethod
    def owns(cls, source):
        return False


SOURCES = {
    Leaking: "all_rows_are_loaded_as_text",
    Alike: "the_fingerprint_is_of_the_content",
    Bare: "the_fingerprint_is_of_the_content",
    Twice: "nights_read_every_row_once",
    Foreign: "it_reads_what_a_recipe_names_so",
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_that_breaks_a_promise_fails(kind, tmp_path):
    assert failed(sources.suite(kind, put), tmp_path, SOURCES[kind])


def test_a_source_that_breaks_none_passes(tmp_path):
    assert not failed(sources.suite(Lake, put), tmp_path)


@pytest.mark.parametrize(
    ("settings", "figure", "promise"),
    [
        ({"what": "rows."}, lambda night: night.day_rows / 500, "it_says_what_it_is"),
        ({"what": "rows"}, lambda night: night.day_rows / max(night.window_rows), "any_night_has_a_figure"),
        ({"what": "rows"}, lambda night: float("nan"), "any_night_has_a_figure"),
        (
            {"what": "rows", "least": True},
            lambda night: night.day_rows / 500,
            "a_good_night_passes_and_a_bad_one_does_not",
        ),
        ({"what": "rows"}, lambda night: 0.0, "a_good_night_passes_and_a_bad_one_does_not"),
    ],
)
def test_a_check_that_breaks_a_promise_fails(settings, figure, promise, tmp_path):
    made = check("many_rows", limit=1.5, **settings)(figure)
    assert failed(checks.suite(made, bad={"day_rows": 1000}), tmp_path, promise)


class Backwards:
    name = "backwards"

    def map(self, work, items):
        return iter([work(item) for item in items][::-1])


class Patient:
    name = "patient"

    def map(self, work, items):
        for item in items:
            with suppress(BadInput):
                yield work(item)


class Together:
    name = "together"

    def map(self, work, items):
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(3) as pool:
            yield from pool.map(work, items)


@pytest.mark.parametrize(
    ("engine", "promise"),
    [
        (Backwards, "results_come_in_the_order_of_the_items"),
        (Patient, "an_error_of_the_work_is_raised_as_it_is"),
        (Together, "results_are_those_of_a_plain_loop"),
    ],
)
def test_an_engine_that_breaks_a_promise_fails(engine, promise, tmp_path):
    assert failed(engines.suite(engine), tmp_path, promise)
