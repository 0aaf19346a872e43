"""What torch's exporter leaves in a graph, made fit to ship.

- inputs, outputs and dynamic dimensions carry the program's names (`batch`, not `s77`)
- nodes are called `layer/Operator`, and so are their results; weights keep their parameter's name
- weights that share storage are stored once; transposed weights are stored transposed
- documentation strings and metadata go: they hold stack traces with this machine's paths
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Mapping

import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor

from compressor.errors import ExportError
from compressor.export.onnx_rnn import RECURRENT
from compressor.graph.program import Program
from compressor.graph.signature import TensorSpec

__all__ = ["clean", "layer_of", "name_interface", "own_zero_points", "store_transposed", "tie"]

_SCOPES = "pkg.torch.onnx.name_scopes"


def tie(model: ir.Model) -> None:
    """Initializers over the same memory become one, under the first name."""
    seen: dict[tuple[object, ...], ir.Value] = {}
    for name, value in list(model.graph.initializers.items()):
        raw = getattr(value.const_value, "raw", None)
        if not isinstance(raw, Tensor):
            continue
        key = (raw.untyped_storage().data_ptr(), raw.storage_offset(), raw.dtype, raw.shape, raw.stride())
        first = seen.setdefault(key, value)
        if first is not value and not value.is_graph_output():
            value.replace_all_uses_with(first)
            del model.graph.initializers[name]


def store_transposed(model: ir.Model) -> None:
    """Transpose(W) and Transpose(DequantizeLinear(W, s, z)) → the transposed W under its own name, nothing copied.

    Only where nothing reads W otherwise: runtimes then find the matrix as their kernels, fused integer ones too, want
    it.
    """
    _share(model)
    for node in list(model.graph):
        if node.op_type != "Transpose" or (source := node.inputs[0]) is None or node.outputs[0].is_graph_output():
            continue
        dequantize = source.producer()
        weight = source
        if dequantize is not None:
            if dequantize.op_type != "DequantizeLinear" or len(source.uses()) != 1 or dequantize.inputs[0] is None:
                continue
            weight = dequantize.inputs[0]
        if not weight.is_initializer() or weight.const_value is None or len(weight.uses()) != 1:
            continue
        order = list(node.attributes.get_ints("perm", list(reversed(range(len(weight.const_value.shape))))))
        weight.const_value = _transposed(weight.const_value, order)
        weight.shape = weight.const_value.shape  # type: ignore[assignment]
        if dequantize is not None:
            axis = dequantize.attributes.get_int("axis", 1) % len(order)
            dequantize.attributes["axis"] = ir.AttrInt64("axis", order.index(axis))
            source.shape = weight.shape
        node.outputs[0].replace_all_uses_with(source)
        model.graph.remove(node, safe=True)


def _share(model: ir.Model) -> None:
    """One node for all that dequantize the same weight, and that turn the same value, in the same way."""
    known: dict[tuple[object, ...], ir.Node] = {}
    for node in list(model.graph):
        told = {"Transpose": "perm", "DequantizeLinear": "axis"}.get(node.op_type)
        if told is None or (node.op_type != "Transpose" and not _is_stored(node.inputs[0])):
            continue
        given = node.attributes.get(told)
        key = (node.op_type, *map(_source, node.inputs), str(None if given is None else given.value))
        first = known.setdefault(key, node)
        if first is not node and not node.outputs[0].is_graph_output():
            node.outputs[0].replace_all_uses_with(first.outputs[0])
            model.graph.remove(node, safe=True)


def _source(value: ir.Value | None) -> object:
    """The same for one value, and for what two nodes make of the same stored tensors."""
    maker = None if value is None else value.producer()
    if maker is None or not all(map(_is_stored, maker.inputs)):
        return id(value)
    told = sorted((name, str(attribute.value)) for name, attribute in maker.attributes.items())
    return (maker.op_type, *map(id, maker.inputs), *told)


def _is_stored(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer()


def _transposed(tensor: ir.TensorProtocol, order: list[int]) -> ir.TensorProtocol:
    shape = ir.Shape([int(tensor.shape[i]) for i in order])  # type: ignore[arg-type]  # a weight's shape is static

    def make() -> ir.TensorProtocol:
        return ir.Tensor(tensor.numpy().transpose(order).copy(), dtype=tensor.dtype, name=tensor.name)

    return ir.LazyTensor(make, dtype=tensor.dtype, shape=shape, name=tensor.name)


def own_zero_points(model: ir.Model) -> None:
    """Each quantized weight gets a zero point of its own, where deduplication made several share one.

    ONNX Runtime's S8-to-U8 rewrite for x86 replaces zero points in place, and fails on a shared one.
    """
    for node in list(model.graph):
        if node.op_type != "DequantizeLinear" or len(node.inputs) < 3:
            continue
        weight, _, zero_point = node.inputs[:3]
        if weight is None or not weight.is_initializer() or zero_point is None or zero_point.const_value is None:
            continue
        if len(zero_point.uses()) > 1:
            name, count = f"{weight.name}.zero_point", 1
            while name in model.graph.initializers:  # equal biases were made one: several nodes read it
                count += 1
                name = f"{weight.name}.zero_point_{count}"
            tensor = ir.tensor(zero_point.const_value.numpy().copy(), dtype=zero_point.const_value.dtype, name=name)
            own = ir.Value(name=name, type=zero_point.type, shape=zero_point.shape, const_value=tensor)
            model.graph.register_initializer(own)
            node.replace_input_with(2, own)


def name_interface(model: ir.Model, program: Program) -> None:
    """Inputs, outputs and dimensions named as in the program's specs. Raises ExportError when their count differs."""
    for kind, values, specs in (
        ("inputs", model.graph.inputs, program.inputs), ("outputs", model.graph.outputs, program.outputs)
    ):  # fmt: skip
        if len(values) != len(specs):
            raise ExportError(f"lowering kept {len(values)} of {len(specs)} {kind}")
    if shared := {spec.name for spec in program.inputs} & {spec.name for spec in program.outputs}:
        raise ExportError(
            f"an input and an output are both called {sorted(shared)[0]!r}, which ONNX forbids",
            way_out="Rename one of them in the model's forward.",
        )
    symbols = _symbols(model.graph.inputs, program.inputs)
    public = list(zip((*model.graph.inputs, *model.graph.outputs), (*program.inputs, *program.outputs), strict=True))
    wanted = {spec.name for _, spec in public}
    for number, value in enumerate(_values(model)):
        if value.name in wanted:
            value.name = f"{value.name}__{number}"
        if value.shape is not None:
            value.shape = ir.Shape([_renamed(dimension, symbols) for dimension in value.shape])
    for value, spec in public:
        value.name = spec.name
        value.shape = ir.Shape(list(spec.shape))


