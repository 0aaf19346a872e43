"""Which nodes of a program run together as one kernel, and the work of each.

Fused as ONNX Runtime and TensorRT fuse:

    conv | linear | matmul  + batch norm + residual add + activation + quantize     one kernel
    pointwise chains, with reductions between them (an RMS norm spelled out)        one kernel
    dequantize(x), dequantize(w) → conv | linear | matmul                            one int8 kernel
    dequantize(x) … → pointwise | pool | cat → quantize                              one int8 kernel
    dequantize(w) → anything float                                                   a kernel of its own, each inference
    linear_blocks(x, codes, scales)  + residual add + activation                     one kernel, int4 or int2
    linear_blocks(patches(x), …)     in integers, where kernels are our own          one kernel, which lays out bytes

ONNX Runtime's own kernels run a conv on integers only where its result is quantized again, past nothing but a clip,
and a transposed conv never (seen in the graphs that it optimizes); TensorRT asks for neither. What depends on no
input is folded when the model is loaded and costs nothing, except a dequantize: runtimes keep it, because they look
for it. A value is written to memory unless all that read it are in its own kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from compressor.graph import edit
from compressor.graph.concrete import Values, op_name
from compressor.graph.edit import layer_name, module_path
from compressor.graph.program import Program
from compressor.graph.work import COMPUTE, is_free, kind_of, macs, reads, size_of, workspace_bytes

__all__ = ["Kernel", "Schedule", "layer_of", "schedule"]

_CHAINS = frozenset({"elementwise", "reduce"})
_INTEGER_CAPABLE = frozenset({"elementwise", "pool", "layout", "softmax", "reduce", "resize", "gather"})
_CLIPS = frozenset({"relu", "relu6", "hardtanh", "clamp", "clamp_min"})
_BLOCKS, _PATCHES = "compressor::linear_blocks", "compressor::patches"
_FORMATS = {torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass
class Kernel:
    """Nodes that run together. `anchor` is the one whose kind and format the kernel takes."""

    anchor: fx.Node
    kind: str
    format: str
    nodes: list[fx.Node]
    macs: int = 0
    weights: dict[fx.Node, int] = field(default_factory=dict)  # bytes read of each constant
    inputs: dict[fx.Node, int] = field(default_factory=dict)  # bytes read of each activation
    outputs: list[fx.Node] = field(default_factory=list)  # values that others read
    output_bytes: int = 0
    workspace_bytes: int = 0

    @property
    def blocks(self) -> bool:
        """Whether its weight is stored in blocks of few bits, which it reads as they are."""
        return op_name(self.anchor) == _BLOCKS

    @property
    def arithmetic(self) -> str:
        """The format of its multiply–accumulates: with weights in blocks int8 where it rounds its input, else fp32."""
        if not self.blocks:
            return self.format
        return "int8" if edit.argument(self.anchor, "integer") else "fp32"

    @property
    def activation_bytes(self) -> int:
        """Activation bytes read and written; what is held on the side is written and read once."""
        return sum(self.inputs.values()) + self.output_bytes + 2 * self.workspace_bytes


@dataclass(frozen=True)
class Schedule:
    """A program's kernels in order of execution, with the values they were counted on."""

    kernels: tuple[Kernel, ...]
    values: Values
    inputs: tuple[fx.Node, ...]
    results: frozenset[fx.Node]  # values that the program returns


def schedule(program: Program, values: Values, *, requantized: bool = True, own: bool = False) -> Schedule:
    """Group a program's nodes into kernels and count each one's work. `values` are concrete shapes by node.

    `requantized`: convs run on integers only under the conditions of ONNX Runtime's own kernels (see above). `own`:
    products in blocks are our own kernels, which round pixels before they lay patches of them out.
    """
    return _Fuser(program, values, requantized, own).run()


