"""Editing helpers that leave no dead nodes and keep metadata, parameter names and shapes.

A pass works on `begin(program)` (or `program.copy()`), inserts with `insert`, replaces tensors with `set_tensor`,
and ends with `finish`, which removes what nothing reads and infers shapes of what is new.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.graph import shapes
from compressor.graph.program import Program

__all__ = [
    "add_tensor", "argument", "attribute", "begin", "delete_unused", "finish", "insert", "is_call", "is_kept",
    "layer_name", "module_path", "permutation", "read", "set_argument", "set_tensor", "sole_user",
    "substitute", "tensor_of",
]  # fmt: skip


def begin(program: Program) -> Program:
    """A copy to edit. Its shapes are taken as right, so that `finish` infers only what changes after this."""
    copy = program.copy()
    shapes.trust(copy)
    return copy


def is_call(node: object, *targets: Callable[..., Any]) -> bool:
    """Whether `node` calls one of these operators."""
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target in targets


def argument(node: fx.Node, name: str) -> Any:
    """The argument that an operator's schema calls `name`: positional, keyword, or its default; else None."""
    if name in node.kwargs:
        return node.kwargs[name]
    schema = getattr(node.target, "_schema", None)
    for index, declared in enumerate(schema.arguments if schema is not None else ()):
        if declared.name == name:
            return node.args[index] if index < len(node.args) else declared.default_value
    return None


def set_argument(node: fx.Node, name: str, value: Any) -> None:
    """Set the argument that an operator's schema calls `name`, positionally where it can be."""
    names = [declared.name for declared in node.target._schema.arguments]  # type: ignore[union-attr]
    index = names.index(name)
    if name in node.kwargs or index > len(node.args):
        node.kwargs = {**node.kwargs, name: value}
    else:
        node.args = (*node.args[:index], value, *node.args[index + 1 :])


def permutation(node: fx.Node) -> list[int] | None:
    """The order in which a permute or transpose takes its input's dimensions, or None for any other node."""
    aten = torch.ops.aten
    if not is_call(node, aten.permute.default, aten.transpose.int, aten.t.default):
        return None
    rank = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    if node.target is aten.permute.default:
        return [d % rank for d in argument(node, "dims")]
    order = list(range(rank))
    if rank > 1:
        one, two = (0, 1) if node.target is aten.t.default else (argument(node, "dim0"), argument(node, "dim1"))
        order[one % rank], order[two % rank] = order[two % rank], order[one % rank]
    return order


def attribute(node: object) -> str | None:
    """The tensor name that a `get_attr` node reads, or None for any other node."""
    return str(node.target) if isinstance(node, fx.Node) and node.op == "get_attr" else None


def tensor_of(program: Program, node: object) -> Tensor | None:
    """The stored tensor that a `get_attr` node reads, or None."""
    name = attribute(node)
    value = program.get(name) if name is not None else None
    return value if isinstance(value, Tensor) else None


def sole_user(node: fx.Node) -> fx.Node | None:
    """The one node that reads this one, or None when there are several or none."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def layer_name(node: fx.Node) -> str:
    """What a user calls this node: its weight's module path, then the module it came from, then its own name."""
    for source in (node, *node.all_input_nodes):
        name = attribute(source)
        if name is not None:
            return name.rpartition(".")[0] or name
    return module_path(node) or node.name


