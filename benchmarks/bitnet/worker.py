"""A process that holds one decoder alone: told a number of seconds, it runs steps that long and tells each one's time.

    python worker.py MODEL THREADS

Lines of JSON out: first what memory it takes, then a list of seconds for every line in. The key–value cache is one
buffer that a step reads and writes, as generation has it; each step is the one after 128 tokens.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

__all__ = ["memory", "opened"]

PAST = 128


def memory() -> dict[str, int]:
    """Bytes resident in this process: all, not backed by a file, and the most there were."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "RssAnon", "VmHWM")}


def opened(model: str, threads: int) -> tuple[Any, Any]:
    """The session, and its inputs and outputs bound; each cache's output is the memory of its input."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    given = {
        "ids": np.full((1, 1), 7, np.int64),
        "past": np.array([PAST], np.int32),
        "total": np.array([PAST + 1], np.int32),
    }
    for value in session.get_inputs():
        array = given.get(value.name)
        if array is None:
            array = np.random.default_rng(0).standard_normal(value.shape, dtype=np.float32)
        bound = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        binding.bind_ortvalue_input(value.name, bound)
        if value.name not in given:
            binding.bind_ortvalue_output(value.name.replace("past", "present"), bound)
    scores = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(session.get_outputs()[0].shape, np.float32))
    binding.bind_ortvalue_output(session.get_outputs()[0].name, scores)
    return session, binding


def main() -> None:
    before = memory()
    start = time.perf_counter()
    session, binding = opened(sys.argv[1], int(sys.argv[2]))
    loaded = time.perf_counter() - start
    session.run_with_iobinding(binding)
    scores = binding.get_outputs()[0].numpy()
    after = memory()
    grown = {f"{name}_grown": after[name] - before[name] for name in after}
    finite = bool(np.isfinite(scores).all() and scores.std() > 0)
    print(json.dumps({**after, **grown, "load_s": loaded, "finite": finite}), flush=True)
    for line in sys.stdin:
        times, end = [], time.perf_counter() + float(line)
        while not times or time.perf_counter() < end:
            began = time.perf_counter()
            session.run_with_iobinding(binding)
            times.append(time.perf_counter() - began)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
