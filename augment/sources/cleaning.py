"""Raw logs in, clean splits out: read by DuckDB out of core, checked, cleaned, quarantined with a reason.

A row goes raw → typed (roles cast, each bad row with its reason) → clean (duplicates, bots, sparse ids gone)
→ split → one Parquet file a split. Only SQL touches rows, so memory stays bounded by DuckDB's limit; pictures and
clips alone are decoded beside it, batch by batch, and a row's `image` is the hash of it until it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from augment.base.errors import BadInput
from augment.contracts.modality import RowRules
from augment.pictures.content import Content
from augment.pictures.decoding import PICTURES
from augment.recipes.source import Source, field_column
from augment.sources import media
from augment.sources.formats import own
from augment.sources.places import cuts, place
from augment.sources.splits import Splits, TooManyBad
from augment.sources.sql import AMBIGUOUS, EARLIEST, given, literal, microseconds, name_of, number_of, quoted
from augment.sources.tables import columns_of, load, one_line, place_of

LARGEST = "3.4e38"  # label that a 32-bit float holds; in SQL, infinity and NaN are larger
BINS = 16  # of a numeric field, by quantiles of training rows
EXAMPLES = 1000  # different times that a format is tried on
LEFT_OUT = "left-out.parquet"
HARMLESS = "duplicate"  # quarantined, but no sign of a broken source


class Cleaning:
    def __init__(
        self, db: duckdb.DuckDBPyConnection, name: str, source: Source, rules: RowRules, folder: Path, seed: int,
        content: Content = PICTURES, cache: Path | None = None,
    ) -> None:  # fmt: skip
        """content: of the files that rows may have. cache: a file that keeps what these were decoded to."""
        self.db, self.name, self.source, self.content, self.cache = db, name, source, content, cache
        self.rules, self.folder, self.seed = rules, folder, seed
        columns = source.columns
        roles = {
            "id": columns.id,
            "user_id": columns.user,
            "item_id": columns.item,
            "timestamp": columns.timestamp,
        }
        roles |= {"label": columns.label, "text": columns.text, content.role: getattr(columns, content.role)}
        roles["segment"] = columns.segment
        self.roles = {role: column for role, column in roles.items() if column}
        self._placed = ", ".join(("row_id", *(c for c in ("user_id", "item_id", "timestamp") if c in self.roles)))
        self.fields = {field_column(field): field for field in columns.fields}
        self.numbers = {field_column(number): number for number in columns.numbers}
        # Clicks without a label are bad rows, unless the recipe asks for rows without; reviews never are.
        asked = source.labelled is not None or source.unlabelled is not None
        self.semi_supervised = rules.unlabelled == "kept" or (rules.unlabelled == "asked" and asked)

    def read(self) -> Splits:
        self._check_roles()
        load(self.db, self.name, self.source)
        self._type()
        self._clean()
        self._split()
        return self._write()

    def _check_roles(self) -> None:
        for role in self.rules.needs:
            if role not in self.roles:
                raise BadInput(f"sources.{self.name}.columns: this task needs the role '{role.removesuffix('_id')}'")
        if self.rules.catalogue:
            if not (self.fields or self.numbers or {"text", "image", "segment"} & set(self.roles)):
                what, kinds = self.rules.needs[0].removesuffix("_id"), "text, image, segment, fields or numbers"
                raise BadInput(f"sources.{self.name}.columns: name what {what}s are: {kinds}")
            return
        if self.rules.fields and not (self.fields or self.numbers or {"user_id", "item_id"} & set(self.roles)):
            raise BadInput(f"sources.{self.name}.columns: name the impression's fields")
        by = self.source.split.by
        needed = {"random": (), "new_items": ("item_id",), "new_users": ("user_id", "timestamp")}
        if lacking := [role for role in needed.get(by, ("timestamp",)) if role not in self.roles]:
            role = lacking[0].removesuffix("_id")
            raise BadInput(f"sources.{self.name}.columns: a split by {by} needs the role '{role}'")

    def _type(self) -> None:
        """Table `typed`: standard columns and `__reason`, null for a good row."""
        names = {r: c for r, c in self.roles.items() if r not in ("timestamp", "label", "text", self.content.role)}
        names |= self.fields
        select = [f"{name_of(self._given(c))} AS {quoted(r)}" for r, c in names.items()]
        if text := self.roles.get("text"):
            select.append(f"{self._given(text)} AS text")
        rows, bad = "raw", "NULL"
        if column := self.roles.get(self.content.role):
            media.take_in(self.db, self.source, self.content, self._given(column), self.cache)
            select.append(f"__content AS {self.content.role}")
            rows, bad = "(SELECT * FROM raw LEFT JOIN files USING (__row))", "r.__bad"
        select += [f"{self._number(c)} AS {quoted(r)}" for r, c in self.numbers.items()]
        if label := self.roles.get("label"):
            select.append(f"{self._label(label)} AS label")
        if column := self.roles.get("timestamp"):
            select.append(f"{microseconds(self._given(column), self.source.timestamp_format)} AS timestamp")
        tests = self._tests()
        reason = (
            f"CASE {' '.join(f'WHEN {test} THEN {literal(why)}' for why, test in tests.items())} END"
            if tests
            else "NULL"
        )
        self.db.execute(
            f"CREATE OR REPLACE TABLE typed AS SELECT t.*, coalesce({bad}, {reason}) AS __reason FROM "
            f"(SELECT __row, {', '.join(select)} FROM {rows}) t JOIN {rows} r USING (__row) ORDER BY __row"
        )
        content = ", ".join(f"coalesce(CAST({quoted(c)} AS VARCHAR), '\\N')" for c in self._content())
        named = "id" if "id" in self.roles else f"md5(concat_ws('\x1f', {content}))"
        self.db.execute(f"ALTER TABLE typed ADD COLUMN row_id VARCHAR; UPDATE typed SET row_id = {named}")

    def _given(self, column: str) -> str:
        return given(own(column), self.source.null)

    def _number(self, column: str) -> str:
        return number_of(self._given(column), self.source.decimal, self.source.units)

    def _label(self, column: str) -> str:
        if self.source.classes:
            names = ", ".join(f"lower({literal(name.strip())})" for name in self.source.classes)
            place = f"list_position([{names}], lower({name_of(self._given(column))}))"
            return f"CAST(nullif({place}, 0) - 1 AS DOUBLE)"
        if not isinstance(self.source.positive, list):
            return self._number(column)
        text, words = self._given(column), ", ".join(f"lower({literal(w.strip())})" for w in self.source.positive)
        return f"CASE WHEN {text} IS NOT NULL THEN CAST(lower({text}) IN ({words}) AS DOUBLE) END"

    def _no_number(self, role: str, column: str) -> str:
        """SQL: whether there is a value that is no number; NaN is none, as an empty one is."""
        there = self._given(column).replace(own(column), f"r.{own(column)}")
        return f"lower({there}) <> 'nan' AND t.{quoted(role)} IS NULL"

    def _tests(self) -> dict[str, str]:
        """Reason → SQL condition of a bad row; the first that holds names it. `t` is the typed row, `r` the raw one."""
        tests = {}
        for role in ("id", "user_id", "item_id", *self.rules.filled):
            if role in self.roles:
                tests[f"{role.removesuffix('_id')} missing"] = f"t.{quoted(role)} IS NULL"
        names = {role: role for role in self.roles if role not in ("timestamp", "label", self.content.role)}
        names |= self.fields
        for role, name in names.items():
            tests[f"{name} too long"] = f"length(t.{quoted(role)}) > {self.source.max_text}"
        if label := self.roles.get("label"):
            unread = "label of no class" if self.source.classes else "label not a number"
            tests[unread] = f"({self._no_number('label', label)}) OR NOT abs(t.label) < {LARGEST}"
            if (self.rules.classes and not self.semi_supervised) or self.source.keep is not None:
                tests["label missing"] = "t.label IS NULL"
            if self.rules.classes and self.source.positive is None and not self.source.classes:
                tests["label not in 0…1"] = "t.label NOT BETWEEN 0 AND 1"
        if "timestamp" in self.roles:
            tests["timestamp unreadable"] = "t.timestamp IS NULL"
            soonest = "epoch_us(now()) + 86400000000"
            tests["timestamp impossible"] = f"t.timestamp NOT BETWEEN {EARLIEST} AND {soonest}"
        for role, number in self.numbers.items():
            finite = f"isfinite(t.{quoted(role)})"
            tests[f"{number} not a number"] = f"({self._no_number(role, number)}) OR NOT {finite}"
        return tests

    def _content(self) -> list[str]:
        return [role for role in self.roles if role != "id"] + list(self.fields) + list(self.numbers)

    def _clean(self) -> None:
        """Give duplicates and bots their reason, check the share of bad rows, then drop sparse users and items."""
        content = ", ".join(quoted(c) for c in self._content())
        # Without a time, equal impressions are different events; equal texts are always copies.
        if "timestamp" in self.roles or self.rules.copies:
            self._mark(HARMLESS, f"row_number() OVER (PARTITION BY {content} ORDER BY __row) > 1")
        if "id" in self.roles:
            self._mark("duplicate id", "row_number() OVER (PARTITION BY id ORDER BY __row) > 1")
        if self.rules.catalogue:
            what = self.rules.needs[0]
            again = f"row_number() OVER (PARTITION BY {what} ORDER BY __row) > 1"
            self._mark(f"duplicate {what.removesuffix('_id')}", again)
        if {"user_id", "timestamp"} <= set(self.roles):
            burst = f"count(*) OVER (PARTITION BY user_id, timestamp // 60000000) > {self.source.max_per_minute}"
            self._mark("bot", "bool_or(__burst) OVER (PARTITION BY user_id)", f", {burst} AS __burst")
        self._check_share()
        self.db.execute(f"CREATE OR REPLACE TABLE left_out AS SELECT {self._placed} FROM typed LIMIT 0")
        if self.source.keep is not None:
            self._leave_out("label < ?", [self.source.keep])
        if isinstance(self.source.positive, float):
            self.db.execute("UPDATE typed SET label = CAST(label >= ? AS DOUBLE)", [self.source.positive])
        # Copies without an id share their content's hash: number them.
        self.db.execute(
            "UPDATE typed SET row_id = typed.row_id || '-' || __n FROM (SELECT __row, row_number() OVER "
            "(PARTITION BY row_id ORDER BY __row) AS __n FROM typed WHERE __reason IS NULL) c "
            "WHERE c.__row = typed.__row AND __n > 1"
        )
        while self.source.split.core > 1 and not self.rules.catalogue and self._leave_out(self._sparse()):
            pass
        if not self._count("SELECT count(*) FROM typed WHERE __reason IS NULL"):
            raise BadInput(
                f"sources.{self.name}: no good rows left in {place_of(self.source)}: all bad, below `keep` or sparse"
            )

    def _mark(self, reason: str, test: str, extra: str = "") -> None:
        inner = f"(SELECT *{extra} FROM typed WHERE __reason IS NULL)"
        bad = f"SELECT __row FROM (SELECT __row, {test} AS bad FROM {inner}) WHERE bad"
        self.db.execute(f"UPDATE typed SET __reason = ? WHERE __row IN ({bad})", [reason])

    def _check_share(self) -> None:
        total = self._count("SELECT (SELECT count(*) FROM typed) + (SELECT count(*) FROM malformed)")
        if not total:
            raise BadInput(f"sources.{self.name}: {place_of(self.source)} has no rows")
        reasons = self._reasons()
        bad = sum(count for reason, count in reasons.items() if reason != HARMLESS)
        if bad > self.source.max_bad_share * total:
            worst = ", ".join(
                f"{reason} ({count:,})" for reason, count in sorted(reasons.items(), key=lambda x: -x[1])[:3]
            )
            raise TooManyBad(
                f"sources.{self.name}: {bad:,} of {total:,} rows are bad, over max_bad_share = "
                f"{self.source.max_bad_share:g}: {worst}; {self._remedy(reasons)}",
                self._quarantine(),
            )

    def _remedy(self, reasons: dict[str, int]) -> str:
        """What to do about bad rows: of times that are written in an order of their own, the format that reads them."""
        remedy = "mend the source or raise the limit"
        if "timestamp unreadable" not in reasons:
            return remedy
        seen = f"SELECT DISTINCT {self._given(self.roles['timestamp'])} AS time FROM raw JOIN typed USING (__row)"
        self.db.execute(
            "CREATE OR REPLACE TEMP TABLE unread AS SELECT time FROM "
            f"({seen} WHERE __reason = 'timestamp unreadable') WHERE time IS NOT NULL LIMIT {EXAMPLES}"
        )
        every = self._count("SELECT count(*) FROM unread")
        read = {form: self._count(f"SELECT count(try_strptime(time, '{form}')) FROM unread") for form in AMBIGUOUS}
        fitting = [form for form, count in read.items() if count and count >= 0.9 * every]
        if not fitting:
            return remedy
        example = self.db.execute("SELECT min(time) FROM unread").fetchall()[0][0]
        formats = " or ".join(f'timestamp_format = "{form}"' for form in fitting)
        return f"times such as {one_line(example)} are read with {formats}"

    def _reasons(self) -> dict[str, int]:
        every = "SELECT __reason FROM typed UNION ALL SELECT 'malformed line' FROM malformed"
        counts = f"SELECT __reason, count(*) FROM ({every}) WHERE __reason IS NOT NULL GROUP BY 1 ORDER BY 1"
        return dict(self.db.execute(counts).fetchall())

    def _sparse(self) -> str:
        """SQL: whether a row is of too few of its user's or its item's, by one round of the k-core filter."""
        few = (
            f"{quoted(c)} IN (SELECT {quoted(c)} FROM typed WHERE __reason IS NULL GROUP BY 1 "
            f"HAVING count(*) < {self.source.split.core})"
            for c in ("user_id", "item_id")
            if c in self.roles
        )
        return " OR ".join(few) or "false"

    def _leave_out(self, test: str, values: Sequence[float] = ()) -> int:
        """Drop good rows, no bad ones; how many. They are no training rows, but say which items there were before."""
        which = f"FROM typed WHERE __reason IS NULL AND ({test})"
        self.db.execute(f"INSERT INTO left_out SELECT {self._placed} {which}", values)
        return self._count(f"DELETE {which}", values)

    def _split(self) -> None:
        """Column `__split`. Rows of one instant stay on one side of a split by time."""
        if self.rules.catalogue:
            good = "SELECT *, 'train' AS __split FROM typed WHERE __reason IS NULL"
            self.db.execute(f"CREATE OR REPLACE TABLE clean AS {good}")
            return
        valid, test = cuts(self.source.split)
        moments = (0, 0)
        if self.source.split.by == "time":
            last = f"SELECT quantile_disc(timestamp, [{valid}, {test}]) FROM typed WHERE __reason IS NULL"
            moments = tuple(self.db.execute(last).fetchall()[0][0])
        where = place(self.source.split, self.roles, self.seed, moments)
        self.db.execute(
            f"CREATE OR REPLACE TABLE clean AS SELECT * EXCLUDE (__place), CASE "
            f"WHEN __place >= {test} + 1e-9 OR __place = 1 THEN 'test' "
            f"WHEN __place >= {valid} THEN 'valid' ELSE 'train' END AS __split "
            f"FROM (SELECT *, {where} AS __place FROM typed WHERE __reason IS NULL)"
        )
        if {"item_id", "timestamp"} <= set(self.roles):
            earlier = f"(SELECT *, {where} AS __place FROM left_out) WHERE __place < {valid}"
            query = f"SELECT item_id, min(timestamp) AS timestamp FROM {earlier} GROUP BY 1 ORDER BY 1"
            self.db.execute(f"COPY ({query}) TO {literal(str(self.folder / LEFT_OUT))} (FORMAT parquet)")
        if self.semi_supervised:
            self.db.execute("DELETE FROM clean WHERE __split IN ('valid', 'test') AND label IS NULL")
        self._cap("valid", self.source.valid_rows)
        self._cap("test", self.source.test_rows)
        if self.semi_supervised:
            self._unlabel(self.source.labelled)
            self._cap("unlabelled", self.source.unlabelled)

    def _cap(self, split: str, rows: int | None) -> None:
        if rows is not None:
            self.db.execute(f"DELETE FROM clean WHERE __row IN ({self._shuffled(split)} OFFSET {rows})")

    def _unlabel(self, labelled: int | None) -> None:
        """Beyond the first `labelled` training rows of a seeded order, rows lose their label: a split of their own."""
        if labelled is not None:
            keep = self._shuffled("train", "label IS NOT NULL")
            self.db.execute(
                f"UPDATE clean SET label = NULL WHERE __split = 'train' AND __row NOT IN ({keep} LIMIT {labelled})"
            )
        self.db.execute("UPDATE clean SET __split = 'unlabelled' WHERE __split = 'train' AND label IS NULL")

    def _shuffled(self, split: str, which: str = "true") -> str:
        order = f"md5(row_id || ':{self.seed}:order'), __row"
        return f"SELECT __row FROM clean WHERE __split = '{split}' AND {which} ORDER BY {order}"

    def _write(self) -> Splits:
        columns = ["row_id", *(c for c in self._content() if c not in self.numbers and c != "label")]
        select = [f"__file AS {c}" if c == self.content.role else quoted(c) for c in columns]
        rows = "clean LEFT JOIN files USING (__row)" if self.content.role in self.roles else "clean"
        if "label" in self.roles:
            select.append(f"{self._written_label()} AS label")
        select += [f"{self._bin(number)} AS {quoted(number)}" for number in self.numbers]
        counts = dict(self.db.execute("SELECT __split, count(*) FROM clean GROUP BY 1").fetchall())
        paths = {}
        for split in ("train", "valid", "test", "unlabelled"):
            if counts.get(split):
                paths[split] = self.folder / f"{split}.parquet"
                query = f"SELECT {', '.join(select)} FROM {rows} WHERE __split = '{split}' ORDER BY __row"
                self.db.execute(f"COPY ({query}) TO {literal(str(paths[split]))} (FORMAT parquet)")
            elif split != "unlabelled" and not self.rules.catalogue:
                raise BadInput(
                    f"sources.{self.name}: no rows left for the {split} split, of {sum(counts.values()):,} good; at "
                    "least 1 is needed: widen `split` or give more data"
                )
        self._check_classes()
        return Splits(
            paths["train"],
            paths.get("valid", Path()),
            paths.get("test", Path()),
            paths.get("unlabelled"),
            left_out if (left_out := self.folder / LEFT_OUT).exists() else None,
            self._quarantine(),
            counts,
            self._reasons(),
        )

    def _written_label(self) -> str:
        """SQL of a row's label as splits have it: of many classes, a list with a 1 at its own."""
        if not self.source.classes:
            return "CAST(label AS FLOAT)"
        shares = f"[CAST(c = label AS FLOAT) FOR c IN range({len(self.source.classes)})]"
        return f"CASE WHEN label IS NOT NULL THEN {shares} END"

    def _quarantine(self) -> Path:
        """The file of bad rows and malformed lines, each with its reason and, cut where very long, its content."""
        path = self.folder / "quarantine.parquet"
        shown = {column: f"r.{own(column)}" for column in columns_of(self.source)}
        for column in self.source.binary:
            shown[column] = media.quarantined(shown[column])
        content = ", ".join(f"{literal(column)}, {value}" for column, value in shown.items())
        bad = (
            f"SELECT t.__row, t.__reason AS reason, CAST(json_object({content}) AS VARCHAR) AS row "
            "FROM typed t JOIN raw r USING (__row) WHERE t.__reason IS NOT NULL UNION ALL "
            f"SELECT __row, 'malformed line', left(line, {self.source.max_text}) FROM malformed"
        )
        self.db.execute(f"COPY ({bad} ORDER BY 1) TO {literal(str(path))} (FORMAT parquet)")
        return path

    def _check_classes(self) -> None:
        if not self.rules.classes:
            return
        if self.source.classes:
            query = "SELECT count(DISTINCT label) FROM clean WHERE __split = 'train'"
            if self._count(query) < 2:
                raise BadInput(
                    f"sources.{self.name}: the labels of all training rows are of one class: there is nothing to learn"
                )
            return
        query = "SELECT bool_or(label >= 0.5), bool_or(label < 0.5) FROM clean WHERE __split = 'train'"
        if not all(self.db.execute(query).fetchall()[0]):
            raise BadInput(
                f"sources.{self.name}: the labels of all training rows are on one side of 0.5: there is nothing to "
                "learn, rows on both are needed; check the label's column and `positive`"
            )

    def _bin(self, number: str) -> str:
        """SQL of a number's bin: 'q' and how many quantiles of the training rows lie below it; null if missing."""
        quantiles = ", ".join(str(i / BINS) for i in range(1, BINS))
        query = f"SELECT quantile_cont({quoted(number)}, [{quantiles}]) FROM clean WHERE __split = 'train'"
        edges = self.db.execute(query).fetchall()[0][0]
        if edges is None:  # no training row has it
            return "CAST(NULL AS VARCHAR)"
        below = (f"CAST({quoted(number)} > CAST('{edge!r}' AS DOUBLE) AS INTEGER)" for edge in edges)
        return f"CASE WHEN {quoted(number)} IS NOT NULL THEN 'q' || ({' + '.join(below)}) END"

    def _count(self, query: str, values: Sequence[float] = ()) -> int:
        return int(self.db.execute(query, values).fetchall()[0][0])
