"""A network that TVM has compiled, run on the board in Python: NumPy and apache-tvm-ffi alone, no compiler.

    python3 compiled.py BUNDLE                  runs golden.npz and prints how far each output is from PyTorch's
    python3 compiled.py BUNDLE --save out.npz   writes the outputs instead

BUNDLE holds `model.so`, `golden.npz` and `manifest.json`, for the names in order. `libtvm_runtime.so` (of the wheel
apache-tvm, whose rest is not needed) lies in the bundle, beside this file, or in an installed apache-tvm.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Compiled", "lent", "main"]

RUNTIME = "libtvm_runtime.so"
_ELF, _MACHINE, _HEAD = b"\x7fELF", slice(18, 20), 20  # e_machine in the header of a program or a library
CPU, POOLED = 1, 2  # kDLCPU; AllocatorType::kPooled: memory is kept from run to run
ALIGNED = 64  # bytes: compiled code loads whole registers from where an array begins, and crashes elsewhere


class Compiled:
    """A loaded network. `runtime` is the path of TVM's runtime library."""

    def __init__(self, path: str, runtime: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        import tvm_ffi

        ctypes.CDLL(os.path.abspath(runtime), ctypes.RTLD_GLOBAL)  # a bare name would be searched for in the system's
        self._library: Any = tvm_ffi.load_module(_loadable(path))
        self._machine = self._library["vm_load_executable"]()
        self._machine["vm_initialization"](CPU, 0, POOLED)
        self._given, self._one = tvm_ffi.from_dlpack, tvm_ffi.Tensor
        self.inputs, self.outputs = inputs, outputs

    def __call__(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name."""
        held = [lent(np.asarray(arrays[name])) for name in self.inputs]
        made = self._machine["main"](*map(self._given, held))
        results = [made] if isinstance(made, self._one) else list(made)
        if len(results) != len(self.outputs):
            raise ValueError(f"it has {len(results)} outputs, not {len(self.outputs)}")
        return {name: np.array(np.from_dlpack(each)) for name, each in zip(self.outputs, results)}


def lent(array: Any) -> Any:
    """A copy that compiled code can take: row by row, not read-only, from a multiple of 64 bytes on.

    NumPy begins arrays at multiples of 16 bytes, and those without elements have no strides, which TVM looks at.
    """
    size = array.dtype.itemsize
    strides = [size * math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
    memory = np.empty(array.nbytes + ALIGNED, np.uint8)
    copy: Any = np.ndarray(array.shape, array.dtype, memory, -memory.ctypes.data % ALIGNED, strides)
    copy[...] = array
    return copy


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0 done, 2 wrongly called."""
    if len(arguments) not in (1, 3) or (len(arguments) == 3 and arguments[1] != "--save"):
        sys.stderr.write("usage: python3 compiled.py BUNDLE [--save FILE.npz]\n")
        return 2
    bundle = arguments[0]
    with open(os.path.join(bundle, "manifest.json")) as file:
        manifest = json.load(file)
    inputs, outputs = ([each["name"] for each in manifest[key]] for key in ("inputs", "outputs"))
    network = Compiled(os.path.join(bundle, "model.so"), _runtime(bundle), inputs, outputs)
    with np.load(os.path.join(bundle, "golden.npz")) as golden:
        found = network(golden)
        if len(arguments) == 3:
            np.savez(arguments[2], **found)
            return 0
        for name, output in found.items():
            wanted = golden[name].astype(np.float64)
            error = np.linalg.norm(output.astype(np.float64) - wanted) / (np.linalg.norm(wanted) or 1.0)
            sys.stdout.write(f"{name}: relative error {error:.1e}\n")
    return 0


def _runtime(bundle: str) -> str:
    found = importlib.util.find_spec("tvm")
    installed = [os.path.join(place, "lib") for place in (found.submodule_search_locations or ())] if found else []
    for folder in (bundle, os.path.dirname(os.path.abspath(__file__)), *installed, *sys.path):
        if os.path.isfile(os.path.join(folder, RUNTIME)):
            return os.path.join(os.path.abspath(folder), RUNTIME)
    where = "copy it out of the wheel apache-tvm (tvm/lib) for this machine's processor"
    raise FileNotFoundError(f"{RUNTIME} lies neither in the bundle nor beside this file: {where}")


def _loadable(path: str) -> str:
    """Its whole path. The system's loader says of a file for another processor that there is no such file."""
    kind, here = _head(path), _head(sys.executable) if sys.executable else b""  # none where Python is embedded
    if kind[:4] == here[:4] == _ELF and kind[_MACHINE] != here[_MACHINE]:
        raise OSError(f"{path} is for another kind of processor than this machine's: manifest.json says for which")
    return os.path.abspath(path)


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEAD)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
