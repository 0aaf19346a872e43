"""Shape inference: fake values (`meta["val"]`) for every node, from the placeholders' own.

A node is inferred again only where its operator, its arguments or the value of an input changed, and a change
stops where it makes no difference. Values that share storage tell which nodes alias, so they are kept true too.
Dynamic dimensions stay symbols of the capture's shape environment.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree

from compressor.errors import PassError
from compressor.graph.program import Program

__all__ = [
    "INFERRED", "alias_key", "infer", "infer_from", "infer_node", "is_same", "is_settled", "mode_of", "same_shape",
    "same_sizes", "trust",
]  # fmt: skip

INFERRED = ("val", "tensor_meta", "trusted")  # metadata that belongs to one node and is never copied to another


def trust(program: Program) -> None:
    """Take every value as right for the arguments that its node has now."""
    for node in program.graph.nodes:
        if "val" in node.meta:
            node.meta["trusted"] = _signature(node)


def infer(program: Program, *, anew: bool = False) -> None:
    """Bring every node's fake value up to date with its operator and arguments; `anew` trusts none that is there.

    A `view` that its input's layout no longer allows becomes a `reshape`. Raises PassError, naming the operator
    and its layer, when an operator rejects its arguments.
    """
    changed: set[fx.Node] = set()
    with _faking(program):
        for node in program.graph.nodes:
            if node.op in ("placeholder", "output") or (not anew and _is_fresh(node, changed)):
                continue
            if _update(program, node):
                changed.add(node)


def infer_from(program: Program, edited: Iterable[fx.Node]) -> None:
    """The same where only these nodes were edited: they, and what reads them as far as the change goes."""
    todo = [node for node in set(edited) if node.op != "output"]
    heapq.heapify(todo)  # nodes compare by their place in the graph
    with _faking(program):
        while todo:
            node = heapq.heappop(todo)
            if _update(program, node):
                for user in node.users:
                    if user.op != "output" and user not in todo:
                        heapq.heappush(todo, user)


def infer_node(program: Program, node: fx.Node) -> None:
    """The same for one node that was just inserted."""
    with _faking(program):
        _update(program, node)


def is_same(a: Any, b: Any) -> bool:
    """Whether two fake values agree in structure, shape, stride, dtype and device, without adding guards."""
    mine, yours = pytree.tree_leaves(a), pytree.tree_leaves(b)
    return len(mine) == len(yours) and all(_describe(x) == _describe(y) for x, y in zip(mine, yours, strict=True))


def same_shape(a: Any, b: Any) -> bool:
    """Whether two fake tensors have the same shape for all sizes of the dynamic dimensions."""
    return isinstance(a, Tensor) and isinstance(b, Tensor) and same_sizes(a.shape, b.shape)


def same_sizes(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether two lists of sizes are equal for all sizes of the dynamic dimensions, without adding guards."""
    return _sizes(a) == _sizes(b)


def is_settled(size: Any) -> bool:
    """Whether a size is one number: an input's may be a symbol of which torch's trace found that."""
    return isinstance(size, int) or (isinstance(size, torch.SymInt) and bool(size.node.expr.is_number))


def alias_key(value: Any) -> set[int]:
    """What identifies the storages of a fake value; values with a common one alias."""
    tensors = [value] if isinstance(value, Tensor) else pytree.tree_leaves(value) if value is not None else []
    return {t.untyped_storage()._cdata for t in tensors if isinstance(t, Tensor)}


@contextlib.contextmanager
def _faking(program: Program) -> Iterator[None]:
    """Run operators on fake tensors, with the Python kernels that know symbolic sizes (LSTM's C++ one does not)."""
    with enable_python_dispatcher(), mode_of(program), torch.no_grad():
        yield


def mode_of(program: Program) -> FakeTensorMode:
    """The mode that the program's fake values live in, with its shape environment."""
    values = (node.meta.get("val") for node in program.graph.nodes)
    known = next((value.fake_mode for value in values if isinstance(value, FakeTensor)), None)
    return known or FakeTensorMode()


def _signature(node: fx.Node) -> tuple[Any, ...]:
    # fx replaces these containers on every edit, so their identity tells whether the node was edited.
    return node.target, id(node._args), id(node._kwargs), node._args, node._kwargs


def _is_fresh(node: fx.Node, changed: set[fx.Node]) -> bool:
    trusted = node.meta.get("trusted")
    if "val" not in node.meta or trusted is None or trusted[:3] != _signature(node)[:3]:
        return False
    return node.op != "get_attr" and changed.isdisjoint(node.all_input_nodes)


def _update(program: Program, node: fx.Node) -> bool:
    """Infer one node; whether its readers have to be inferred again."""
    new, old = _evaluate(program, node), node.meta.get("val")
    changed = "val" not in node.meta or not _interchangeable(old, new, node)
    if changed:
        node.meta["val"] = new
        node.meta.pop("tensor_meta", None)
    node.meta["trusted"] = _signature(node)
    return changed


def _evaluate(program: Program, node: fx.Node) -> Any:
    if node.op == "get_attr":
        return _fake(program.get(str(node.target)), node.meta.get("val"), mode_of(program))
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: source.meta["val"])
    try:
        return _call(program, node, args, kwargs)
    except Exception as error:
        if node.target is torch.ops.aten.view.default:
            node.target = torch.ops.aten.reshape.default
            return _call(program, node, args, kwargs)
        stack = node.meta.get("nn_module_stack") or {}
        layers = [path for path, *_ in stack.values() if path]
        raise PassError(
            f"{node.target} rejects its arguments after the edit: {str(error).strip().splitlines()[0]}",
            where=layers[-1] if layers else node.name,
            way_out="This is a defect of the pass that ran last; leave it out or exclude the layer with --keep.",
        ) from error


def _call(program: Program, node: fx.Node, args: Any, kwargs: Any) -> Any:
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    function: Any = program.get(str(node.target)) if node.op == "call_module" else node.target
    return function(*args, **kwargs)


def _fake(value: Any, old: Any, mode: FakeTensorMode) -> Any:
    """The fake of a stored tensor; the old one where it still describes it, so that what reads it stays fresh."""
    if not isinstance(value, Tensor):
        return value
    if isinstance(old, Tensor) and _describe(old) == _describe(value):
        return old
    return mode.from_tensor(value.detach(), static_shapes=True)


def _interchangeable(old: Any, new: Any, node: fx.Node) -> bool:
    """Whether readers of the node cannot tell the values apart: same description, and aliasing the same inputs."""
    if not is_same(old, new):
        return False
    sources = [alias_key(source.meta.get("val")) for source in node.all_input_nodes]
    was, now = alias_key(old), alias_key(new)
    return all(was.isdisjoint(source) == now.isdisjoint(source) for source in sources)


def _describe(value: Any) -> object:
    if isinstance(value, Tensor):
        strides = _sizes(value.stride()) if value.layout == torch.strided else ()
        return _sizes(value.shape), strides, value.dtype, value.device
    return str(value)


def _sizes(sizes: Any) -> tuple[str, ...]:
    return tuple(str(size) for size in sizes)
