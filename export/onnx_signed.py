"""Values that were int8 stay int8 through operators that only move them, in the file itself.

    DequantizeLinear → MaxPool → …        becomes        DequantizeLinear → MaxPool → Quantize- → DequantizeLinear → …

Exact: moved values lie on the grid that they came from. ONNX Runtime inserts the same pair as it optimizes; on x86,
where it also rewrites int8 as uint8, the pair that it makes from opset 21 on claims int8 output with a uint8 zero
point, and the model does not load (1.31: "output_dtype INT8 does not match y_zero_point type UINT8"). A pair that is
there already is left alone.
"""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["keep_quantized"]

MOVES = ("MaxPool", "Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze")


def keep_quantized(model: ir.Model) -> None:
    """Insert the pairs after every move of signed values that something other than QuantizeLinear reads."""
    for node in list(model.graph):
        grid = _signed_grid(node)
        moved = node.outputs[0]
        if grid is None or not _leaves(moved):
            continue
        quantize = ir.node("QuantizeLinear", [moved, *grid])
        dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], *grid])
        result = dequantize.outputs[0]
        quantize.outputs[0].type, quantize.outputs[0].shape = ir.TensorType(ir.DataType.INT8), moved.shape
        result.type, result.shape = moved.type, moved.shape
        for made in (quantize, dequantize):
            made.metadata_props.update(node.metadata_props)
        moved.replace_all_uses_with(result, replace_graph_outputs=True)
        quantize.replace_input_with(0, moved)
        model.graph.insert_after(node, [quantize, dequantize])


def _signed_grid(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """Scale and zero point of the int8 values that a node moves; None where it does something else."""
    source = node.inputs[0].producer() if node.op_type in MOVES and node.inputs and node.inputs[0] else None
    if source is None or source.op_type != "DequantizeLinear" or len(source.inputs) < 3:
        return None
    _, scale, zero_point = source.inputs[:3]
    if scale is None or zero_point is None or zero_point.const_value is None:
        return None
    single = zero_point.const_value.dtype == ir.DataType.INT8 and zero_point.const_value.size == 1
    return (scale, zero_point) if single else None


def _leaves(value: ir.Value) -> bool:
    return value.is_graph_output() or any(use.node.op_type != "QuantizeLinear" for use in value.uses())
