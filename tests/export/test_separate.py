"""Int8 constants that several nodes share, for a runtime that makes each unsigned once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from compressor.export.separate import separated
from compressor.export.session import EXACT_INTEGERS


def shared(path: Path, *, twice: bool) -> onnx.ModelProto:
    """Two products of one int8 weight, unpacked once for both or `twice`, with one vector of zero points."""
    w = np.arange(-18, 18, dtype=np.int8).reshape(6, 6)
    stored = {"w": w, "s": np.full(6, 0.1, np.float32), "z": np.zeros(6, np.int8), "xs": np.float32(0.05),
              "xz": np.uint8(128)}  # fmt: skip
    ends = ("a", "b") if twice else ("a",)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["d"]),
        *(helper.make_node("DequantizeLinear", ["w", "s", "z"], [f"w{end}"], axis=1) for end in ends),
        helper.make_node("MatMul", ["d", "wa"], ["y"]),
        helper.make_node("Relu", ["d"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "xs", "xz"], ["rq"]),
        helper.make_node("DequantizeLinear", ["rq", "xs", "xz"], ["rd"]),
        helper.make_node("MatMul", ["rd", f"w{ends[-1]}"], ["v"]),
    ]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3, 6]) for name in ("x", "y", "v")]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "shared", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, path)
    return model


@pytest.mark.parametrize("twice", [False, True])
def test_each_is_read_once_and_the_numbers_are_the_same(tmp_path: Path, twice: bool) -> None:
    shared(path := tmp_path / "model.onnx", twice=twice)
    content = separated(path)
    assert content is not None
    made = onnx.load_from_string(content)
    onnx.checker.check_model(made)
    int8 = [each.name for each in made.graph.initializer if each.data_type == onnx.TensorProto.INT8]
    assert all(sum(name in node.input for node in made.graph.node) == 1 for name in int8)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*next(iter(EXACT_INTEGERS.items())))
    x = {"x": np.linspace(-6, 6, 18, dtype=np.float32).reshape(3, 6)}
    found = onnxruntime.InferenceSession(content, options).run(None, x)
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = onnxruntime.InferenceSession(str(path), plain).run(None, x)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_what_needs_no_copies_is_left(tmp_path: Path) -> None:
    model = shared(path := tmp_path / "model.onnx", twice=False)
    del model.graph.node[4:]
    del model.graph.output[1:]
    onnx.save(model, path)
    assert separated(path) is None
    assert separated(path.rename(tmp_path / "model.ort")) is None
