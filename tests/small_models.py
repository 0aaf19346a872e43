"""ONNX models of one layer, for what measures many of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, save

__all__ = ["kernel"]


def kernel(path: Path, width: int, domain: str = "") -> Path:
    """y = x · W, width × width."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, (width, width), np.ones(width * width, np.float32))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, width)) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "w"], ["y"], domain=domain)
    graph = helper.make_graph([node], "kernel", values[:1], values[1:], [weight])
    imports = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path
