"""Measures models on this machine, with ONNX Runtime or, where they are libraries of TVM's, with that.
Libraries, also those of operators beside a model, are run: models are this machine's own.

Each model is warmed up, then timed in rounds, by the code that boards run (`runner/timing.py`). Thread pools spin while
a model runs, as in deployment, and are told to stop when it returns, so that they do not take processor time from the
model measured next.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from compressor.devices.runner.model import STOP_SPINNING
from compressor.devices.runner.timing import Subject, interleave
from compressor.export.onnx_reference import mapped
from compressor.export.session import LARGE, give_back_memory, operators_of, session
from compressor.export.tvm_session import TVMSession
from compressor.graph.contract import Batch
from compressor.graph.kv_cache import is_member

__all__ = ["Measurement", "compare", "load_ms", "measure"]


@dataclass(frozen=True)
class Measurement:
    """Latencies in milliseconds of one model. `load_ms` is until it is ready, `first_ms` its first run.

    `peak_memory_bytes` is None where it was not measured. `rounds` are the medians of each turn in `compare`.
    """

    load_ms: float
    first_ms: float
    p50: float
    p90: float
    p99: float
    min: float
    runs: int
    threads: int
    runtime: str
    peak_memory_bytes: int | None = None
    rounds: tuple[float, ...] = field(default=(), compare=False, repr=False)

    def detail(self) -> dict[str, float]:
        """The figures as the report shows them."""
        return {
            "p50": self.p50, "p90": self.p90, "p99": self.p99, "min": self.min, "first": self.first_ms,
            "runs": self.runs, "threads": self.threads,
        }  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "rounds"}


def measure(model_path: Path, batch: Batch, *, threads: int, **limits: float) -> Measurement:
    """Measure one model; limits as in `compare`."""
    return compare({"model": model_path}, batch, threads=threads, **limits)["model"]


def compare(
    paths: Mapping[str, Path],
    batch: Batch,
    *,
    threads: int,
    min_seconds: float = 1.0,
    min_runs: float = 50,
    warmup_seconds: float = 0.5,
    max_seconds: float = 20.0,
) -> dict[str, Measurement]:
    """Measure several models on one batch (its inputs in the networks' order), interleaved.

    `max_seconds` bounds the whole of it, warm-up included: a model that is slow gets fewer runs, one at least.

    Raises ExportError or UnsupportedError when a model does not run.
    """
    deadline = time.perf_counter() + max_seconds
    with contextlib.ExitStack() as stack:
        models = {name: _Model(path, batch, threads, stack) for name, path in paths.items()}
        for model in models.values():
            model.subject.warm_up(min(warmup_seconds, (deadline - time.perf_counter()) / (2 * len(models))))
        subjects = {name: model.subject for name, model in models.items()}
        for times in interleave(subjects, min_runs=min_runs, min_seconds=min_seconds, deadline=deadline):
            for name, block in times.items():
                models[name].take(block)
        for model in models.values():
            model.close()
    give_back_memory()
    return {name: model.measurement() for name, model in models.items()}


def load_ms(model_path: Path, *, threads: int | None = None) -> float:
    """Milliseconds until a model is ready to run, its optimization and packing of weights included."""
    start = time.perf_counter()
    loaded: Any = _compiled(model_path, threads)
    if loaded is None:
        small = model_path.stat().st_size <= LARGE
        loaded = session(model_path, threads, arena=small, operators=operators_of(model_path))
    seconds = time.perf_counter() - start
    del loaded
    give_back_memory()
    return seconds * 1e3


@dataclass
class _Model:
    """A loaded model and its times in seconds.

    A large file's load is timed by itself, and the weights are mapped for the runs: several models are loaded at a
    time, and each would hold the file's content besides the packed weights that it works with.
    """

    path: Path
    batch: Batch
    threads: int
    stack: contextlib.ExitStack
    times: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.load_ms = load_ms(self.path, threads=self.threads)
        self.subject = Subject(self._run())
        self.first = self.subject.once()

    def _run(self) -> Callable[[], object]:
        """One run of it, loaded again."""
        operators, growing = operators_of(self.path), any(map(is_member, self.batch))
        path, compiled = self.path, _compiled(self.path, self.threads, growing=growing)
        if compiled is not None:
            return compiled.prepared(list(self.batch.values()))
        if path.stat().st_size > LARGE:
            path = self.stack.enter_context(mapped(path))
        loaded = session(path, self.threads, config=STOP_SPINNING, operators=operators)
        feed = {value.name: self.batch[value.name].detach().cpu().contiguous().numpy() for value in loaded.get_inputs()}
        return lambda: loaded.run(None, feed)

    def take(self, block: list[float]) -> None:
        """The times of one turn."""
        self.times += block
        self.rounds.append(float(np.median(block)) * 1e3)

    def close(self) -> None:
        self.subject.run = lambda: None  # lets go of the session

    def measurement(self) -> Measurement:
        milliseconds = np.array(self.times) * 1e3
        p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, (50, 90, 99)))
        return Measurement(
            load_ms=self.load_ms, first_ms=self.first * 1e3, p50=p50, p90=p90, p99=p99,
            min=float(milliseconds.min()), runs=len(self.times), threads=self.threads, runtime=_runtime(self.path),
            rounds=tuple(self.rounds),
        )  # fmt: skip


def _compiled(path: Path, threads: int | None, *, growing: bool = False) -> TVMSession | None:
    return TVMSession(path, threads, growing=growing) if path.suffix == ".so" else None


def _runtime(path: Path) -> str:
    return f"tvm {metadata.version('apache-tvm')}" if path.suffix == ".so" else f"onnxruntime {onnxruntime.__version__}"
