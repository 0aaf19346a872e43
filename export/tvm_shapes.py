"""TVM's lowerings of operators whose sizes are known only when they run, told what torch knows of them.

    sym_size, past + sequence   →   variables (tvm_sizes.py)          view, expand    →   to the shape that torch found
    arange, slice               →   loops over a result of that shape         cat   →   copies (kernels/join.py)
    x + sequence                →   the size as a tensor              embedding       →   NaN for ids that there are not
    select, index at −p         →   at n − p of n places

TVM's own importer works shapes out itself; of sums and differences of sizes it makes others that it cannot compare
with the first, and of ids beyond a table, or places counted from the end, it reads what lies there. What has lost its
shape all the same is told it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import SymInt, Tensor, fx
from torch._ops import OpOverload
from torch.export import ExportedProgram
from tvm import ir, relax, te, tirx

from compressor.export.kernels.join import emit_join
from compressor.export.tvm_sizes import Sizes
from compressor.graph.edit import argument

__all__ = ["shaped"]

Converter = Callable[[fx.Node, Any], Any]
_ALONE = {"op_pattern": 8}  # is not joined with others: TVM fails to where a loop takes numbers besides tensors
_END = sys.maxsize  # as a slice says that it has none
_SIGNED = (torch.int8, torch.int16, torch.int32, torch.int64)  # indices of others are masks
_VALUES = ("Tensor", "number")  # arguments of these kinds are values where others are sizes


def shaped(exported: ExportedProgram, sizes: Sizes) -> Mapping[str, Converter]:
    """TVM's table of custom operators for this network's; those that have no size to be told are as TVM has them.

    The converters raise ExportError where a size depends on data.
    """
    own = _Shaped(sizes)
    table: dict[str, Converter] = {
        "embedding.default": own.embedding, "select.int": own.select, "index.Tensor": own.index
    }  # fmt: skip
    if not sizes.dynamic:
        return table
    nodes = [node for node in exported.graph.nodes if node.op == "call_function"]
    ours: dict[str, Converter] = {
        **dict.fromkeys(("view.default", "reshape.default", "_unsafe_view.default"), own.reshape),
        **dict.fromkeys(("arange.default", "arange.start", "arange.start_step"), own.arange),
        "expand.default": own.expand, "slice.Tensor": own.slice, "cat.default": own.cat,
        "full.default": own.full, **table,
    }  # fmt: skip
    for node in nodes:
        name = node.target.__name__
        if isinstance(node.meta.get("val"), int | SymInt):
            table[name] = own.size
        elif isinstance(node.target, OpOverload) and node.target.namespace == "aten":
            table.setdefault(name, ours.get(name, own.told))
    return table


@dataclass(frozen=True)
class _Shaped:
    sizes: Sizes

    def size(self, node: fx.Node, importer: Any) -> Any:
        return self.sizes.of(node.meta["val"], importer)

    def told(self, node: fx.Node, importer: Any) -> Any:
        """As TVM has it; sizes among values are tensors, and a result without a shape gets torch's."""
        replaced = {each: importer.env[each] for each in _values(node) if not isinstance(each.meta["val"], Tensor)}
        for each in replaced:
            importer.env[each] = self._scalar(each, importer)
        y = _as_tvm(importer, node.target.__name__)(node)  # type: ignore[union-attr]
        importer.env.update(replaced)
        lost = isinstance(getattr(y, "ty", None), relax.TensorType) and not isinstance(y.ty.shape, relax.ShapeExpr)
        if not (lost and isinstance(node.meta.get("val"), Tensor)):
            return y
        return importer.block_builder.match_cast(y, relax.TensorType(self.sizes.shape(node, importer), y.ty.dtype))

    def reshape(self, node: fx.Node, importer: Any) -> Any:
        data, shape = self._as_torch(node.args[0], importer), self.sizes.shape(node, importer)
        return importer.block_builder.emit(relax.op.reshape(data, relax.ShapeExpr(shape)))

    def expand(self, node: fx.Node, importer: Any) -> Any:
        data, shape = importer.env[node.args[0]], self.sizes.shape(node, importer)
        if len(shape) == len(data.ty.shape.values) and all(map(_equal, data.ty.shape.values, shape)):
            return data
        return importer.block_builder.emit(relax.op.broadcast_to(data, relax.ShapeExpr(shape)))

    def arange(self, node: fx.Node, importer: Any) -> Any:
        start, step = argument(node, "start"), argument(node, "step")
        dtype = _dtype(node)

        def counted(shape: Any, start: Any, step: Any) -> Any:
            return te.compute(shape, lambda i: (i * step + start).astype(dtype), name="arange")

        given = self._number(start, importer, 0), self._number(step, importer, 1)
        return _loops(importer, counted, self.sizes.shape(node, importer), *given)

    def slice(self, node: fx.Node, importer: Any) -> Any:
        data, shape = importer.env[node.args[0]], self.sizes.shape(node, importer)
        axis, step = int(argument(node, "dim") or 0) % len(shape), int(argument(node, "step") or 1)
        whole = data.ty.shape.values[axis]
        start, end = (self._number(argument(node, name), importer, n) for name, n in (("start", 0), ("end", _END)))
        first = _place(start, whole)
        if isinstance(whole, tirx.IntImm) or not (_is_cut(start, 0) or _is_cut(end, _END)):
            if _equal(first, 0) and step == 1 and _equal(shape[axis], whole):
                return data
        elif not _equal(shape[axis], 1):  # torch knows the example's length, and TVM what it is of a shorter one
            length = tirx.max(tirx.floordiv(_place(end, whole) - first + step - 1, step), tirx.IntImm("int64", 0))
            shape[axis] = self.sizes.variable(length, importer)

        if isinstance(whole, tirx.IntImm) and isinstance(start, int) and isinstance(end, int):
            return importer.block_builder.emit(relax.op.strided_slice(data, [axis], [start], [end], [step]))

        def sliced(x: Any, shape: Any, first: Any) -> Any:
            def one(*place: Any) -> Any:
                return x(*place[:axis], place[axis] * step + first, *place[axis + 1 :])

            return te.compute(shape, one, name="slice")

        return _loops(importer, sliced, data, shape, first)

    def select(self, node: fx.Node, importer: Any) -> Any:
        data, index = importer.env[node.args[0]], self._number(argument(node, "index"), importer, 0)
        axis = int(argument(node, "dim") or 0) % len(data.ty.shape.values)
        at = index + data.ty.shape.values[axis] if isinstance(index, int) and index < 0 else index

        def selected(x: Any, at: Any) -> Any:
            shape = [*x.shape[:axis], *x.shape[axis + 1 :]]
            return te.compute(shape, lambda *place: x(*place[:axis], at, *place[axis:]), name="selected")

        return _loops(importer, selected, data, at)

    def index(self, node: fx.Node, importer: Any) -> Any:
        """Of several tensors of places, those at the same one of each; masks are left to TVM."""
        places = {axis: each for axis, each in enumerate(node.args[1]) if each is not None}  # type: ignore[arg-type]
        if any(each.meta["val"].dtype not in _SIGNED for each in places.values()):
            return self.told(node, importer)
        data, shape = self._as_torch(node.args[0], importer), self.sizes.shape(node, importer)
        together = list(places) == list(range(min(places), max(places) + 1))
        first = min(places) if together else 0  # of the result's axes that the places take
        many = len(shape) - node.args[0].meta["val"].dim() + len(places)  # type: ignore[union-attr]

        def indexed(x: Any, given: Any, shape: Any) -> Any:
            def one(*at: Any) -> Any:
                place, rest = at[first : first + many], iter([*at[:first], *at[first + many :]])
                found = {axis: _counted(each, place, x.shape[axis]) for axis, each in zip(places, given, strict=True)}
                return x(*(found[axis] if axis in found else next(rest) for axis in range(len(x.shape))))

            return te.compute(shape, one, name="indexed")

        return _loops(importer, indexed, data, [self._as_torch(each, importer) for each in places.values()], shape)

    def cat(self, node: fx.Node, importer: Any) -> Any:
        axis = int(argument(node, "dim") or 0) % node.meta["val"].dim()
        parts = [each for each in node.args[0] if each.meta["val"].dim() == node.meta["val"].dim()]  # type: ignore[union-attr]
        data, builder = [self._as_torch(each, importer) for each in parts], importer.block_builder
        if all(isinstance(x.ty.shape.values[axis], tirx.IntImm) for x in data):
            return builder.emit(relax.op.concat(data, axis))
        return emit_join(builder, data, axis, self.sizes.shape(node, importer))

    def full(self, node: fx.Node, importer: Any) -> Any:
        value, dtype = node.args[1], _dtype(node)
        if isinstance(value, fx.Node):
            return self.told(node, importer)
        shape = relax.ShapeExpr(self.sizes.shape(node, importer))
        return importer.block_builder.emit(relax.op.full(shape, relax.const(value, dtype), dtype))

    def embedding(self, node: fx.Node, importer: Any) -> Any:
        table, ids = (importer.env[each] for each in node.args[:2])
        beyond = "nan" if str(table.ty.dtype).startswith("float") else "clip"  # whole numbers have none
        return importer.block_builder.emit(relax.op.take(table, ids, axis=0, mode=beyond))

    def _as_torch(self, node: Any, importer: Any) -> Any:
        """A tensor in the shape that torch says it has, which is checked when it runs where TVM found another."""
        data, shape = importer.env[node], self.sizes.shape(node, importer)
        if all(map(_equal, data.ty.shape.values, shape)):
            return data
        return importer.block_builder.match_cast(data, relax.TensorType(shape, data.ty.dtype))

    def _number(self, given: Any, importer: Any, otherwise: int) -> Any:
        if isinstance(given, fx.Node):
            return self.sizes.of(given.meta["val"], importer)
        return otherwise if given is None else given

    def _scalar(self, node: fx.Node, importer: Any) -> Any:
        """A size as a tensor without dimensions."""

        def size_of(size: Any) -> Any:
            return te.compute((), lambda: tirx.Cast("int64", size), name="size")

        return _loops(importer, size_of, self.sizes.of(node.meta["val"], importer))


