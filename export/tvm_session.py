"""A library that `export/tvm.py` has made, in TVM's virtual machine on this machine's processor.

Loading it runs code that is in it: only what was made here, or what the user trusts, is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.errors import CompressError, ExportError
from compressor.export.session import Runner
from compressor.export.tvm_runtime import loaded_tvm
from compressor.graph.kv_cache import is_member

__all__ = ["TVMSession", "tvm_runner"]

_ALL_BIG = 1  # runtime.config_threadpool: the fastest cores


class TVMSession:
    """A loaded network. `growing`: its sizes change from run to run, as a cache's do, and memory of each is given back:
    TVM's pool would keep all of it for another run of the very same sizes.

    Raises ExportError where TVM is not installed, or does not load it.
    """

    def __init__(self, path: Path, threads: int | None = None, *, growing: bool = False) -> None:
        self._name = path.name
        try:
            tvm = loaded_tvm()
            from tvm import relax

            if threads is not None:
                tvm.get_global_func("runtime.config_threadpool")(_ALL_BIG, threads)
            memory = "naive" if growing else "pooled"
            machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu(), memory_cfg=memory)
        except Exception as error:  # TVM raises types of its own, all from Exception
            raise _failure("TVM cannot load it", error, path) from error
        self._tensor: Callable[[Any], Any] = tvm.runtime.tensor
        self._main: Callable[..., Any] = machine["main"]

    def prepared(self, inputs: Sequence[Tensor]) -> Callable[[], Any]:
        """One run with these inputs, in order, as a function to call many times."""
        given = [self._tensor(tensor.detach().cpu().contiguous().numpy()) for tensor in inputs]
        return lambda: self._main(*given)

    def call(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs in order, as TVM's tensors, of inputs that are arrays or such tensors."""
        return list(self._main(*[self._tensor(x) if isinstance(x, np.ndarray) else x for x in inputs]))

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs in order. Raises ExportError when the run fails."""
        try:
            return [torch.from_numpy(np.array(value.numpy())) for value in self.prepared(inputs)()]
        except Exception as error:  # as above
            raise _failure("it fails in TVM", error, Path(self._name)) from error


def tvm_runner(path: Path, inputs: Sequence[str], outputs: Sequence[str], threads: int | None = None) -> Runner:
    """The library as a function from a batch to its outputs; the names are in the order of the network's own.

    Raises what `TVMSession` does, and ExportError when a run fails or has another number of outputs.
    """
    session = TVMSession(path, threads, growing=any(is_member(name) for name in inputs))

    def run(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        results = session.run([batch[name] for name in inputs])
        if len(results) != len(outputs):
            raise ExportError(f"it has {len(results)} outputs, not {len(outputs)}", where=path.name)
        return dict(zip(outputs, results, strict=True))

    return run


def _failure(what: str, error: Exception, path: Path) -> CompressError:
    lines = str(error).replace(str(path), path.name).strip().splitlines()
    way_out = 'pip install "edge-compressor[tvm]"' if isinstance(error, ImportError) else ""
    return ExportError(f"{what}: {lines[0] if lines else type(error).__name__}", where=path.name, way_out=way_out)
