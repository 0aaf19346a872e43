"""`--keep`: patterns of names that passes leave alone. One that matches nothing protects nothing, so it is refused."""

from __future__ import annotations

from collections.abc import Iterable

from compressor.errors import InputError, did_you_mean
from compressor.graph.edit import is_kept, layer_name
from compressor.graph.program import Program
from compressor.passes.quantizing.sites import node_names

__all__ = ["check_keep"]

MANY = 1000  # names among which a neighbour is no longer looked for


def check_keep(program: Program, keep: Iterable[str]) -> None:
    """Raises InputError for a pattern that no parameter, layer or operator of the program is called by."""
    operators = node_names(program)
    names = sorted({*program.tensors(), *map(layer_name, operators), *operators.values()})
    for glob in keep:
        if not any(is_kept(name, (glob,)) for name in names):
            raise InputError(
                f"no parameter or layer is called {glob!r}",
                where="--keep",
                way_out=did_you_mean(glob, names) if len(names) < MANY else "compress inspect lists them.",
            )
