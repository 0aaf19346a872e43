"""In-place operators rewritten to their out-of-place forms, so that a node's value never changes after it.

    x.op_(…);  later reads of x                    →  x' = op(x, …);  later reads of x'
    v = view(x);  v.op_(…);  later reads of x      →  v' = op(v, …);  x' = view⁻¹(x, v');  later reads of x'

The mutated value is scattered back through the views that lead to it, and views read later are taken again from
the result. What aliases what is read off the fake values' storages.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph import edit, shapes
from compressor.graph.contract import Skip
from compressor.graph.program import Program

__all__ = ["functionalize", "is_mutating", "mutated"]

aten = torch.ops.aten
_SCATTER = {aten.slice.Tensor: aten.slice_scatter.default, aten.select.int: aten.select_scatter.default}
_PARTS = {aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default, aten.unbind.int}
_RESHAPED = {
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.unsqueeze.default, aten.flatten.using_ints,
    aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.unflatten.int,
}  # fmt: skip
_SAME = {aten.alias.default, aten.detach.default, aten.contiguous.default, aten.dropout.default, aten.to.dtype}


class _StaysError(Exception):
    """Why one in-place operator has to stay."""


def functionalize(program: Program) -> tuple[Skip, ...]:
    """Rewrite every in-place operator of this (already copied) program; what had to stay, and why."""
    if not any(is_mutating(node) for node in program.graph.nodes):
        return ()
    _copy_literals(program)
    shapes.infer(program)
    left: list[Skip] = []
    for node in list(program.graph.nodes):
        if is_mutating(node):
            try:
                _rewrite(program, node)
            except _StaysError as reason:
                left.append(Skip(f"in_place:{edit.layer_name(node)}", f"{node.target} stays in place: {reason}"))
    return tuple(left)


def is_mutating(node: fx.Node) -> bool:
    """Whether a call writes into one of its arguments."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def mutated(program: Program) -> set[fx.Node]:
    """Nodes whose value some remaining in-place operator changes after they were computed."""
    keys: set[int] = set()
    for node in program.graph.nodes:
        if is_mutating(node):
            for source in node.all_input_nodes:
                keys |= shapes.alias_key(source.meta.get("val")) if source in _written(node) else set()
    if not keys:
        return set()
    return {node for node in program.graph.nodes if not keys.isdisjoint(shapes.alias_key(node.meta.get("val")))}


def _written(node: fx.Node) -> list[fx.Node]:
    declared = node.target._schema.arguments  # type: ignore[union-attr]
    names = [a.name for a in declared if a.alias_info is not None and a.alias_info.is_write]
    return [value for name in names if isinstance(value := edit.argument(node, name), fx.Node)]


def _copy_literals(program: Program) -> None:
    """`lift_fresh_copy` copies when run but aliases in the capture's fake values: say clone, and detach_ as alias."""
    for node in list(program.graph.nodes):
        if node.target is aten.lift_fresh_copy.default:
            node.target = aten.clone.default
        elif node.target is aten.detach_.default:
            edit.substitute(program, node, node.args[0])


def _rewrite(program: Program, node: fx.Node) -> None:
    written = _written(node)
    if len(written) != 1 or not isinstance(written[0].meta.get("val"), Tensor):
        raise _StaysError("it writes into several tensors")
    target = written[0]
    key = shapes.alias_key(target.meta["val"])
    family = [n for n in program.graph.nodes if not key.isdisjoint(shapes.alias_key(n.meta.get("val")))]
    stored = next((n for n in family if n.op == "get_attr"), None)
    if stored is not None:
        raise _StaysError(f"it changes the stored tensor {stored.target}")
    earlier = [n for n in family if n < node]
    if any(is_mutating(n) for n in earlier):
        raise _StaysError("an earlier one on the same tensor does")
    late = {n: [user for user in n.users if user > node] for n in earlier}
    late = {n: users for n, users in late.items() if users}
    written_again = any(is_mutating(n) for n in family if n > node)
    if not written_again:  # parts beside it keep their values; if it is written again they must follow the result
        late = {n: users for n, users in late.items() if not _is_beside(n, target)}
    views = _Views(program, node, earlier)
    views.check(late, target)
    result = _out_of_place(program, node, target)
    views.write(target, result, late, written_again)
    edited = {*node.users, *(user for users in late.values() for user in users)}
    node.replace_all_uses_with(views.now(target))
    for member, users in late.items():
        for user in users:
            user.replace_input_with(member, views.now(member))
    program.graph.erase_node(node)
    shapes.infer_from(program, edited - {node})


def _is_beside(node: fx.Node, target: fx.Node) -> bool:
    """Whether both are parts of one split: they share storage and do not overlap."""
    parts = node.target is operator.getitem and target.target is operator.getitem and node is not target
    return parts and node.args[0] is target.args[0]


