"""The graph that the runtime really runs, read for which call each of its nodes does."""

from __future__ import annotations

import base64

import onnx

from compressor.devices.latency.attribution import owners
from compressor.devices.latency.subject import Subject

__all__ = ["node_owners"]


def node_owners(subject: Subject, graph: str) -> dict[str, tuple[str, str]]:
    """(type, call) of each node by name; `graph` is the optimized model in base64, its weights elsewhere.

    A type is "domain.Type" with the domain's last part, none for ONNX's own.
    """
    optimized = onnx.load_model_from_string(base64.b64decode(graph))
    model = onnx.load(str(subject.model), load_external_data=False)
    calls = owners(model, optimized, subject.calls, subject.results)
    return {node.name: (_type(node), calls.get(node.name, "")) for node in optimized.graph.node}


def _type(node: onnx.NodeProto) -> str:
    domain = node.domain.rpartition(".")[2]
    return f"{domain}.{node.op_type}" if domain else str(node.op_type)