def module_path(node: fx.Node) -> str:
    """The path of the module whose forward made this node; empty for the outermost one."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, *_ in stack.values() if path]
    return str(paths[-1]) if paths else ""


def is_kept(name: str, keep: Iterable[str]) -> bool:
    """Whether the user asked to leave `name` (a parameter or layer) alone."""
    return any(fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(f"{name}.weight", glob) for glob in keep)


def set_tensor(program: Program, name: str, value: Tensor) -> None:
    """Put `value` under a dotted name, a parameter where it is a float and was one; the old tensor is untouched."""
    path, _, leaf = name.rpartition(".")
    owner = _owner(program.module, path)
    was_parameter = leaf in owner._parameters or leaf not in owner._buffers
    for store in (owner._parameters, owner._buffers):
        store.pop(leaf, None)
    _register(owner, leaf, value, buffer=not was_parameter)


def add_tensor(program: Program, name: str, value: Tensor, before: fx.Node, *, buffer: bool = False) -> fx.Node:
    """Store `value` under a new dotted name (a number is appended if it is taken) and read it before a node.

    It becomes a parameter where it is a float, unless `buffer`.
    """
    unique, number = name, 1
    while _is_taken(program.module, unique):
        unique, number = f"{name}_{number}", number + 1
    path, _, leaf = unique.rpartition(".")
    _register(_owner(program.module, path), leaf, value, buffer=buffer)
    return read(program, unique, before)


def read(program: Program, name: str, before: fx.Node) -> fx.Node:
    """A `get_attr` node for a stored tensor, placed before a node."""
    with program.graph.inserting_before(before):
        node = program.graph.get_attr(name)
    shapes.infer_node(program, node)
    return node


def insert(
    program: Program,
    target: Callable[..., Any],
    args: Sequence[Any],
    *,
    like: fx.Node,
    before: fx.Node | None = None,
    kwargs: dict[str, Any] | None = None,
) -> fx.Node:
    """A call placed before a node (`like` unless given) with `like`'s metadata, so that it keeps its layer's name.

    Raises PassError when the operator rejects its arguments.
    """
    with program.graph.inserting_before(before or like):
        node = program.graph.call_function(target, tuple(args), kwargs or {})
    node.meta = {key: value for key, value in like.meta.items() if key not in shapes.INFERRED}
    if all("val" in source.meta for source in node.all_input_nodes):
        shapes.infer_node(program, node)
    return node


def substitute(program: Program, old: fx.Node, new: fx.Node) -> None:
    """Let everything that read `old` read `new`, and drop `old` when nothing reads it any more."""
    old.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
    if not old.users and old.op != "placeholder":
        program.graph.erase_node(old)


def delete_unused(program: Program) -> None:
    """Remove nodes and stored tensors that no output depends on; inputs, checks and writes into tensors stay."""
    program.graph.eliminate_dead_code(_has_effect)
    used = {str(node.target) for node in program.graph.nodes if node.op == "get_attr"}
    holders = tuple(name for name in used if not isinstance(program.get(name), Tensor))
    for name in _names(program.module):
        if name not in used and not any(name.startswith(f"{holder}.") for holder in holders):
            path, _, leaf = name.rpartition(".")
            delattr(_owner(program.module, path), leaf)


def finish(program: Program) -> Program:
    """The edited program, checked and recompiled, without dead nodes or tensors, with every shape inferred.

    Raises PassError, naming the operator and its layer, when an operator rejects what the edit feeds it.
    """
    delete_unused(program)
    program.graph.lint()
    shapes.infer(program)
    program.module.recompile()
    return replace(program)


def _has_effect(node: fx.Node) -> bool:
    """Whether a node does something besides returning a value. Drawing random numbers does not count."""
    if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
        schema = node.target._schema
        return schema.is_mutable or not schema.returns
    return node.is_impure() and node.op != "get_attr"


def _register(owner: nn.Module, leaf: str, value: Tensor, *, buffer: bool) -> None:
    if buffer or not value.dtype.is_floating_point:
        owner.register_buffer(leaf, value.detach())
    else:
        owner.register_parameter(leaf, nn.Parameter(value.detach()))


def _names(module: nn.Module) -> list[str]:
    parameters = module.named_parameters(remove_duplicate=False)
    buffers = module.named_buffers(remove_duplicate=False)
    return [name for name, _ in (*parameters, *buffers)]


def _is_taken(module: nn.Module, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True


def _owner(module: nn.Module, path: str) -> nn.Module:
    """The submodule at a path; containers on the way are created. A program's copy has containers of its own."""
    for part in path.split(".") if path else ():
        if not hasattr(module, part):
            module.add_module(part, nn.Module())
        module = getattr(module, part)
    return module
