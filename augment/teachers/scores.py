"""What the user's own best model said of each real row, from a file of scores, however dear that model is to ask.

It said nothing of samples. So models are fitted to the scores as soft labels (distillation: Hinton et al., 2015), and
what they miss of a row's own score, in log odds, is kept beside the row: a sample is what they say of it, moved by what
they missed of its anchor. A copy that only hides fields has its anchor's score, whatever that score knew beyond them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from pydantic import Field
from scipy.special import expit, logit

from augment.base.errors import BadInput, Refused
from augment.base.files import digest
from augment.contracts.consumer import Consumer
from augment.contracts.teacher import Room
from augment.numeric.columns import whole
from augment.teachers.cross_fitted import CrossFitted

LEAST = 1e-4  # log odds of a score are those of at least this, and of at most 1 − this


class Scores(CrossFitted):
    """It is compared with the consumer on validation rows alone: whose labels the scores saw only the user knows."""

    name = "scores"
    what = "your own model's score of each row, from a file; cross-fitted models say what it is of what is made of one"
    unseen = False

    class Options(CrossFitted.Options):
        path: str = Field(
            description="Parquet or CSV file of scores in [0, 1], relative to the current directory. Those of training "
            "rows must come from a model that never saw the rows' labels, or they teach chance."
        )
        id: str = Field("id", description="Its column of row ids: what the source's role `id` names.")
        column: str = Field("score", description="Its column of scores.")

    @classmethod
    def unfit(cls, options: Any, consumer: type[Consumer]) -> str:
        many = getattr(consumer, "multiclass", False)
        return "a score is of one class, and there are many here" if many else super().unfit(options, consumer)

    def fit(self, room: Room) -> Scores:
        """Raises BadInput where the file is not as `Options` say, Refused where it scores no training row."""
        shared = [name for name in room.train.column_names if name in room.valid.column_names]
        rows = pa.concat_tables([room.train.select(shared), room.valid.select(shared)])
        ids, scores = _read(self.options)
        place = pc.index_in(rows["row_id"].combine_chunks().cast(pa.string()), ids)
        known = place.is_valid()
        train = room.train.filter(known.slice(0, len(room.train)))
        if len(train) < 2 * self.options.folds:
            raise Refused(f"{self.options.path} scores {len(train):,} of {len(room.train):,} training rows: the source "
                          f"needs the role `id`, and the file's column '{self.options.id}' those ids")  # fmt: skip
        rows, score = rows.filter(known), scores[place.drop_null().to_numpy()]
        soft = train.set_column(train.column_names.index("label"), "label", pa.array(score[: len(train)]))
        mark = digest([ids.to_pylist(), scores.tolist()])  # models are kept under their names
        named = lambda models: room.trained({f"{mark}-{name}": model for name, model in models.items()})  # noqa: E731
        super().fit(replace(room, train=soft, trained=named))
        self._scored = whole(rows["row_id"])
        self._missed = _odds(score) - _odds(super().opinions(rows))
        return self

    def opinions(self, rows: pa.Table) -> np.ndarray:
        """One of each deal, moved by what it missed of the score of the row of that id, if that has one."""
        said = super().opinions(rows)
        place = pc.index_in(rows["row_id"].combine_chunks(), self._scored)
        at = place.is_valid().to_numpy(zero_copy_only=False)
        said[:, at] = expit(_odds(said[:, at]) + self._missed[:, place.drop_null().to_numpy()])
        return said


def _read(options: Any) -> tuple[pa.Array, np.ndarray]:
    """Ids, as strings, and float32[n] scores; rows without either are left out."""
    path, columns = options.path, [options.id, options.column]
    try:
        table = pads.dataset(path, format="csv" if Path(path).suffix == ".csv" else "parquet").to_table(columns=columns)
        ids, scores = whole(table[options.id].cast(pa.string())), whole(table[options.column].cast(pa.float32()))
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path}: no file with a column '{columns[0]}' of ids and a column '{columns[1]}' of scores: "
                       f"{str(error).splitlines()[0]}") from None  # fmt: skip
    good = pc.and_(ids.is_valid(), pc.is_finite(scores)).fill_null(False)
    ids, score = ids.filter(good), scores.filter(good).to_numpy()
    if len(score) and not 0 <= score.min() <= score.max() <= 1:
        raise BadInput(f"{path}: '{columns[1]}' has {score.min():g} to {score.max():g}: scores are probabilities")
    if len(ids.unique()) < len(ids):
        raise BadInput(f"{path}: '{columns[0]}' names rows twice")
    return ids, score


def _odds(probability: np.ndarray) -> np.ndarray:
    return logit(np.clip(probability.astype(np.float64), LEAST, 1 - LEAST))
