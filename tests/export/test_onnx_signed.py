"""Moved int8 values stay int8: the model loads on x86 and computes the same, where it would not without."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.export.onnx_signed import keep_quantized

SHAPE = (1, 4, 8, 8)


def _model(op: str, last: str | None, constants: dict[str, list[int]], **attributes: object) -> ir.Model:
    """x → quantize → dequantize → op → last."""
    grid = [numpy_helper.from_array(np.array(0.1, np.float32), "s"), numpy_helper.from_array(np.array(3, np.int8), "z")]
    more = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node(op, ["d", *constants], ["moved" if last else "y"], **attributes),
        *([helper.make_node(last, ["moved"], ["y"])] if last else []),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], [*grid, *more])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return ir.serde.deserialize_model(proto)


def _run(model: ir.Model, optimized: bool) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = ir.serde.serialize_model(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    result: np.ndarray = session.run(None, {"x": x})[0]
    return result


@pytest.mark.parametrize("last", ["Erf", None])
@pytest.mark.parametrize(
    ("op", "constants", "attributes"),
    [
        ("MaxPool", {}, {"kernel_shape": [2, 2]}),
        ("Reshape", {"shape": [1, -1]}, {}),
        ("Transpose", {}, {"perm": [0, 2, 3, 1]}),
        ("Slice", {"starts": [0], "ends": [1]}, {}),
        ("Squeeze", {"axes": [0]}, {}),
        ("Unsqueeze", {"axes": [0]}, {}),
    ],
)
def test_a_move_of_signed_values_loads_and_changes_nothing(
    op: str, constants: dict[str, list[int]], attributes: dict[str, object], last: str | None
) -> None:
    model = _model(op, last, constants, **attributes)
    expected = _run(model, optimized=False)
    keep_quantized(model)
    assert [node.op_type for node in model.graph].count("QuantizeLinear") == 2
    assert [value.name for value in model.graph.outputs] != ["moved"]
    np.testing.assert_array_equal(_run(model, optimized=False), expected)
    np.testing.assert_array_equal(_run(model, optimized=True), expected)


def test_what_is_quantized_already_and_what_computes_are_left_alone() -> None:
    model = _model("Relu", "Erf", {})
    keep_quantized(model)
    assert len(model.graph) == 4
    model = _model("MaxPool", "Erf", {}, kernel_shape=[2, 2])
    keep_quantized(model)
    keep_quantized(model)
    assert len(model.graph) == 6