def _loops(importer: Any, loop: Callable[..., Any], *given: Any) -> Any:
    return importer.block_builder.emit_te(loop, *given, primfunc_name_hint=loop.__name__, primfunc_attrs=_ALONE)


def _as_tvm(importer: Any, name: str) -> Callable[[fx.Node], Any]:
    """TVM's own lowering of an operator. Raises NotImplementedError in the words of TVM's importer, which was told that
    there is one."""
    found = importer.create_convert_map().get(name)
    if found is None:
        raise NotImplementedError(f"Unsupported function types ['{name}']")
    return found  # type: ignore[no-any-return]


def _counted(places: Any, at: Any, size: Any) -> Any:
    """The place that a tensor of places, which may be smaller, has for the element `at`, counted from the beginning."""
    last = at[len(at) - len(places.shape) :]
    found = places(*(0 if _equal(each, 1) else index for each, index in zip(places.shape, last, strict=True)))
    found = tirx.Cast("int64", found)
    return tirx.Select(found < 0, found + size, found)


def _values(node: fx.Node) -> list[fx.Node]:
    """The arguments that are values, be they tensors or numbers."""
    kinds = [str(each.type) for each in node.target._schema.arguments]  # type: ignore[union-attr]
    return [x for x, kind in zip(node.args, kinds, strict=False) if kind in _VALUES and isinstance(x, fx.Node)]


def _is_cut(bound: Any, otherwise: int) -> bool:
    """Whether a slice's bound is a number, which a shorter tensor does not have."""
    return isinstance(bound, int) and bound != otherwise


def _place(bound: Any, whole: Any) -> Any:
    """A slice's bound as a place in a dimension of `whole` places; a bound that is computed is one."""
    if not isinstance(bound, int):
        return bound
    if bound == _END or bound == 0:
        return whole if bound else bound
    zero = tirx.IntImm("int64", 0)
    return tirx.min(whole, tirx.IntImm("int64", bound)) if bound > 0 else tirx.max(whole + bound, zero)


def _dtype(node: fx.Node) -> str:
    return str(node.meta["val"].dtype).removeprefix("torch.")


def _equal(one: Any, other: Any) -> bool:
    """Of sizes: numbers and expressions of TVM's."""
    one, other = (tirx.IntImm("int64", each) if isinstance(each, int) else each for each in (one, other))
    return bool(ir.prim.expr_deep_equal(one, other))
