"""Every call of a program as plain data: what a latency model may know of it, and what a profile keeps.

A call is described by itself (operator, shapes, arguments, multiply–accumulates) and by where it stands: the kernel
that it is fused into, what makes its inputs and what reads its output. Plain data, so that a profile is a table that
can be read again when features change.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.concrete import Values, op_name
from compressor.graph.kernels import Schedule
from compressor.graph.program import Program
from compressor.graph.work import computed, kind_of, macs

__all__ = ["Call", "Operand", "calls_of"]


@dataclass(frozen=True)
class Operand:
    """One tensor that a call reads. `source` is the call or input that made it, "" for a stored weight."""

    shape: tuple[int, ...]
    bytes: int
    source: str

    @property
    def stored(self) -> bool:
        return not self.source


@dataclass(frozen=True)
class Call:
    """One call. `shapes` are those of its outputs, `arguments` its numbers and lists (None where a tensor stands),
    `keywords` those that were given by name.

    `format` is that of the kernel it belongs to, `anchor` the kind of that kernel's main call, `main` whether it is
    that call, `fellows` the operators of the others in it; `kernel` is "" for what moves no data.
    """

    name: str
    op: str
    kind: str
    format: str
    shapes: tuple[tuple[int, ...], ...]
    bytes: int
    operands: tuple[Operand, ...]
    arguments: tuple[Any, ...]
    macs: int
    kernel: str = ""
    anchor: str = ""
    main: bool = False
    fellows: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its first output; () for a number."""
        return self.shapes[0] if self.shapes else ()

    @property
    def elements(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """Activations that it reads."""
        return tuple(operand for operand in self.operands if not operand.stored)

    @property
    def weights(self) -> tuple[Operand, ...]:
        return tuple(operand for operand in self.operands if operand.stored)

    @property
    def read_bytes(self) -> int:
        return sum({operand.source: operand.bytes for operand in self.inputs}.values())

    @property
    def weight_bytes(self) -> int:
        return sum(operand.bytes for operand in self.weights)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Call:
        """Raises KeyError or TypeError for what is none."""
        operands = tuple(Operand(tuple(o["shape"]), int(o["bytes"]), str(o["source"])) for o in data["operands"])
        listed = {name: tuple(data[name]) for name in ("fellows", "readers")}
        shapes = tuple(tuple(shape) for shape in data["shapes"])
        arguments = tuple(_frozen(argument) for argument in data["arguments"])
        keywords = tuple((str(name), _frozen(value)) for name, value in data.get("keywords", ()))
        found = {"operands": operands, "shapes": shapes, "arguments": arguments, "keywords": keywords}
        return Call(**{**data, **listed, **found})


def calls_of(program: Program, values: Values, plan: Schedule) -> tuple[Call, ...]:
    """The calls that depend on an input, in order; the parts of a tuple (`getitem`) belong to the call that made it."""
    active = computed(program.graph.nodes)
    place = {node: kernel for kernel in plan.kernels for node in kernel.nodes}
    kept = [
        node for node in program.graph.nodes if node in active and node.op == "call_function" and not _is_part(node)
    ]
    names = {node: node.name for node in program.graph.nodes if node in active}
    found = []
    for node in kept:
        kernel = place.get(node)
        value = values[node]
        found.append(
            Call(
                name=node.name,
                op=op_name(node),
                kind=kind_of(node),
                format=kernel.format if kernel else "",
                shapes=tuple(tuple(t.shape) for t in _tensors(value)),
                bytes=sum(t.numel() * t.element_size() for t in _tensors(value)),
                operands=tuple(_operands(node, values, names)),
                arguments=tuple(_plain(argument) for argument in node.args),
                macs=macs(node, values),
                kernel=kernel.anchor.name if kernel else "",
                anchor=kernel.kind if kernel else "",
                main=kernel is not None and kernel.anchor is node,
                fellows=tuple(op_name(n) for n in kernel.nodes if n is not node) if kernel else (),
                keywords=tuple((name, _plain(value)) for name, value in node.kwargs.items()),
                readers=tuple(sorted({op_name(user) for user in _readers(node) if user.op == "call_function"})),
            )
        )  # fmt: skip
    return tuple(found)


def _is_part(node: fx.Node) -> bool:
    return op_name(node) == "getitem"


def _readers(node: fx.Node) -> Iterable[fx.Node]:
    for user in node.users:
        yield from _readers(user) if _is_part(user) else (user,)


def _operands(node: fx.Node, values: Values, names: Mapping[fx.Node, str]) -> Iterable[Operand]:
    for source in node.all_input_nodes:
        value, origin = values[source], source
        while _is_part(origin):
            origin = origin.all_input_nodes[0]
        for tensor in _tensors(value):
            name = names[origin] if source in names else ""
            yield Operand(tuple(tensor.shape), tensor.numel() * tensor.element_size(), name)


def _plain(argument: Any) -> Any:
    """Numbers, texts and lists of them; None for a tensor and for what has no plain form."""
    if isinstance(argument, (bool, int, float, str)):
        return argument
    if isinstance(argument, (list, tuple)):
        return tuple(_plain(item) for item in argument)
    return str(argument).removeprefix("torch.") if isinstance(argument, torch.dtype) else None


def _frozen(argument: Any) -> Any:
    return tuple(_frozen(item) for item in argument) if isinstance(argument, list) else argument


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [item for item in value if isinstance(item, Tensor)] if isinstance(value, (list, tuple)) else []
