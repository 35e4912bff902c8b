"""Samples made once per strategy and strength, from which every trial picks."""

from __future__ import annotations

import pyarrow as pa

from augment.base.errors import Refused
from augment.base.progress import bar, say
from augment.contracts.sample import weighed
from augment.contracts.strategy import options_of
from augment.contracts.tally import Tally
from augment.generation.studio import Studio
from augment.numeric.vectors import margins_to_losses
from augment.runs.task import Job
from augment.search.space import STRENGTHS, Choice


class Pools:
    """Gated samples of every strategy at every strength, as many as the largest share can want.

    warnings: those of which too few pass, which are left out. Raises Refused when that is every one.
    """

    def __init__(self, job: Job, studio: Studio, strengths: tuple[float, ...] = STRENGTHS) -> None:
        self._job, self._studio = job, studio
        self.warnings: list[str] = []
        self._tables: dict[tuple[str, float], pa.Table] = {}
        for name in job.task.strategies:
            has = "strength" in options_of(name)
            for strength in strengths if has else (1.0,):
                self._tables[name, strength] = self._make(name, strength, has)
        if not any(map(len, self._tables.values())):
            raise Refused(f"{job.name}: {'; '.join(self.warnings)}")

    @property
    def strong(self) -> set[str]:
        """Strategies that have a strength."""
        return {name for name, strength in self._tables if strength != 1.0}

    def _make(self, name: str, strength: float, has: bool) -> pa.Table:
        wanted, tally = self._job.task.samples, Tally()
        options = {"strength": strength} if has else {}
        with bar(wanted, f"{name} {strength:g}", "sample") as shown:
            tables = []
            for table in self._studio.samples(name, wanted, tally, len(self._tables), options):
                tables.append(table)
                shown.update(len(table))
        say(f"{self._job.name}: {name} at strength {strength:g}: {tally.kept:,} of {tally.proposed:,} pass")
        if tally.too_few(self._job.task.gates):
            at = f" at strength {strength:g}" if has else ""
            self.warnings.append(f"'{name}'{at} is left out: {tally.fate(self._job.task.gates)}")
            say(f"{self._job.name}: warning: {self.warnings[-1]}")
            tables.clear()
        return pa.concat_tables(tables) if tables else self._studio.nothing()

    def mix(self, choice: Choice) -> pa.Table | None:
        """The samples of a portfolio, filtered and weighed; None when there are none."""
        chosen = self._chosen(choice)
        if not any(map(len, chosen.values())):
            return None
        return weighed(self._studio.refiltered(pa.concat_tables(chosen.values()), choice.filter), choice.weight)

    def made(self, choice: Choice) -> dict[str, int]:
        """Strategy → number of samples in the portfolio: less than its share wants where few pass the gates."""
        return {name: len(table) for name, table in self._chosen(choice).items() if len(table)}

    def _chosen(self, choice: Choice) -> dict[str, pa.Table]:
        total, found = sum(choice.shares.values()), {}
        easiest, hardest = margins_to_losses(choice.band)
        for name, share in ((n, s) for n, s in choice.shares.items() if s):
            pool = self._tables[name, choice.strengths.get(name, 1.0)]
            hardness, agreement = pool["hardness"].to_numpy(), pool["label_agreement"].to_numpy()
            passed = (hardness >= easiest) & (hardness <= hardest) | pool["teacher_spread"].is_valid().to_numpy()
            passed &= agreement >= choice.agreement
            wanted = round(self._job.task.samples * choice.size * share / total)
            found[name] = pool.filter(pa.array(passed)).slice(0, wanted)
        return found
