"""A teacher: what became of the training rows with the most fields in common, for clicks on rows of few fields.

Entry point, group `sparring.teachers`: `alike = teacher:Alike`. Recipes then say `teachers = ["alike"]`; it labels
samples only where it beats the consumer on validation rows.
"""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
from pydantic import Field

from augment.contracts.options import BaseOptions
from augment.contracts.teacher import Teacher
from augment.numeric.measures import Auc


class Alike(Teacher):
    name = "alike"
    what = "the mean label of the training rows that are most alike"

    class Options(BaseOptions):
        nearest: int = Field(50, ge=1, description="Training rows that are asked.")

    def fit(self, room):
        self.rows, self.asked = room.train, min(self.options.nearest, len(room.train))
        self.fields = [name for name in room.train.column_names if name not in ("row_id", "label", "embedding", "text")]
        return self

    def said(self, rows):
        """float32[n, asked]: the labels of the training rows most alike to each."""
        shared = np.zeros((len(rows), len(self.rows)), np.int16)
        for name in self.fields:
            own = pc.unique(self.rows[name].combine_chunks()).drop_null()
            mine, theirs = (pc.index_in(table[name], own).to_numpy() for table in (rows, self.rows))
            shared += mine[:, None] == theirs  # unknown values are NaN, and like nothing
        nearest = np.argpartition(-shared, self.asked - 1, axis=1)[:, : self.asked]
        return self.rows["label"].to_numpy()[nearest].astype(np.float32)

    def measures(self, rows):
        return {"auc": Auc(rows["label"].to_numpy(), self.said(rows).mean(axis=1))}

    def label(self, candidates):
        said = self.said(candidates.rows)
        error = said.std(axis=1) / np.sqrt(self.asked)  # of the mean of so many
        return replace(candidates, label=said.mean(axis=1), spread=np.minimum(2 * error, 1).astype(np.float32))


if __name__ == "__main__":
    from augment.contracts.registry import modality_class
    from augment.testing.shop import usual
    from augment.testing.teachers import made_in

    shop = usual(modality_class("fields"))
    teacher = made_in(shop, Alike(Alike.Options()))
    print(f"AUC on rows that it never saw: {teacher.measures(shop.held_out[1])['auc'].value():.3f}")
