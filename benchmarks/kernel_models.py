"""ONNX models that `kernel_contestants.py` runs: some products of one input, by ONNX Runtime's operators or our own."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["BLOCK", "empty_model", "operators_model", "products_model"]

BLOCK = 128  # weights that share a scale


def products_model(kind: str, case: Any, copies: int) -> bytes:
    """`copies` products of one input."""
    from onnx import TensorProto, helper

    rng, nodes, stored = np.random.default_rng(1), [], []

    def constant(name: str, array: np.ndarray) -> str:
        stored.append(
            helper.make_tensor(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.tobytes(), raw=True
            )
        )
        return name

    shared = constant("s", rng.random(case.outputs, dtype=np.float32)) if kind == "int8" else ""
    zeros = constant("z", np.zeros(case.outputs, np.int8)) if kind == "int8" else ""
    if kind == "int8":
        nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]))
        nodes.append(helper.make_node("Mul", ["qs", shared], ["both"]))
    for index in range(copies):
        y = f"y{index}"
        if kind == "fp32":
            w = constant(f"w{index}", rng.random((case.inputs, case.outputs), dtype=np.float32))
            nodes.append(helper.make_node("MatMul", ["x", w], [y]))
        elif kind == "int8":
            w = constant(f"w{index}", rng.integers(-127, 128, (case.inputs, case.outputs), dtype=np.int8))
            nodes.append(helper.make_node("MatMulInteger", ["q", w, "qz", zeros], [f"i{index}"]))
            nodes.append(helper.make_node("Cast", [f"i{index}"], [f"f{index}"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [f"f{index}", "both"], [y]))
        else:
            bits, blocks = int(kind), case.inputs // BLOCK
            w = constant(f"w{index}", rng.integers(0, 256, (case.outputs, blocks, BLOCK * bits // 8), dtype=np.uint8))
            s = constant(f"s{index}", rng.random((case.outputs, blocks), dtype=np.float32))
            options = {"K": case.inputs, "N": case.outputs, "bits": bits, "block_size": BLOCK, "accuracy_level": 4}
            nodes.append(helper.make_node("MatMulNBits", ["x", w, s], [y], domain="com.microsoft", **options))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [case.rows, case.inputs])
    ys = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [case.rows, case.outputs]) for i in range(copies)]
    return _proto(helper.make_graph(nodes, "products", [x], ys, stored))


def operators_model(packed: Any, case: Any, copies: int) -> bytes:
    """`copies` products of one input by operators of our own."""
    from onnx import TensorProto, helper

    from compressor.export.custom_op.nodes import ATTRIBUTES, DOMAIN, LINEAR
    from compressor.export.custom_op.ops import numbers_of

    nodes, stored, ys = [], [], []
    attributes = dict(zip(ATTRIBUTES, numbers_of(packed.layout), strict=True))
    for index in range(copies):
        for name, tensor, kind in (("w", packed.codes, TensorProto.UINT8), ("s", packed.scales, TensorProto.FLOAT)):
            array = tensor.numpy()
            stored.append(helper.make_tensor(f"{name}{index}", kind, array.shape, array.tobytes(), raw=True))
        given = ["x", f"w{index}", f"s{index}"]
        nodes.append(helper.make_node(LINEAR, given, [f"y{index}"], domain=DOMAIN, **attributes))
        ys.append(helper.make_tensor_value_info(f"y{index}", TensorProto.FLOAT, [case.rows, case.outputs]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [case.rows, case.inputs])
    return _proto(helper.make_graph(nodes, "products", [x], ys, stored))


def empty_model(case: Any) -> bytes:
    """A node of nothing."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [case.rows, case.inputs]) for name in "xy")
    return _proto(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "empty", [x], [y]))


def _proto(graph: Any) -> bytes:
    from onnx import helper

    opsets = [helper.make_opsetid(*each) for each in (("", 21), ("com.microsoft", 1), ("compressor", 1))]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
