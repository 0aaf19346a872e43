"""Products of integers with their bias, written so that runtimes add it inside the product.

    Add(MatMul(dq(x), dq(W)), b)  →  com.microsoft.MatMulIntegerToFloat(x, W, s_x, s_W, z_x, z_W, b)

(onnxruntime docs/ContribOperators.md.) ONNX Runtime makes the same operator of the pairs by itself, but leaves the sum
outside, one more pass over the result: 7% of a small language model's time (1.31.1, AVX-512). Only its CPU kernels know
the operator. For others the bias is given the rank of the result, for ONNX Runtime would otherwise fuse product and
bias into a float Gemm before it looks for products of integers.
"""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["join_biases"]

_BYTES = (ir.DataType.INT8, ir.DataType.UINT8)


def join_biases(model: ir.Model, *, inside: bool) -> None:
    """Every product of integers with the bias that follows it; `inside` where the runtime has the operator."""
    for node in list(model.graph):
        if node.op_type != "MatMul" or node.domain:
            continue
        parts, total = [_codes(value) for value in node.inputs], _sum(node)
        if total is None or None in parts:
            continue
        bias = total.inputs[1] if total.inputs[0] is node.outputs[0] else total.inputs[0]
        if inside:
            _join(model, node, total, [part for part in parts if part is not None], bias)
        else:
            _reshape(model, total, bias, len(node.outputs[0].shape or ()))


def _codes(value: ir.Value | None) -> ir.Node | None:
    """The node that makes floats of bytes: of a value with one scale, or of stored columns with one each."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "DequantizeLinear" or node.inputs[0] is None or len(node.inputs) < 3:
        return None
    codes, scale = node.inputs[:2]
    if codes is None or codes.dtype not in _BYTES or scale is None or scale.shape is None:
        return None
    if len(scale.shape) == 0:
        return node
    along = node.attributes.get_int("axis", 1)
    return node if codes.is_initializer() and len(scale.shape) == 1 and along in (1, -1) else None


def _sum(product: ir.Node) -> ir.Node | None:
    """What alone reads a product and adds a stored vector to it."""
    result = product.outputs[0]
    readers = [use.node for use in result.uses()]
    if len(readers) != 1 or result.is_graph_output() or readers[0].op_type != "Add":
        return None
    others = [value for value in readers[0].inputs if value is not None and value is not result]
    shape = others[0].shape if others and others[0].is_initializer() else None
    return readers[0] if shape is not None and len(shape) == 1 else None


def _join(model: ir.Model, product: ir.Node, total: ir.Node, parts: list[ir.Node], bias: ir.Value | None) -> None:
    codes, scales, points = ([part.inputs[place] for part in parts] for place in range(3))
    given = [*codes, *scales, *(None if _is_zero(point) else point for point in points), bias]
    made = ir.node("MatMulIntegerToFloat", given, domain="com.microsoft", version=1)
    old, new = total.outputs[0], made.outputs[0]
    new.type, new.shape, new.name = old.type, old.shape, old.name
    made.metadata_props.update(product.metadata_props)
    model.graph.opset_imports.setdefault("com.microsoft", 1)
    model.graph.insert_after(total, made)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    for node in (total, product):
        model.graph.remove(node, safe=True)
    for node in parts:
        if not node.outputs[0].uses() and not node.outputs[0].is_graph_output() and node.graph is not None:
            model.graph.remove(node, safe=True)


def _is_zero(point: ir.Value | None) -> bool:
    stored = None if point is None else point.const_value
    return stored is not None and not stored.numpy().any()


def _reshape(model: ir.Model, total: ir.Node, bias: ir.Value | None, rank: int) -> None:
    if bias is None or bias.const_value is None or rank < 3:
        return
    name = f"{bias.name}_row"
    row = model.graph.initializers.get(name)
    if row is None:
        shape = [1] * (rank - 1) + [bias.const_value.size]
        stored = ir.tensor(bias.const_value.numpy().reshape(shape), dtype=bias.const_value.dtype, name=name)
        row = ir.Value(name=name, type=bias.type, shape=ir.Shape(shape), const_value=stored)
        model.graph.register_initializer(row)
    total.replace_input_with(list(total.inputs).index(bias), row)
    if not bias.uses() and not bias.is_graph_output():
        del model.graph.initializers[str(bias.name)]
