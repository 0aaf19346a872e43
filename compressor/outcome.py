"""What a run ends with: the report, the bundle's folder, and the exit status."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from compressor.report.model import Report

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """`bundle` is None after a dry run. `exit_code` is 3 when the metric fell too far or a budget was missed."""

    report: Report
    bundle: Path | None
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        """The report, with where the bundle is and the exit status."""
        bundle = None if self.bundle is None else str(self.bundle)
        return {**self.report.to_json(), "bundle": bundle, "exit_code": self.exit_code}

    def render(self, stream: TextIO) -> None:
        """The report as a terminal shows it."""
        from rich.console import Console

        from compressor.report.terminal import render

        console = Console(file=stream, highlight=False)
        render(self.report, console)
        if self.bundle is not None:
            console.print(f"bundle: {self.bundle}", soft_wrap=True, markup=False)
