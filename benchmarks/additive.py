"""ProxylessNAS's latency table: is a network as slow as its fused operators, each timed alone, together?

    E[lat] = Σ_ops T(op, shape)          (Cai et al., 2019; one operator is chosen in each place here)

    python benchmarks/latency_prepare.py FOLDER
    python benchmarks/additive.py FOLDER

Operators are the nodes of the graph that the runtime really runs, fused and laid out; each is timed alone on the values
that it gets in the network, less what an empty run takes. Goal: within 15% of the whole, Spearman 0.95, and a better
order than the multiply–accumulates give.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from prepared import prepared

from compressor.devices.latency.subject import Subject, read
from compressor.devices.model_timing import Job, Timing, time_models

RESULTS = Path(__file__).resolve().parent / "results" / "additive.json"
FAMILIES = ("resnet", "mobilenet-v2", "squeezenet", "efficientnet", "gpt", "vit")
EACH = 5
GOAL, SPEARMAN = 0.15, 0.95


@dataclass(frozen=True)
class Part:
    """One node alone: the same work wherever `key` is the same."""

    key: str
    model: Path
    inputs: Path


def parts(subject: Subject, folder: Path) -> Iterator[Part]:
    """Every node of the optimized graph that depends on an input, as a model of its own."""
    graph, feed = _optimized(subject, folder)
    values = {**feed, **_values(graph, feed)}
    stored = {each.name: each for each in graph.graph.initializer}
    for node in graph.graph.node:
        given = {name: values[name] for name in dict.fromkeys(node.input) if name and name not in stored}
        weights = [stored[name] for name in dict.fromkeys(node.input) if name in stored]
        if given:
            yield _part(node, given, weights, graph, folder)


def _optimized(subject: Subject, folder: Path) -> tuple[Any, dict[str, Any]]:
    path = folder / "optimized.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(path), 4
    onnxruntime.InferenceSession(subject.model, options)
    with np.load(subject.inputs) as arrays:
        return onnx.load(path), dict(arrays)


def _values(model: Any, feed: Mapping[str, Any]) -> dict[str, Any]:
    """What every node computes."""
    told = onnx.ModelProto()
    told.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    del told.graph.output[:]
    told.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(told.SerializeToString(), options)
    return dict(zip(names, session.run(names, dict(feed)), strict=True))


def _part(node: Any, given: Mapping[str, Any], weights: Sequence[Any], model: Any, folder: Path) -> Part:
    shapes = [(str(array.dtype), array.shape) for array in given.values()]
    stored = [(each.data_type, tuple(each.dims)) for each in weights]
    attributes = sorted(each.SerializeToString().hex() for each in node.attribute)
    text = json.dumps([node.domain, node.op_type, attributes, shapes, stored], default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:24]
    path, inputs = folder / f"{key}.onnx", folder / f"{key}.npz"
    if not path.exists():
        kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in given.items()}
        graph = helper.make_graph(
            [node], "part", [helper.make_tensor_value_info(name, kinds[name], given[name].shape) for name in given],
            [helper.make_empty_tensor_value_info(name) for name in node.output if name], weights,
        )  # fmt: skip
        alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        onnx.save(alone, path)
        np.savez(inputs, **dict(given))
    return Part(key, path, inputs)


def empty(folder: Path) -> Job:
    """A run that does nothing: what each part's time has too much."""
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1,))
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "empty", [value], [helper.make_tensor_value_info("y", 1, (1,))])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "empty.onnx"
    )
    return Job(folder / "empty.onnx", {"x": {"shape": [1], "dtype": "float32", "low": -1, "high": 1}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path)
    options = parser.parse_args()
    from compressor.devices.opening import open_device

    names = chosen(prepared(options.models, parser, "*-plain.json"))
    subjects = [read(options.models, name) for name in names]
    with tempfile.TemporaryDirectory() as place, open_device("local") as device:
        folder = Path(place)
        made = {subject.name: list(parts(subject, folder)) for subject in subjects}
        unique = {part.key: part for listed in made.values() for part in listed}
        jobs = {key: Job(part.model, _feeds(part.inputs)) for key, part in unique.items()}
        jobs |= {subject.name: Job(subject.model, subject.feeds()) for subject in subjects} | {"": empty(folder)}
        timed = time_models(device, list(jobs.values()), Timing(runs=20, seconds=0.1, warmup=0.03, batch=64))
    times = {key: each.median_ms for key, each in zip(jobs, timed, strict=True)}
    rows = [row(subject, made[subject.name], times) for subject in subjects]
    found = judged(rows)
    RESULTS.write_text(json.dumps({**found, "operators": len(unique), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({**found, "operators": len(unique)}, indent=1))


def chosen(known: Sequence[str]) -> list[str]:
    """Some of each family that is there."""
    return [name for family in FAMILIES for name in [n for n in known if n.rsplit("-", 2)[0] == family][:EACH]]


def row(subject: Subject, listed: Sequence[Part], times: Mapping[str, float]) -> dict[str, Any]:
    table = sum(max(0.0, times[part.key] - times[""]) for part in listed) + times[""]
    macs = sum(call.macs for call in subject.calls)
    return {"name": subject.name, "whole_ms": times[subject.name], "sum_ms": table, "macs": macs, "nodes": len(listed)}


def judged(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    from scipy.stats import spearmanr

    whole = [each["whole_ms"] for each in rows]
    errors = [abs(each["sum_ms"] / each["whole_ms"] - 1) for each in rows]
    order = float(spearmanr([each["sum_ms"] for each in rows], whole).statistic)
    by_macs = float(spearmanr([each["macs"] for each in rows], whole).statistic)
    met = {"15% on average": mean(errors) <= GOAL, "spearman": order >= SPEARMAN, "beats MACs": order > by_macs}
    return {
        "models": len(rows), "mape": mean(errors), "median": median(errors), "worst": max(errors),
        "spearman": order, "spearman_macs": by_macs,
        "met": met,
    }  # fmt: skip


def _feeds(npz: Path) -> dict[str, dict[str, Any]]:
    with np.load(npz) as arrays:
        return {name: {"npz": npz} for name in arrays.files}


if __name__ == "__main__":
    main()
