"""Editing helpers that leave no dead nodes and keep metadata, parameter names and shapes.

A pass works on `program.copy()`, inserts with `insert`, replaces tensors with `set_tensor`, and ends with
`finish`, which removes what nothing reads and infers shapes of what is new.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from compressor.graph.program import Program

__all__ = [
    "add_tensor", "attribute", "delete_unused", "finish", "insert", "is_call", "is_kept", "layer_name", "read",
    "set_tensor", "sole_user", "substitute", "tensor_of",
]  # fmt: skip


def is_call(node: object, *targets: Callable[..., Any]) -> bool:
    """Whether `node` calls one of these operators."""
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target in targets


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
    for argument in node.all_input_nodes:
        name = attribute(argument)
        if name is not None:
            return name.rpartition(".")[0] or name
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, *_ in stack.values() if path]
    return paths[-1] if paths else node.name


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
    if was_parameter and value.dtype.is_floating_point:
        owner.register_parameter(leaf, nn.Parameter(value.detach()))
    else:
        owner.register_buffer(leaf, value.detach())


def add_tensor(program: Program, name: str, value: Tensor, before: fx.Node, *, buffer: bool = False) -> fx.Node:
    """Store `value` under a new dotted name (a number is appended if it is taken) and read it before a node."""
    taken, unique, number = {*_names(program.module)}, name, 1
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    path, _, leaf = unique.rpartition(".")
    owner = _owner(program.module, path)
    if buffer or not value.dtype.is_floating_point:
        owner.register_buffer(leaf, value.detach())
    else:
        owner.register_parameter(leaf, nn.Parameter(value.detach()))
    return read(program, unique, before)


def read(program: Program, name: str, before: fx.Node) -> fx.Node:
    """A `get_attr` node for a stored tensor, placed before a node."""
    with program.graph.inserting_before(before):
        node = program.graph.get_attr(name)
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
    """A call placed before a node (`like` unless given) with `like`'s metadata, so that it keeps its layer's name."""
    with program.graph.inserting_before(before or like):
        node = program.graph.call_function(target, tuple(args), kwargs or {})
    node.meta = {key: value for key, value in like.meta.items() if key not in ("val", "tensor_meta")}
    return node


def substitute(program: Program, old: fx.Node, new: fx.Node) -> None:
    """Let everything that read `old` read `new`, and drop `old` when nothing reads it any more."""
    old.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
    if not old.users and old.op != "placeholder":
        program.graph.erase_node(old)


def delete_unused(program: Program) -> None:
    """Remove nodes and stored tensors that no output depends on; inputs stay."""
    program.graph.eliminate_dead_code(lambda node: node.is_impure() and node.op != "get_attr")
    used = {str(node.target) for node in program.graph.nodes if node.op == "get_attr"}
    for name in _names(program.module):
        if not any(name == u or name.startswith(f"{u}.") for u in used):
            path, _, leaf = name.rpartition(".")
            delattr(_owner(program.module, path), leaf)


def finish(program: Program) -> Program:
    """The edited program, checked and recompiled, without dead nodes or tensors, with every shape inferred."""
    delete_unused(program)
    program.graph.lint()
    _infer(program)
    program.module.recompile()
    return replace(program)


def _infer(program: Program) -> None:
    """Fake values for the whole graph from the placeholders' own, so that dynamic dimensions stay symbols."""
    mode = next(
        (v.fake_mode for n in program.graph.nodes if isinstance(v := n.meta.get("val"), FakeTensor)), FakeTensorMode()
    )
    values: dict[fx.Node, Any] = {}
    known: dict[int, Any] = {}
    with mode:
        for node in program.graph.nodes:
            if node.op == "placeholder":
                values[node] = node.meta["val"]
            elif node.op == "get_attr":
                values[node] = _fake(program.get(str(node.target)), mode, known)
            elif node.op != "output":
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*args, **kwargs)
            if node in values:
                node.meta["val"] = values[node]


def _fake(value: Any, mode: FakeTensorMode, known: dict[int, Any]) -> Any:
    if not isinstance(value, Tensor):
        return value
    if id(value) not in known:
        known[id(value)] = mode.from_tensor(value, static_shapes=True)
    return known[id(value)]


def _names(module: nn.Module) -> list[str]:
    parameters = module.named_parameters(remove_duplicate=False)
    buffers = module.named_buffers(remove_duplicate=False)
    return [name for name, _ in (*parameters, *buffers)]


def _owner(module: nn.Module, path: str) -> nn.Module:
    """The submodule at a path. Containers on the way are created, and copied before they are first changed."""
    for part in path.split(".") if path else ():
        child = getattr(module, part, None)
        if child is None:
            child = nn.Module()
            module.add_module(part, child)
        module = child
    return module