def _out_of_place(program: Program, node: fx.Node, target: fx.Node) -> fx.Node:
    """The new value of `target`, in its own dtype and shape, computed just before the in-place node."""
    result: fx.Node
    name, overload = str(node.target).removeprefix("aten.").rsplit(".", 1)
    if name == "copy_":
        result = edit.argument(node, "src")
    else:
        packet = getattr(aten, name.removesuffix("_"), None)
        function = getattr(packet, overload, None)
        if function is None or not name.endswith("_") or function._schema.is_mutable:
            raise _StaysError("it has no out-of-place form")
        result = edit.insert(program, function, node.args, like=node, kwargs=dict(node.kwargs))
    want, have = target.meta["val"], result.meta["val"]
    if have.dtype != want.dtype:  # in-place operators never promote
        result = edit.insert(program, aten.to.dtype, (result, want.dtype), like=node)
    if not shapes.same_shape(have, want):
        result = edit.insert(program, aten.expand_as.default, (result, target), like=node)
    return result


class _Views:
    """The views of one storage, and their values after one of them was written."""

    def __init__(self, program: Program, at: fx.Node, members: list[fx.Node]) -> None:
        self.program, self.at = program, at
        self.members = set(members)
        self.current: dict[fx.Node, fx.Node] = {}

    def check(self, late: Iterable[fx.Node], target: fx.Node) -> None:
        """Raise before anything is edited when a view on the way cannot be undone or taken again."""
        path = self._chain(target)
        for member in late:
            if member.target in _PARTS:
                raise _StaysError(f"{member.name} is taken apart later")
            chain = self._chain(member)
            if chain[-1] is not path[-1]:
                raise _StaysError(f"how {member.name} shares memory with it is unknown")
            for view in () if target in chain else path[:-1]:
                _inverse(view)

    def write(self, target: fx.Node, result: fx.Node, late: Iterable[fx.Node], written_again: bool) -> None:
        """Note the new value of the written view and, where others need it, of all it was taken of.

        If the storage is written once more, every member has to be a view of the new allocation, the written one too.
        """
        self.current = {target: result}
        path, value = self._chain(target), result
        if not written_again and all(target in self._chain(member) for member in late):
            return
        for view, above in itertools.pairwise(path):
            base = above.all_input_nodes[0] if above.target in _PARTS else above
            value = _inverse(view)(self.program, self.at, base, value)
            if above.target not in _PARTS:
                self.current[above] = value
        if written_again:
            self.current = {path[-1]: value}

    def now(self, member: fx.Node) -> fx.Node:
        """The value of one member after the write, taken again from what it was taken of."""
        if member not in self.current:
            above = self._parent(member)
            if above is None:
                return member
            fresh = self.now(above)
            args, kwargs = fx.node.map_arg((member.args, member.kwargs), lambda n: fresh if n is above else n)
            target: Any = member.target
            self.current[member] = edit.insert(
                self.program, target, args, like=member, before=self.at, kwargs=dict(kwargs)
            )
        return self.current[member]

    def _parent(self, view: fx.Node) -> fx.Node | None:
        """What a view was taken of, or None for the allocation itself."""
        return next((n for n in view.all_input_nodes if n in self.members), None)

    def _chain(self, view: fx.Node) -> list[fx.Node]:
        """From a view up to the allocation."""
        found = [view]
        while (above := self._parent(found[-1])) is not None:
            found.append(above)
        return found


_Undo = Callable[[Program, fx.Node, fx.Node, fx.Node], fx.Node]


def _inverse(view: fx.Node) -> _Undo:
    """How to put a view's new value back into what it was taken of: f(program, at, base, value) → base's new value."""
    target: Any = view.target
    if target in _SCATTER:
        return _call(view, _SCATTER[target], *view.args[1:], **view.kwargs)
    if target is operator.getitem:
        return _inverse_of_part(view)
    if target in _PARTS:  # its parts were already put back into what it was taken of
        return lambda program, at, base, value: value
    if target in _SAME or shapes.is_same(view.meta["val"], view.all_input_nodes[0].meta["val"]):
        return lambda program, at, base, value: value
    if target in _RESHAPED:
        return lambda program, at, base, value: edit.insert(
            program, aten.reshape_as.default, (value, base), like=view, before=at
        )
    order = edit.permutation(view)
    if order is not None:
        back = [order.index(i) for i in range(len(order))]
        return lambda program, at, base, value: edit.insert(
            program, aten.permute.default, (value, back), like=view, before=at
        )
    raise _StaysError(f"a later reader sees it through {target}")


def _inverse_of_part(view: fx.Node) -> _Undo:
    """One part of a split, chunk or unbind goes back into the tensor that was split."""
    parts, index = view.args
    if not isinstance(parts, fx.Node) or parts.target not in _PARTS or not isinstance(index, int):
        raise _StaysError(f"a later reader sees it through one output of {getattr(parts, 'target', parts)}")
    dim = edit.argument(parts, "dim")
    if parts.target is aten.unbind.int:
        return _call(view, aten.select_scatter.default, dim, index)
    sizes = [part.shape[dim] for part in parts.meta["val"]]
    if not all(isinstance(size, int) for size in sizes):
        raise _StaysError("it was split along a dynamic dimension")
    start = sum(sizes[:index])
    return _call(view, aten.slice_scatter.default, dim, start, start + sizes[index])


def _call(view: fx.Node, target: Callable[..., Any], *rest: Any, **kwargs: Any) -> _Undo:
    return lambda program, at, base, value: edit.insert(
        program, target, (base, value, *rest), like=view, before=at, kwargs=kwargs
    )
