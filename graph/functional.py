"""In-place operators rewritten to their out-of-place forms, so that a node's value never changes after it.

    x.op_(…);  later reads of x                    →  x' = op(x, …);  later reads of x'
    v = view(x);  v.op_(…);  later reads of x      →  v' = op(v, …);  x' = view⁻¹(x, v');  later reads of x'

What aliases what is read off the captured graph's storages, once. A written value is put back through the views
that lead to it, and views that are read later are taken again from the result. All writes into one allocation are
rewritten, or none.
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

__all__ = ["functional_copy", "functionalize", "is_mutating", "mutated"]

aten = torch.ops.aten
_SCATTER = {aten.slice.Tensor: aten.slice_scatter.default, aten.select.int: aten.select_scatter.default}
_PARTS = {aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default, aten.unbind.int}
_RESHAPED = {
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.unsqueeze.default, aten.flatten.using_ints,
    aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.unflatten.int, aten.reshape_as.default,
    aten.view_as.default,
}  # fmt: skip
_SAME = {aten.alias.default, aten.detach.default, aten.contiguous.default, aten.dropout.default, aten.to.dtype}


class _StaysError(Exception):
    """Why the in-place operators on one allocation have to stay."""


def functional_copy(program: Program) -> tuple[Program, tuple[Skip, ...]]:
    """A copy under way (`edit.begin`) without dead code or in-place operators, and where one of those had to stay."""
    copy = edit.begin(program)
    left = functionalize(copy)
    edit.delete_unused(copy)
    return copy, left


def functionalize(program: Program) -> tuple[Skip, ...]:
    """Rewrite the in-place operators of this (already copied) program; those that had to stay, and why."""
    if not any(is_mutating(node) for node in program.graph.nodes):
        return ()
    _copy_literals(program)
    shapes.infer(program)
    views = _Views(program)
    left: list[Skip] = []
    for base, writes in views.written().items():
        try:
            for node in writes:
                _check(views, base, node)
        except _StaysError as reason:
            left.extend(Skip(f"in_place:{edit.layer_name(n)}", f"{n.target} stays in place: {reason}") for n in writes)
        else:
            for index, node in enumerate(writes):
                _rewrite(program, views, node, written_again=index + 1 < len(writes))
    shapes.infer(program)
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


def _check(views: _Views, base: fx.Node, node: fx.Node) -> None:
    """Raise where one write cannot be expressed without writing."""
    if base.op == "get_attr":
        raise _StaysError(f"it changes the stored tensor {base.target}")
    written = _written(node)
    if len(written) != 1 or not isinstance(written[0].meta.get("val"), Tensor):
        raise _StaysError("it writes into several tensors")
    if views.tangled & set(views.family(base)):
        raise _StaysError("a later value shares memory with several tensors")
    _out_of_place(node)
    for view in views.chain(written[0])[:-1]:
        if not is_mutating(view):
            _inverse(view)


def _rewrite(program: Program, views: _Views, node: fx.Node, written_again: bool) -> None:
    (target,) = _written(node)
    late = {member: [user for user in member.users if user > node] for member in views.family(target) if member < node}
    late = {member: users for member, users in late.items() if users}
    if not written_again:  # parts beside it keep their values; if it is written again they must follow the result
        late = {member: users for member, users in late.items() if not _is_beside(member, target)}
    views.write(node, target, _value(program, node, target), late, written_again)
    late[node] = list(node.users)
    for member, users in late.items():
        new = views.now(target if member is node else member)
        for user in users:
            user.replace_input_with(member, new)
            if views.parent.get(user) is member:
                views.parent[user] = new
    views.parent.pop(node)
    program.graph.erase_node(node)


def _is_own(node: fx.Node) -> bool:
    """Whether it is the one reader of a fresh output among several, as topk's values: an allocation of its own."""
    source = node.args[0] if node.target is operator.getitem else None
    if not isinstance(source, fx.Node) or source.target in _PARTS:
        return False
    key = shapes.alias_key(node.meta["val"])
    others = [*source.all_input_nodes, *(user for user in source.users if user is not node)]
    return all(key.isdisjoint(shapes.alias_key(other.meta.get("val"))) for other in others)


def _is_beside(node: fx.Node, target: fx.Node) -> bool:
    """Whether both are parts of one split: they share storage and do not overlap."""
    parts = node.target is operator.getitem and target.target is operator.getitem and node is not target
    return parts and node.args[0] is target.args[0]


def _out_of_place(node: fx.Node) -> Callable[..., Any]:
    """The operator that returns what this one writes."""
    name, overload = str(node.target).removeprefix("aten.").rsplit(".", 1)
    function: Any = getattr(getattr(aten, name.removesuffix("_"), None), overload, None)
    if not name.endswith("_") or function is None or function._schema.is_mutable:
        raise _StaysError("it has no out-of-place form")
    return function  # type: ignore[no-any-return]


