"""Sizes that are known only when a network runs, as expressions of TVM's in the sizes of its inputs.

    input_ids (batch, sequence), past_key_values.0.key (batch, heads, past, size)   →   variables batch, sequence, past
    past + sequence                                                                 →   a variable of its own

torch says of each tensor what its sizes are, in symbols of its inputs' sizes; what an input's description names alike
is one symbol, also where its trace has two. A sum of symbols becomes a variable, read from a mask that is as long, or
computed once where the network begins: TVM neither proves two such sums equal nor joins loops over them.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy  # type: ignore[import-untyped]  # it comes without types
import torch
from torch import SymInt, Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from tvm import relax, tirx

from compressor.errors import ExportError
from compressor.graph.shapes import is_settled
from compressor.graph.signature import TensorSpec

__all__ = ["Sizes", "settle"]

_FUNCTIONS = {
    "Add": operator.add, "Mul": operator.mul, "Max": tirx.max, "Min": tirx.min, "FloorDiv": tirx.floordiv,
    "CleanDiv": tirx.floordiv, "Mod": tirx.floormod, "PythonMod": tirx.floormod,
}  # fmt: skip


@dataclass
class Sizes:
    """What torch's symbols are in TVM. `same` are symbols that are one, and sums that are a symbol."""

    inputs: Sequence[fx.Node]
    nodes: Sequence[fx.Node]
    same: dict[sympy.Expr, sympy.Expr]
    _known: dict[sympy.Expr, Any] = field(default_factory=dict)

    @property
    def dynamic(self) -> bool:
        """Whether several of the inputs' sizes are known only when it runs."""
        return len({expr for node in self.inputs for expr in _expressions(node) for expr in expr.free_symbols}) > 1

    def of(self, size: int | SymInt, importer: Any) -> Any:
        """A size, as a number or an expression. Raises ExportError for one that is read from data."""
        if isinstance(size, int):
            return size
        self._begin(importer)
        return self._expression(self._one(size.node.expr))

    def shape(self, node: fx.Node, importer: Any) -> list[Any]:
        """The same of all sizes of what a node gives."""
        return [self.of(size, importer) for size in node.meta["val"].shape]

    def variable(self, computed: Any, importer: Any) -> Any:
        """A new variable for a size that is computed when it runs."""
        shape = importer.block_builder.emit(relax.ShapeExpr([computed]))
        made = tirx.Var("computed", "int64")
        importer.block_builder.match_cast(shape, relax.ShapeType([made]))
        return made

    def _begin(self, importer: Any) -> None:
        """The variables, from the inputs that the importer has made, and from sums that are no input's size."""
        if self._known:
            return
        for node in self.inputs:
            for size, variable in zip(node.meta["val"].shape, importer.env[node].ty.shape.values, strict=True):
                if isinstance(size, SymInt) and size.node.expr.is_Symbol:
                    self._known[size.node.expr] = variable
        for found in dict.fromkeys(self._one(expr) for node in self.nodes for expr in _expressions(node)):
            if found.is_Add and len(found.free_symbols) > 1 and found.free_symbols <= self._known.keys():
                self._known[found] = self.variable(self._expression(found), importer)

    def _one(self, found: sympy.Expr) -> sympy.Expr:
        found = found.xreplace(self.same)
        return self.same.get(found, found)

    def _expression(self, found: sympy.Expr) -> Any:
        if found in self._known:
            return self._known[found]
        if found.is_Integer:
            return tirx.IntImm("int64", int(found))
        function = _FUNCTIONS.get(type(found).__name__)
        if function is None:
            raise ExportError(f"a size is {found}, which only its data tell", way_out="Leave --runtime tvm out.")
        return functools.reduce(function, (self._expression(part) for part in found.args))


def settle(exported: ExportedProgram, specs: Sequence[TensorSpec]) -> Sizes:
    """Have the program's inputs say one size by one symbol, and numbers by numbers: TVM would take each for a name of
    its own. `specs` are the inputs."""
    kept = {s.arg.name for s in exported.graph_signature.input_specs if s.kind is InputKind.USER_INPUT}
    inputs = [node for node in exported.graph.find_nodes(op="placeholder") if node.name in kept]
    symbols: dict[int | str, SymInt] = {}
    same: dict[sympy.Expr, sympy.Expr] = {}
    for node, spec in zip(inputs, specs, strict=True):
        for name, size in zip(spec.shape, node.meta["val"].shape, strict=True):
            if isinstance(size, SymInt) and size.node.expr.is_Symbol:
                same[size.node.expr] = symbols.setdefault(name, size).node.expr
    for node, spec in zip(inputs, specs, strict=True):
        _tell(node, [_size(symbols.get(n, s)) for n, s in zip(spec.shape, node.meta["val"].shape, strict=True)])
    for name, symbol in symbols.items():
        parts = str(name).split(" + ")
        if len(parts) > 1 and symbols.keys() >= set(parts):
            same[sympy.Add(*(symbols[part].node.expr for part in parts))] = symbol.node.expr
    return Sizes(inputs, list(exported.graph.nodes), same)


def _size(size: int | SymInt) -> int | SymInt:
    """Torch's trace may have found that a symbol is one number."""
    return int(size) if is_settled(size) else size


def _tell(node: fx.Node, sizes: Sequence[int | SymInt]) -> None:
    value = node.meta["val"]
    if any(isinstance(size, SymInt) for size in value.shape):
        with value.fake_mode:
            node.meta["val"] = torch.empty(sizes, dtype=value.dtype)
        node.meta.pop("tensor_meta", None)


def _expressions(node: fx.Node) -> list[sympy.Expr]:
    """Of the sizes that a node's value has, or is, those that are no numbers."""
    value = node.meta.get("val")
    found = list(value.shape) if isinstance(value, Tensor) else [value]
    return [size.node.expr for size in found if isinstance(size, SymInt)]
