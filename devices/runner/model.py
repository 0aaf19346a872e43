"""A model in ONNX Runtime with what it is fed.

A run's thread pool spins while the model runs, as in deployment, and is told to stop when it returns, so that it takes
no processor time from the model that is timed next.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from .golden import output_error
from .inputs import arrays

__all__ = ["STOP_SPINNING", "JobError", "Model", "golden_errors"]

STOP_SPINNING = {"session.force_spinning_stop": "1"}
CPU = "CPUExecutionProvider"


class JobError(Exception):
    """A job that cannot be run. `kind`: "unsupported", "load", "run", "inputs" or "count"."""

    def __init__(self, kind: str, reason: object) -> None:
        lines = str(reason).strip().splitlines()
        self.kind, self.reason = kind, lines[0] if lines else type(reason).__name__
        super().__init__(self.reason)


class Model:
    """A session and its feed; `run` is what is timed, `load_seconds` how long the session took.

    `profile` is what the runtime's own profile is named after, `optimized` where it writes the graph that it really
    runs; both are off where they are empty. Raises JobError.
    """

    def __init__(self, job: Mapping[str, Any], folder: str, *, profile: str = "", optimized: str = "") -> None:
        start = time.perf_counter()
        config = dict(STOP_SPINNING, **job.get("config", {}))
        self.session = _session(job, folder, config, profile=profile, optimized=optimized)
        self.load_seconds = time.perf_counter() - start
        self.providers = list(self.session.get_providers())
        try:
            self.feed = arrays(job["inputs"], folder)
        except (KeyError, ValueError, OSError, TypeError, IndexError, MemoryError) as error:
            raise JobError("inputs", error) from error

    def run(self) -> Any:
        """One run. Raises what the runtime raises: a handler here would be timed as well."""
        return self.session.run(None, self.feed)

    def first(self) -> None:
        """A run whose failure is told as one."""
        try:
            self.run()
        except Exception as error:  # each status of the runtime is a class of its own, all from Exception
            raise JobError("run", error) from error


def golden_errors(job: Mapping[str, Any], folder: str, session: Any = None) -> dict[str, float]:
    """The error of each golden output, in `session` or one that is opened with the first of `configs` that loads.

    Raises JobError.
    """
    golden = job["golden"]
    session = session or _first_session(job, folder, golden.get("configs") or [{}])
    names = list(golden["outputs"])
    try:
        feed = arrays({name: {"npz": golden["npz"]} for name in golden["inputs"]}, folder)
        wanted = arrays({name: {"npz": golden["npz"]} for name in names}, folder)
    except (KeyError, ValueError, OSError) as error:
        raise JobError("inputs", error) from error
    try:
        outputs = session.run(names, feed)
    except Exception as error:  # as above
        raise JobError("run", error) from error
    ties = float(golden.get("ties", 0.0))
    return {name: output_error(output, wanted[name], ties) for name, output in zip(names, outputs)}


def _first_session(job: Mapping[str, Any], folder: str, configs: Iterable[Mapping[str, str]]) -> Any:
    """Some options keep some models from loading: the next configuration is tried then."""
    failure = JobError("load", "no configuration was given")
    for config in configs:
        try:
            return _session(job, folder, dict(config))
        except JobError as error:
            failure = error
    raise failure


def _weights_apart(optimized: str) -> dict[str, str]:
    """The weights of an optimized graph go into a file of their own: the graph is what is read."""
    key = "session.optimized_model_external_initializers"
    return {f"{key}_file_name": os.path.basename(optimized) + ".weights", f"{key}_min_size_in_bytes": "0"}


def _session(
    job: Mapping[str, Any], folder: str, config: dict[str, str], *, profile: str = "", optimized: str = ""
) -> Any:
    import onnxruntime

    path = os.path.join(folder, job["model"])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = int(job.get("threads", 0))
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    if optimized:
        options.optimized_model_filepath = optimized
        config = dict(config, **_weights_apart(optimized))
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    here = onnxruntime.get_available_providers()
    providers = [name for name in job.get("providers", ()) if name in here and name != CPU]
    gc.collect()
    try:
        if "operators" in job:
            options.register_custom_ops_library(os.path.join(folder, job["operators"]))
        return onnxruntime.InferenceSession(path, options, providers=[*providers, CPU])
    except Exception as error:  # as above
        kind = "unsupported" if type(error).__name__ == "NotImplemented" else "load"
        raise JobError(kind, str(error).replace(path, os.path.basename(path))) from error
