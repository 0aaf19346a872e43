"""What became of a list of jobs: a table for the terminal, `jobs.json`, and one exit status.

exit status of the jobs that this process was to do: 1 where one failed, else 2, else 3, else 0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from compressor.jobs.document import SUMMARY
from compressor.jobs.records import Record
from compressor.report.compare import Unit, display

__all__ = ["Jobs"]

_WORST = (1, 2, 3)  # exit statuses, the worst first


@dataclass(frozen=True)
class Jobs:
    """All jobs of the list in order, those of other shards too; `mine` are the names of those of this process. No
    `folder` after a dry run."""

    records: tuple[Record, ...]
    mine: frozenset[str] = field(default_factory=frozenset)
    folder: Path | None = None

    @property
    def exit_code(self) -> int:
        codes = {record.exit_code for record in self.records if record.name in self.mine}
        return next((code for code in _WORST if code in codes), 0)

    def to_json(self) -> dict[str, Any]:
        """Every record, how many are in which state, and the exit status."""
        folder = None if self.folder is None else str(self.folder)
        counts = {state: sum(record.state == state for record in self.records) for state in self._states()}
        jobs = [record.to_json() for record in self.records]
        return {"jobs": jobs, "states": counts, "folder": folder, "exit_code": self.exit_code}

    def render(self, stream: TextIO) -> None:
        """The table."""
        from rich.console import Console

        from compressor.report.terminal import line, table

        console = Console(file=stream, highlight=False)
        headings = ["job", "", "latency", "", "size", "", "metric"]
        console.print(table(headings, map(_cells, self.records), right=range(2, 7)))
        for record in self.records:
            if text := record.error or (record.verdict if record.exit_code else ""):
                console.print(line(f"{record.name}: {text}", console, "red"))
        told = (f"{sum(record.state == state for record in self.records)} {state}" for state in self._states())
        console.print(f"{len(self.records)} jobs: {', '.join(told)}", soft_wrap=True, markup=False)
        if self.folder is not None:
            console.print(f"bundles and {SUMMARY}: {self.folder}", soft_wrap=True, markup=False)

    def _states(self) -> Sequence[str]:
        return tuple(dict.fromkeys(record.state for record in self.records))


def _cells(record: Record) -> list[str]:
    """Each figure as it is now, and how many times the original's that is; nothing where it is not known."""
    cells = [record.name, f"{record.state} ({record.exit_code})" if record.exit_code else record.state]
    before, after = (record.figures.get(side, {}) for side in ("before", "after"))
    units: tuple[tuple[str, Unit], ...] = (("latency_ms", "ms"), ("bytes", "bytes"), ("metric", "metric"))
    for name, unit in units:
        old, new = before.get(name), after.get(name)
        cells.append("" if new is None else display(new, unit))
        if unit != "metric":
            cells.append(f"{new / old:.2f}×" if old and new is not None else "")
    return cells