def _value(program: Program, node: fx.Node, target: fx.Node) -> fx.Node:
    """The new value of `target`, in its own dtype and shape, computed just before the in-place node."""
    result: fx.Node
    if node.target is aten.copy_.default:
        result = edit.argument(node, "src")
    else:
        result = edit.insert(program, _out_of_place(node), node.args, like=node, kwargs=dict(node.kwargs))
    want, have = target.meta["val"], result.meta["val"]
    if have.dtype != want.dtype:  # in-place operators never promote
        result = edit.insert(program, aten.to.dtype, (result, want.dtype), like=node)
    if not shapes.same_shape(have, want):
        result = edit.insert(program, aten.expand_as.default, (result, target), like=node)
    if node.target is aten.copy_.default:  # its source may be written into later
        result = edit.insert(program, aten.clone.default, (result,), like=node)
    return result


class _Views:
    """Which node is a view of which, and the views' values after a write.

    `parent` leads from a view (or a list of them, or an in-place operator's result) to what it was taken of.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.parent: dict[fx.Node, fx.Node] = {}
        self.tangled: set[fx.Node] = set()
        self.current: dict[fx.Node, fx.Node] = {}
        self.at: fx.Node
        for node in program.graph.nodes:
            self._add(node)

    def _add(self, node: fx.Node) -> None:
        key = shapes.alias_key(node.meta.get("val"))
        if node.op != "call_function" or not key or _is_own(node):
            return
        sources = [n for n in node.all_input_nodes if not key.isdisjoint(shapes.alias_key(n.meta.get("val")))]
        if sources:
            self.parent[node] = sources[0]
        if len({self.chain(source)[-1] for source in sources}) > 1:
            self.tangled |= {node, *sources}

    def chain(self, view: fx.Node) -> list[fx.Node]:
        """From a view up to the allocation."""
        found = [view]
        while found[-1] in self.parent:
            found.append(self.parent[found[-1]])
        return found

    def family(self, view: fx.Node) -> list[fx.Node]:
        """All nodes that share an allocation, the allocation included."""
        base = self.chain(view)[-1]
        return [base, *(node for node in self.parent if self.chain(node)[-1] is base)]

    def written(self) -> dict[fx.Node, list[fx.Node]]:
        """In-place operators by the allocation that they write into, in the order of execution."""
        found: dict[fx.Node, list[fx.Node]] = {}
        for node in self.program.graph.nodes:
            if is_mutating(node) and (targets := _written(node)):
                found.setdefault(self.chain(targets[0])[-1], []).append(node)
        return found

    def write(
        self, at: fx.Node, target: fx.Node, result: fx.Node, late: Iterable[fx.Node], written_again: bool
    ) -> None:
        """Note the new value of the written view and, where others need it, of all it was taken of.

        If the storage is written once more, every member has to be a view of the new allocation, the written one too.
        """
        self.at, self.current = at, {target: result}
        path, value = self.chain(target), result
        if not written_again and all(target in self.chain(member) for member in late):
            return
        for view, above in itertools.pairwise(path):
            base = above.all_input_nodes[0] if above.target in _PARTS else above
            value = _inverse(view)(self.program, at, base, value)
            if above.target not in _PARTS:
                self.current[above] = value
        if written_again:
            self.current = {path[-1]: value}

    def now(self, member: fx.Node) -> fx.Node:
        """The value of one member after the write, taken again from what it was taken of."""
        if member not in self.current and member in self.parent:
            above = self.parent[member]
            fresh = self.now(above)
            args, kwargs = fx.node.map_arg((member.args, member.kwargs), lambda n: fresh if n is above else n)
            target: Any = member.target
            self.current[member] = edit.insert(
                self.program, target, args, like=member, before=self.at, kwargs=dict(kwargs)
            )
            self.parent[self.current[member]] = fresh
        return self.current.get(member, member)


_Undo = Callable[[Program, fx.Node, fx.Node, fx.Node], fx.Node]


def _inverse(view: fx.Node) -> _Undo:
    """How to put a view's new value back into what it was taken of: f(program, at, base, value) → base's new value."""
    target: Any = view.target
    if target in _SCATTER:
        return _call(view, _SCATTER[target], *view.args[1:], **view.kwargs)
    if target is aten.narrow.default:
        dim, start, length = view.args[1:]
        if not isinstance(start, int) or not isinstance(length, int) or start < 0:
            raise _StaysError("it writes into a window whose bounds depend on the input")
        return _call(view, aten.slice_scatter.default, dim, start, start + length)
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
