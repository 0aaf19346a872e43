"""`compress inspect --groups`: every dimension that can be pruned, and what freezes the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.report.compare import display, plain
from compressor.report.terminal import line, table

if TYPE_CHECKING:
    from rich.console import Console

    from compressor.graph.dimensions.groups import Dimensions
    from compressor.graph.program import Program

__all__ = ["Groups", "inspect_groups"]

SHOWN = 3  # tensors named in a row of the table; --json has all


@dataclass(frozen=True)
class Groups:
    """The dimension analysis of one program."""

    dimensions: Dimensions

    def to_json(self) -> dict[str, Any]:
        """Dimensions with the slices of each unit (`rows` of a tensor's `axis`), and frozen rows with reasons."""
        found = self.dimensions
        return {
            "parameters": found.program.parameters(),
            "units": sum(len(dimension.units) for dimension in found.dimensions),
            "dimensions": [
                {
                    "name": dimension.name,
                    "units": len(dimension.units),
                    "parameters_a_unit": dimension.parameters,
                    "tensors": [{"tensor": t, "axis": a, "rows_a_unit": r} for t, a, r in dimension.spans],
                    "slices": [
                        [{"tensor": s.tensor, "axis": s.axis, "rows": s.rows.tolist()} for s in found.slices[unit]]
                        for unit in dimension.units
                    ],
                }
                for dimension in found.dimensions
            ],
            "frozen": [{"tensor": f.tensor, "axis": f.axis, "rows": f.rows, "reason": f.reason} for f in found.frozen],
        }

    def render(self, console: Console) -> None:
        """One row a dimension, then the reasons for what stays, readable at 80 columns."""
        rows = [
            [
                plain(dimension.name),
                str(len(dimension.units)),
                display(dimension.parameters, "count"),
                display(dimension.parameters * len(dimension.units), "count"),
                plain(_listed(dict.fromkeys(tensor for tensor, *_ in dimension.spans))),
            ]
            for dimension in self.dimensions.dimensions
        ]
        console.print(table(["dimension", "units", "a unit", "in all", "parameters it cuts"], rows, right=(1, 2, 3)))
        units = sum(len(dimension.units) for dimension in self.dimensions.dimensions)
        legend = "; the number after / is rows a unit" if any("/" in name for name, *_ in rows) else ""
        console.print(line(f"{units} units in {len(rows)} dimensions{legend}", console))
        for reason, tensors in self._frozen().items():
            console.print(line(f"frozen: {plain(reason)}: {plain(_listed(tensors))}", console))

    def _frozen(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for frozen in self.dimensions.frozen:
            found[frozen.reason].append(f"{frozen.tensor} axis {frozen.axis}")
        return found


def inspect_groups(program: Program) -> Groups:
    """The groups of a program."""
    from compressor.graph.dimensions.groups import analyse

    return Groups(analyse(program))


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN} more" if len(every) > SHOWN else "")
