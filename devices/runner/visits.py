"""Times models one after another, each between runs of a reference, and node by node with the runtime's profiler.

    visit:  load ─ warm up ─ [reference | a block of runs] × blocks ─ reference ─ (load with the profiler ─ runs)

A machine that others use has states that last for seconds: the reference, timed right before and after each block,
with as many threads, tells which one a block fell into. Models are loaded anew at each visit, so that where their
memory lies is drawn anew too. The profiler adds to each node's time: the blocks are timed without it.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
import time
from collections.abc import Mapping
from statistics import median
from typing import Any, Callable

from .model import JobError, Model

__all__ = ["visits"]

Emit = Callable[..., None]
_SUFFIX = "_kernel_time"
_REFERENCE_RUNS = 2
_WARM_RUNS = 3
_LEAST_RUNS = 6  # with the profiler


def visits(jobs: Mapping[str, Any], document: Mapping[str, Any], folder: str, emit: Emit) -> None:
    """Every visit of `document["visits"]`: {"id", "job", "nodes": bool, "graph": bool}."""
    blocks, seconds = int(document.get("blocks", 8)), float(document.get("block_seconds", 0.03))
    references: dict[int, Model] = {}  # with as many threads as what it stands beside
    for visit in document["visits"]:
        job, start = jobs[visit["job"]], time.perf_counter()
        try:
            threads = int(job.get("threads", 0))
            if threads not in references:
                references[threads] = _warm(Model(dict(document["reference"], threads=threads), folder))
            times = _blocks(_warm(Model(job, folder)), references[threads], blocks, seconds)
            nodes = _nodes(job, folder, blocks * seconds, bool(visit.get("graph"))) if visit.get("nodes") else {}
        except JobError as error:
            emit("failed", id=visit["id"], job=visit["job"], kind=error.kind, reason=error.reason)
        else:
            seconds_spent = time.perf_counter() - start
            emit("visit", id=visit["id"], job=visit["job"], seconds=seconds_spent, blocks=times, **nodes)


def _warm(model: Model) -> Model:
    for _ in range(_WARM_RUNS):
        model.first()
    return model


def _blocks(model: Model, reference: Model, count: int, seconds: float) -> list[list[float]]:
    """[median of the runs, reference before, reference after] of each block, in milliseconds."""
    found, before = [], _reference(reference)
    for _ in range(count):
        times: list[float] = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            model.run()
            times.append(time.perf_counter() - start)
        after = _reference(reference)
        found.append([median(times) * 1e3, before, after])
        before = after
    return found


def _reference(model: Model) -> float:
    """The shortest of a few runs: the first finds the caches full of another model's data."""
    times = []
    for _ in range(_REFERENCE_RUNS):
        start = time.perf_counter()
        model.run()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def _nodes(job: Mapping[str, Any], folder: str, seconds: float, graph: bool) -> dict[str, Any]:
    """Median microseconds of each node of the optimized graph; that graph, without weights, where it is asked for."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        optimized = os.path.join(own, "optimized.onnx") if graph else ""
        model = Model(job, folder, profile=os.path.join(own, "profile"), optimized=optimized)
        end, runs = time.perf_counter() + seconds, 0
        while runs < _WARM_RUNS + _LEAST_RUNS or time.perf_counter() < end:
            model.first()
            runs += 1
        with open(model.session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
        found: dict[str, Any] = {"nodes": _medians(events)}
        if graph:
            with open(optimized, "rb") as file:
                found["graph"] = base64.b64encode(file.read()).decode("ascii")
        return found


def _medians(events: Any) -> dict[str, float]:
    """By node; the first runs are left out."""
    times: dict[str, list[float]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            times.setdefault(name[: -len(_SUFFIX)], []).append(float(event["dur"]))
    return {name: median(each[_WARM_RUNS:] or each) for name, each in times.items()}
