"""The rewrite: the units of a group read one set of tensors.

    block_b(x; W_b, own_b)  →  block_b(x; W_r, own_b)      r: the group's representative, whose names W_r is kept under

The parameter has several uses afterwards: one name in the graph, one initializer in a file. Its gradients add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from compressor.graph.edit import attribute, read, set_tensor
from compressor.graph.program import Program
from compressor.passes.sharing.units import Unit

__all__ = ["with_values", "write_together"]

Values = Mapping[str, Tensor]  # by the representative's names


def with_values(program: Program, units: Sequence[Unit], of: Unit, values: Values) -> Program:
    """A copy in which every unit computes with these values, or where there are none with those of `of`."""
    trial = program.copy()
    for unit in units:
        for name, source in zip(unit.shared, of.shared, strict=True):
            set_tensor(trial, name, values.get(source, program.get(source)))
    return trial


def write_together(program: Program, units: Sequence[Unit], of: Unit, values: Values) -> None:
    """Let every unit of this (copied) program read the tensors of `of`, with these values."""
    for name, value in values.items():
        set_tensor(program, name, value)
    for unit in units:
        names = dict(zip(unit.shared, of.shared, strict=True))
        for node in unit.nodes:
            for source in node.all_input_nodes:
                if (wanted := names.get(attribute(source) or "")) not in (None, attribute(source)):
                    node.replace_input_with(source, read(program, str(wanted), node))
