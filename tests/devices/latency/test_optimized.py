"""Which call each node of the runtime's graph does."""

from __future__ import annotations

import base64
from pathlib import Path

import onnxruntime
from lowered_networks import small

from compressor.devices.latency.optimized import node_owners


def test_fused_nodes_are_known_by_type_and_call(tmp_path: Path) -> None:
    subject = small(tmp_path, width=16)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(subject.model, options)
    graph = base64.b64encode((tmp_path / "optimized.onnx").read_bytes()).decode()
    found = node_owners(subject, graph)
    calls = {call.name: call for call in subject.calls}
    kinds = {type_: calls[call].kind for type_, call in found.values() if call}
    assert kinds["Gemm"] == "linear"
    assert any("Conv" in type_ for type_ in kinds)
