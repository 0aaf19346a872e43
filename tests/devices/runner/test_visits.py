"""Visits: blocks between runs of the reference, nodes of the optimized graph, and failures that stop nobody."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, save

from compressor.devices.runner.visits import visits

INPUT = {"x": {"shape": [1, 8], "dtype": "float32", "low": -1, "high": 1}}


def model(path: Path) -> None:
    """relu(x · W)"""
    weight = helper.make_tensor("w", TensorProto.FLOAT, (8, 8), np.ones(64, np.float32))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 8)) for name in ("x", "y")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"], name="m"), helper.make_node("Relu", ["m"], ["y"], name="r")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [weight])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def run(folder: Path, *asked: dict[str, Any]) -> list[dict[str, Any]]:
    model(folder / "a.onnx")
    job = {"model": "a.onnx", "inputs": INPUT, "threads": 1}
    jobs = {"a": job, "gone": {**job, "model": "gone.onnx"}}
    events: list[dict[str, Any]] = []
    document = {"reference": job, "visits": asked, "blocks": 3, "block_seconds": 0.0}
    visits(jobs, document, str(folder), lambda event, **fields: events.append({"event": event, **fields}))
    return events


def test_a_visit_has_its_blocks_between_references(tmp_path: Path) -> None:
    (event,) = run(tmp_path, {"id": "a#0", "job": "a"})
    assert event["event"] == "visit"
    assert (event["id"], event["job"]) == ("a#0", "a")
    assert [len(block) for block in event["blocks"]] == [3, 3, 3]
    assert event["blocks"][0][2] == event["blocks"][1][1], "the reference after one block is the one before the next"
    assert min(min(block) for block in event["blocks"]) > 0
    assert "nodes" not in event


def test_nodes_and_the_graph_that_they_are_of(tmp_path: Path) -> None:
    with_graph, without = run(
        tmp_path, {"id": "0", "job": "a", "nodes": True, "graph": True}, {"id": "1", "job": "a", "nodes": True}
    )
    graph = onnx.load_model_from_string(base64.b64decode(with_graph["graph"]))
    assert set(with_graph["nodes"]) == {node.name for node in graph.graph.node}
    assert set(without["nodes"]) == set(with_graph["nodes"])
    assert "graph" not in without
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"], "nothing is left behind"


def test_a_model_that_fails_is_told_and_the_next_one_timed(tmp_path: Path) -> None:
    failed, fine = run(tmp_path, {"id": "0", "job": "gone"}, {"id": "1", "job": "a"})
    assert failed["event"] == "failed"
    assert (failed["job"], failed["kind"]) == ("gone", "load")
    assert fine["event"] == "visit"