def clean(model: ir.Model) -> None:
    """Readable names of nodes and of what they give; no stack traces, no metadata."""
    counts: Counter[str] = Counter()
    taken = {value.name for value in _interface(model)}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        base = f"{layer_of(node)}/{node.op_type}".lstrip("/")
        counts[base] += 1
        node.name = base if counts[base] == 1 else f"{base}_{counts[base]}"
        _name_results(node, taken)
        if node.op_type in RECURRENT:
            _name_packed(model, node)
    ClearMetadataAndDocStringPass()(model)
    for value in _values(model):
        value.metadata_props.clear()
        value.doc_string = None
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.graph.doc_string = model.doc_string = None


def layer_of(node: ir.Node) -> str:
    """The module path of the node's weight, else of the module that called it, else ""."""
    scopes = node.metadata_props.get(_SCOPES)
    modules = [scope for scope in ast.literal_eval(scopes)[:-1] if scope] if scopes else []
    if modules:
        return str(modules[-1])
    weights = [value.name for value in node.inputs if value is not None and value.is_initializer() and value.name]
    return next((name.rpartition(".")[0] for name in weights if "." in name), "")


def _name_results(node: ir.Node, taken: set[str | None]) -> None:
    """After the node, not after the graph that passes left, where names tell of what was tried and thrown away."""
    for place, value in enumerate(node.outputs):
        if value.name == "" or value.name in taken:  # left out, or the program's own
            continue
        name = f"{node.name}:{place}" if place else str(node.name)
        while name in taken:
            name += "_"
        value.name = name


def _name_packed(model: ir.Model, node: ir.Node) -> None:
    for letter, value in zip("WRB", node.inputs[1:4], strict=False):
        if value is not None and value.is_initializer() and value.name not in model.graph.initializers:
            continue
        if value is not None and value.is_initializer():
            value.name = f"{node.name}.{letter}"


def _symbols(values: Iterable[ir.Value], specs: Iterable[TensorSpec]) -> Mapping[str, str]:
    """torch's symbol of each dynamic input dimension → the spec's name for it."""
    found: dict[str, str] = {}
    for value, spec in zip(values, specs, strict=True):
        for dimension, size in zip(value.shape or (), spec.shape, strict=True):
            if isinstance(size, str) and isinstance(dimension, int):
                raise ExportError(f"dimension {size!r} became fixed at {dimension}", where=f"input {spec.name!r}")
            if isinstance(size, str) and isinstance(dimension, ir.SymbolicDim) and dimension.value is not None:
                found.setdefault(dimension.value, size)
    return found


def _renamed(dimension: int | ir.SymbolicDim, symbols: Mapping[str, str]) -> int | str | None:
    if isinstance(dimension, int) or dimension.value is None:
        return dimension if isinstance(dimension, int) else None
    return re.sub(r"\w+", lambda match: symbols.get(match[0], match[0]), dimension.value)


def _interface(model: ir.Model) -> list[ir.Value]:
    return [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]


def _values(model: ir.Model) -> list[ir.Value]:
    nodes = ir.traversal.RecursiveGraphIterator(model.graph)
    found = [*model.graph.inputs, *model.graph.initializers.values()]
    return [*found, *(value for node in nodes for value in node.outputs)]