class _Fuser:
    """One walk over the graph in order; each node starts a kernel or joins those of the values it reads."""

    def __init__(self, program: Program, values: Values, requantized: bool, own: bool) -> None:
        self.graph, self.values, self.requantized, self.own = program.graph, values, requantized, own
        self.order = {node: index for index, node in enumerate(self.graph.nodes)}
        self.constant: set[fx.Node] = set()  # depends on no input
        self.folded: set[fx.Node] = set()  # … and is computed when the model is loaded
        self.owner: dict[fx.Node, Kernel] = {}
        self._fold()
        self.integer = {node for node in self.graph.nodes if self._runs_on_integers(node)}

    def run(self) -> Schedule:
        for node in self.graph.nodes:
            if self._is_work(node) and not self._is_absorbed(node):
                self._place(node)
        kernels = sorted({id(k): k for k in self.owner.values()}.values(), key=lambda k: self.order[k.nodes[-1]])
        for kernel in kernels:
            self._count(kernel)
        inputs = tuple(node for node in self.graph.nodes if node.op == "placeholder")
        output = next(iter(reversed(self.graph.nodes)))
        results = frozenset(self.source(node) for node in output.all_input_nodes)
        return Schedule(tuple(kernels), self.values, inputs, results)

    def source(self, node: fx.Node) -> fx.Node:
        """The value whose bytes a node reads when it reads this one: reshapes are looked through."""
        while self._is_view(node):
            node = node.all_input_nodes[0]
        return node

    def consumers(self, node: fx.Node) -> set[fx.Node]:
        """The nodes that read a value's bytes, directly or through reshapes."""
        found: set[fx.Node] = set()
        for user in node.users:
            if self._is_view(user):
                found |= self.consumers(user)
            elif user.op == "output" or self._is_work(user):
                found.add(user)
        return found

    def _fold(self) -> None:
        for node in self.graph.nodes:
            free_of_inputs = all(source in self.constant for source in node.all_input_nodes)
            if node.op == "get_attr" or (node.op == "call_function" and free_of_inputs):
                self.constant.add(node)
                kept = all(source in self.folded for source in node.all_input_nodes)
                if kept and (node.op == "get_attr" or kind_of(node) != "dequantize"):
                    self.folded.add(node)

    def _is_work(self, node: fx.Node) -> bool:
        return node.op == "call_function" and node not in self.folded and not self._is_unmoved(node)

    def _is_unmoved(self, node: fx.Node) -> bool:
        return is_free(node, self.values) or self._is_absorbed_transpose(node)

    def _is_view(self, node: fx.Node) -> bool:
        tensor = isinstance(self.values.get(node), Tensor) and bool(node.all_input_nodes)
        return tensor and node.op == "call_function" and node not in self.folded and self._is_unmoved(node)

    def _is_absorbed_transpose(self, node: fx.Node) -> bool:
        """Swapping the last two dimensions costs nothing where only matrix products read the result."""
        if op_name(node) not in ("transpose", "permute", "mT", "t") or not node.users:
            return False
        source, value = self.values[node.all_input_nodes[0]], self.values[node]
        swapped = source.dim() >= 2 and source.transpose(-1, -2).stride() == value.stride()
        return swapped and all(user.op == "call_function" and kind_of(user) == "matmul" for user in node.users)

    def _is_absorbed(self, node: fx.Node) -> bool:
        """A dequantize that only integer kernels read never runs, nor do patches that kernels of ours read."""
        if op_name(node) == _PATCHES:
            return self.own and all(_rounds(reader) for reader in self.consumers(node))
        readers = self.consumers(node) if kind_of(node) == "dequantize" else set()
        return bool(readers) and readers <= self.integer

    def _runs_on_integers(self, node: fx.Node) -> bool:
        if node.op != "call_function" or not self._is_work(node):
            return False
        kind = kind_of(node)
        if kind in COMPUTE:
            conv = self.requantized and kind.startswith("conv")
            fits = not conv or (kind != "conv_transpose" and self._leads_to_quantize(node))
            return fits and all(self._is_dequantized(operand) for operand in _operands(node))
        data = [s for s in node.all_input_nodes if self._is_floating(s) and _numel(self.values[s]) > 1]
        return (
            kind in _INTEGER_CAPABLE
            and bool(data)
            and all(self._is_dequantized(source) for source in data)
            and self._leads_to_quantize(node)
        )

    def _is_dequantized(self, node: fx.Node) -> bool:
        origin = self.source(node)
        return origin.op == "call_function" and kind_of(origin) == "dequantize"

    def _is_floating(self, node: fx.Node) -> bool:
        value = self.values[node]
        return isinstance(value, Tensor) and value.dtype.is_floating_point

    def _leads_to_quantize(self, node: fx.Node) -> bool:
        """Whether the one reader, past clips, quantizes this value."""
        readers = self.consumers(node)
        if len(readers) != 1 or (reader := next(iter(readers))).op == "output":
            return False
        return kind_of(reader) == "quantize" or (op_name(reader) in _CLIPS and self._leads_to_quantize(reader))

    def _place(self, node: fx.Node) -> None:
        hosts = self._hosts(node)
        if not hosts:
            self.owner[node] = Kernel(node, kind_of(node), self._format(node), [node])
            return
        kernel = hosts[-1]
        for other in hosts[:-1]:
            kernel.nodes = sorted({*kernel.nodes, *other.nodes}, key=self.order.__getitem__)
            self.owner.update(dict.fromkeys(other.nodes, kernel))
        kernel.nodes.append(node)
        self.owner[node] = kernel

    def _hosts(self, node: fx.Node) -> list[Kernel]:
        """The kernels that this node joins: those whose last value it alone reads; only one does arithmetic."""
        kind = kind_of(node)
        if op_name(node) == "getitem":
            return [k for source in node.all_input_nodes if (k := self.owner.get(source))]
        if kind not in (*_CHAINS, "quantize"):
            return []
        found: dict[int, Kernel] = {}
        for argument in node.all_input_nodes:
            source = self.source(argument)
            kernel = self.owner.get(source)
            if kernel and self.consumers(source) == {node} and self._may_join(node, kind, kernel, source):
                found[id(kernel)] = kernel
        hosts = sorted(found.values(), key=lambda kernel: self.order[kernel.nodes[-1]])
        return [kernel for kernel in hosts if kernel.kind not in _CHAINS][-1:] or hosts

    def _may_join(self, node: fx.Node, kind: str, kernel: Kernel, source: fx.Node) -> bool:
        same_size = _numel(self.values[source]) == _numel(self.values[node])
        if kind == "quantize":
            return kernel.format == "int8"
        if kernel.kind in COMPUTE:
            return kind == "elementwise" and same_size
        return kernel.kind in _CHAINS

    def _format(self, node: fx.Node) -> str:
        if node in self.integer:
            return "int8"
        if op_name(node) == _BLOCKS:
            return f"int{edit.argument(node, 'bits')}"
        kinds = [self.values[source].dtype for source in node.all_input_nodes if self._is_floating(source)]
        return _FORMATS.get(kinds[0], "fp32") if kinds else "fp32"

    def _count(self, kernel: Kernel) -> None:
        inside = set(kernel.nodes)
        for node in kernel.nodes:
            kernel.macs += macs(node, self.values)
            kernel.workspace_bytes += workspace_bytes(node, self.values)
            for argument, size in reads(node, self.values).items():
                source = self._stored(argument, node)
                if self._is_laid_inside(argument):  # a byte each
                    kernel.workspace_bytes += _numel(self.values[argument])
                    size = size_of(self.values[source])
                if source not in inside:
                    size = size * self.values[source].element_size() // self.values[argument].element_size()
                    known = kernel.weights if source in self.constant else kernel.inputs
                    known[source] = max(size, known.get(source, 0))
            if isinstance(self.values[node], Tensor) and not self.consumers(node) <= inside:
                kernel.outputs.append(node)
        kernel.output_bytes = sum(size_of(self.values[node]) for node in kernel.outputs)

    def _is_laid_inside(self, node: fx.Node) -> bool:
        return node.op == "call_function" and op_name(node) == _PATCHES and self._is_absorbed(node)

    def _stored(self, argument: fx.Node, reader: fx.Node) -> fx.Node:
        """What lies in memory for an argument: an integer kernel reads what its dequantize would have read."""
        source = self.source(argument)
        if self._is_laid_inside(source):
            return self.source(source.all_input_nodes[0])
        if reader in self.integer and source.op == "call_function" and kind_of(source) == "dequantize":
            return self.source(source.all_input_nodes[0])
        return source


def _rounds(node: fx.Node) -> bool:
    """Whether a product in blocks computes in integers."""
    return op_name(node) == _BLOCKS and bool(edit.argument(node, "integer"))


def layer_of(node: fx.Node) -> str:
    """What a user calls this call: the module path of its weight, looked for behind a dequantize or transpose too.

    A change of format takes the name of the call it was made for, not that of its scale.
    """
    if kind_of(node) in ("quantize", "dequantize") and (path := module_path(node)):
        return path
    for argument in node.all_input_nodes:
        while argument.op == "call_function" and kind_of(argument) in ("dequantize", "layout"):
            argument = argument.all_input_nodes[0]
        if argument.op == "get_attr" and "." in str(argument.target):
            return str(argument.target).rpartition(".")[0]
    return layer_name(node)


def _operands(node: fx.Node) -> list[fx.Node]:
    """The two factors of a conv, linear or matrix product."""
    first = 1 if op_name(node) in ("addmm", "baddbmm", "addbmm", "addmv") else 0
    return [argument for argument in node.args[first : first + 2] if isinstance(argument, fx.Node)]


def _numel(value: object) -> int:
    return value.numel() if isinstance(value, Tensor) else 0
