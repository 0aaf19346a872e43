"""`Program`: the captured PyTorch graph, its example inputs, its dynamic shapes, and nothing clever.

The graph is flat (tensors in, tuple of tensors out) and made of ATen ops; parameters and buffers keep the names
they had in the model. A copy shares tensors with its original, so a pass replaces a tensor and never writes into
one.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.errors import InputError
from compressor.graph.kv_cache import with_past
from compressor.graph.signature import TensorSpec, dtype_name

__all__ = ["Program"]


@dataclass(frozen=True)
class Program:
    """A flat ATen graph with named inputs and outputs.

    `module(*example)` returns a tuple of tensors in the order of `outputs`; `example` is one batch in the order
    of `inputs`. `synthetic` says that the example was made up, not taken from the user's data.
    """

    module: fx.GraphModule
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    example: tuple[Tensor, ...]
    synthetic: bool = False

    @property
    def graph(self) -> fx.Graph:
        return self.module.graph

    def nodes(self) -> Iterator[fx.Node]:
        """The call nodes, in order of execution."""
        return (node for node in self.graph.nodes if node.op in ("call_function", "call_module", "call_method"))

    def tensors(self) -> dict[str, Tensor]:
        """Every parameter and buffer that the graph reads, by name; shared ones appear under each name."""
        found: dict[str, Tensor] = {}
        for node in self.graph.nodes:
            if node.op == "get_attr" and isinstance(value := self.get(str(node.target)), Tensor):
                found[str(node.target)] = value
        return found

    def get(self, name: str) -> Any:
        """The attribute under a dotted name (a tensor, or a submodule of a control-flow op)."""
        value: Any = self.module
        for part in name.split("."):
            value = getattr(value, part)
        return value

    def copy(self) -> Program:
        """The same program in a graph of its own; tensors are shared."""
        graph = fx.Graph()
        mapping: dict[fx.Node, fx.Node] = {}
        result = graph.graph_copy(self.graph, mapping)
        old = next(iter(reversed(self.graph.nodes)))
        output = graph.output(result)
        output.meta = dict(old.meta)
        return replace(self, module=fx.GraphModule(self.module, graph))

    def run(self, inputs: Mapping[str, Tensor] | Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """Outputs by name for one batch (the example if none is given), without gradients.

        Raises InputError when a name is missing or a shape or dtype does not fit.
        """
        flat = self.example if inputs is None else self.flatten(inputs)
        with torch.no_grad():
            results = self.module(*flat)
        return dict(zip((spec.name for spec in self.outputs), results, strict=True))

    def flatten(self, inputs: Mapping[str, Tensor] | Sequence[Tensor]) -> tuple[Tensor, ...]:
        """One batch in the order of `inputs`, checked against their specs.

        Names that are no input (labels, say) are left out; a key–value cache that is not given is empty. Raises
        InputError, naming the input.
        """
        if isinstance(inputs, Mapping):
            inputs = with_past(self.inputs, inputs)
            missing = [spec.name for spec in self.inputs if spec.name not in inputs]
            if missing:
                raise InputError(f"no value for input {missing[0]!r}; got {sorted(inputs)}")
            flat = tuple(inputs[spec.name] for spec in self.inputs)
        else:
            flat = tuple(inputs)
            if len(flat) != len(self.inputs):
                names = ", ".join(spec.name for spec in self.inputs)
                raise InputError(f"{len(flat)} inputs are given, the model takes {len(self.inputs)}: {names}")
        sizes: dict[str, int] = {}
        for spec, tensor in zip(self.inputs, flat, strict=True):
            _check(spec, tensor, sizes)
        return flat

    def export(self) -> ExportedProgram:
        """The program through `torch.export` again: fresh metadata, and proof that it still captures."""
        shapes = tuple(
            {i: Dim.AUTO for i, size in enumerate(spec.shape) if isinstance(size, str)} or None for spec in self.inputs
        )
        with torch.no_grad():
            return torch.export.export(self.module, self.example, dynamic_shapes=shapes, strict=False)

    def unique_bytes(self) -> int:
        """Bytes of stored tensors, shared and overlapping storage counted once."""
        spans: dict[int, list[tuple[int, int]]] = {}
        for tensor in self.tensors().values():
            if tensor.numel():
                storage = tensor.untyped_storage().data_ptr()
                spans.setdefault(storage, []).append(_span(tensor))
        return sum(_covered(found) for found in spans.values())

    def parameters(self) -> int:
        """Number of weights as the field counts them, shared ones once.

        Trained parameters and the integers that stand for quantized ones; no running statistics, counters, tables,
        scales or zero points.
        """
        tables = _first_read(self.graph, "aten.embedding.")
        codes = _first_read(self.graph, "compressor.") | {n for n in tables if not self.get(n).is_floating_point()}
        blocks, tensors = _block_counts(self.graph, self.tensors()), self.tensors().items()
        counts = {
            (t.untyped_storage().data_ptr(), t.storage_offset()): blocks.get(name, t.numel())
            for name, t in tensors
            if isinstance(t, nn.Parameter) or name in codes or name in blocks
        }
        return sum(counts.values())

    def hash(self) -> str:
        """SHA-256 of what the program computes: operators, wiring, tensors with their names, and signature.

        Each node's digest covers its operator and its arguments' digests, so that neither the order of independent
        nodes nor nodes without a user count, and saving and loading keeps it. The example does not count.
        """
        specs = [spec.to_json() for spec in (*self.inputs, *self.outputs)]
        return _sha(_graph_digest(self.module), json.dumps(specs, sort_keys=True))


def _first_read(graph: fx.Graph, operators: str) -> set[str]:
    """The names of stored tensors that such operators read first."""
    first = (node.args[0] for node in graph.nodes if str(node.target).startswith(operators))
    return {str(read.target) for read in first if isinstance(read, fx.Node) and read.op == "get_attr"}


def _block_counts(graph: fx.Graph, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """How many weights each tensor of packed codes stands for: a byte holds several."""
    ops = torch.ops.compressor
    places = {ops.linear_blocks.default: (1, 6), ops.embedding_blocks.default: (0, 5)}  # of the codes and the width
    calls = [(node.args, places[node.target]) for node in graph.nodes if node.target in places]
    widths = {args[codes].target: args[width] for args, (codes, width) in calls if args[codes].op == "get_attr"}
    return {name: tensors[name].shape[0] * width for name, width in widths.items()}


def _span(tensor: Tensor) -> tuple[int, int]:
    """First and last byte of its storage that a tensor covers."""
    start = tensor.storage_offset()
    last = start + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return int(start) * tensor.element_size(), (int(last) + 1) * tensor.element_size()


def _covered(spans: list[tuple[int, int]]) -> int:
    """Bytes in the union of half-open intervals."""
    total = end = 0
    for start, stop in sorted(spans):
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total


def _graph_digest(module: fx.GraphModule) -> str:
    digests: dict[fx.Node, str] = {}
    inputs = 0
    for node in module.graph.nodes:
        if node.op == "placeholder":
            digests[node] = f"input {inputs}"
            inputs += 1
        elif node.op == "get_attr":
            digests[node] = _attribute_digest(str(node.target), operator.attrgetter(node.target)(module))
        else:
            digests[node] = _sha(node.op, _target(node), _written((node.args, dict(node.kwargs)), digests))
    return digests[next(iter(reversed(module.graph.nodes)))]


def _written(argument: Any, digests: Mapping[fx.Node, str]) -> str:
    """An argument as text; a tuple as a list and keywords sorted, since saving keeps neither distinction."""
    if isinstance(argument, fx.Node):
        return digests[argument]
    if isinstance(argument, list | tuple):
        return f"[{', '.join(_written(item, digests) for item in argument)}]"
    if isinstance(argument, Mapping):
        return f"{{{', '.join(f'{key}: {_written(argument[key], digests)}' for key in sorted(argument))}}}"
    if isinstance(argument, slice):
        return f"slice{_written((argument.start, argument.stop, argument.step), digests)}"
    return repr(argument)


def _attribute_digest(name: str, value: Any) -> str:
    if isinstance(value, fx.GraphModule):  # a branch or body of a control-flow operator
        return _graph_digest(value)
    if not isinstance(value, Tensor):
        return _sha(name, repr(value))
    content = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return _sha(name, dtype_name(value.dtype), str(tuple(value.shape)), content.data)


def _sha(*parts: str | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\n")
    return digest.hexdigest()


def _target(node: fx.Node) -> str:
    if node.op in ("placeholder", "output"):
        return ""
    return str(node.target) if not callable(node.target) else torch.typename(node.target) + str(node.target)


def _check(spec: TensorSpec, tensor: Any, sizes: dict[str, int]) -> None:
    if not isinstance(tensor, Tensor):
        raise InputError(f"a {type(tensor).__name__} is given, not a tensor", where=f"input {spec.name!r}")
    if tensor.dtype != spec.dtype:
        raise InputError(
            f"dtype is {dtype_name(tensor.dtype)}, the model takes {dtype_name(spec.dtype)}",
            where=f"input {spec.name!r}",
        )
    fits = tensor.dim() == len(spec.shape)
    for want, got in zip(spec.shape, tensor.shape, strict=False):
        fits = fits and got == (want if isinstance(want, int) else sizes.setdefault(want, got))
    if not fits:
        raise InputError(
            f"shape is {tuple(tensor.shape)}, the model takes ({', '.join(map(str, spec.shape))})",
            where=f"input {spec.name!r}",
        )
