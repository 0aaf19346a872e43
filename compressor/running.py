"""A bundle's model as a function of arrays by name, in the runtime that its artifact is for.

    model.onnx, model.onnx.pack   →   ONNX Runtime, with operators of its own (model_ops.so) where it has some
    model.so                      →   TVM

Machine code is run where it may be. A cache that TVM gives stays its own tensors, which go into the next run as they
are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compressor.errors import InputError
from compressor.export.session import OPERATORS, session
from compressor.export.tvm_session import TVMSession
from compressor.export.verify import PACKED, Contents, unpacked
from compressor.graph.kv_cache import PRESENT

__all__ = ["Run", "running"]

_MODEL, _LIBRARY = "model.onnx", "model.so"
Run = Callable[[Mapping[str, Any]], dict[str, Any]]


def running(contents: Contents, threads: int | None, *, trust: bool) -> tuple[str, Run]:
    """The runtime's name, and the model in it. Raises InputError for machine code that is not trusted, and what
    loading it raises."""
    for name in (OPERATORS, _LIBRARY):
        if name in contents.digests and not trust:
            raise InputError(
                f"{name} is machine code, which runs only where it is trusted", where=str(contents.path),
                way_out="Add --trust if you made the bundle, or trust who did.",
            )  # fmt: skip
    packed = PACKED in contents.digests
    if not packed and _MODEL not in contents.digests:
        return "TVM", _in_tvm(contents, threads)
    operators = contents.path / OPERATORS if OPERATORS in contents.digests else None
    with unpacked(contents.path / (PACKED if packed else _MODEL)) as model:
        loaded = session(model, threads, operators=operators)
    names = [output.name for output in loaded.get_outputs()]
    return "ONNX Runtime", lambda feed: dict(zip(names, loaded.run(names, dict(feed)), strict=True))


def _in_tvm(contents: Contents, threads: int | None) -> Run:
    loaded = TVMSession(contents.path / _LIBRARY, threads, growing=True)

    def run(feed: Mapping[str, Any]) -> dict[str, Any]:
        results = dict(zip(contents.outputs, loaded.call([feed[name] for name in contents.inputs]), strict=True))
        return {n: value if n.startswith(f"{PRESENT}.") else value.numpy() for n, value in results.items()}

    return run
