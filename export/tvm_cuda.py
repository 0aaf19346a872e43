"""Kernels for NVIDIA's GPUs: as a cubin where nvcc is here, else as CUDA source, which the board compiles.

    relax ─ TVM's default schedules for GPUs ─ CUDA source ─ nvcc -cubin -arch=sm_87 ─▶ the library

TVM compiles the source when a library is loaded, unless it finds compiled kernels there. Where no GPU's driver is
installed it stores the source alone, as [format][functions][code], each text behind its length in 8 bytes
(CUDAModuleNode::SaveToBytes). The cubin takes the source's place in the object, which is made long enough for it.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compressor.errors import ExportError
from compressor.export.tvm_boards import llvm_of
from compressor.targets.target import Compiler

__all__ = ["SOURCE", "Kernels", "cuda_of", "kernels_of"]

SOURCE = "model.cu"
_POSTPROCESS = "tvm_callback_cuda_postproc"  # what TVM hands its source to
_LIMITS = {"max_threads_per_block": 1024, "max_shared_memory_per_block": 49152, "thread_warp_size": 32}
_TEXT, _BINARY = b"cuda", b"cubin"


def cuda_of(compiler: Compiler) -> dict[str, Any]:
    """TVM's description of the GPU, with the processor that it sits beside."""
    return {"kind": "cuda", "arch": compiler.cuda, **_LIMITS, "host": llvm_of(compiler)}


class Kernels:
    """The CUDA sources that one compilation made, padded, and their cubins; none where nvcc does not make them."""

    def __init__(self, arch: str) -> None:
        self.arch = arch
        self.sources: list[str] = []
        self.binaries: dict[str, bytes] = {}

    def take(self, source: str) -> str:
        """The source as it is stored: long enough for its cubin."""
        binary = _compiled(source, self.arch)
        if binary is not None:
            source += "\n//" + " " * max(0, len(binary) + 8 - len(source.encode()))
            self.binaries[source] = binary
        self.sources.append(source)
        return source

    def finish(self, objects: Sequence[Path], path: Path) -> tuple[Path, ...]:
        """Put the cubins into the objects; where there are none, write the source beside `path`: the files written.

        Raises ExportError where an object does not hold a source as it was given.
        """
        if len(self.binaries) < len(self.sources):
            beside = path.with_name(SOURCE)
            beside.write_text("\n".join(self.sources), encoding="utf-8")
            return (beside,)
        for source, binary in self.binaries.items():
            if not any(_replace(file, source.encode(), binary) for file in objects):
                raise ExportError("TVM stores CUDA's kernels otherwise than this version knows", where=path.name)
        return ()


@contextlib.contextmanager
def kernels_of(compiler: Compiler) -> Iterator[Kernels]:
    """What is compiled within for a GPU goes through nvcc, where it is here."""
    found = Kernels(compiler.cuda)
    if not compiler.cuda:
        yield found
        return
    import tvm_ffi

    tvm_ffi.register_global_func(_POSTPROCESS, lambda source, target: found.take(str(source)), override=True)
    try:
        yield found
    finally:
        tvm_ffi.register_global_func(_POSTPROCESS, lambda source, target: source, override=True)


def _compiled(source: str, arch: str) -> bytes | None:
    """The cubin; None without nvcc, or where it does not know the GPU (CUDA 13 has left sm_72 out)."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        text, made = Path(folder) / "kernels.cu", Path(folder) / "kernels.cubin"
        text.write_text(source, encoding="utf-8")
        command = [nvcc, "-cubin", "-w", "-O3", f"-arch={arch}", "-o", str(made), str(text)]
        done = subprocess.run(command, capture_output=True, check=False)
        return made.read_bytes() if done.returncode == 0 else None


def _replace(file: Path, source: bytes, binary: bytes) -> bool:
    """[cuda][functions][source] becomes [cubin][functions][binary] in an object, in the same bytes; what is left over
    behind it nobody reads. False where the object does not hold the source."""
    data = bytearray(file.read_bytes())
    code, kind = data.find(_counted(source)), _counted(_TEXT)
    start = data.rfind(kind, 0, code) if code >= 0 else -1
    if start < 0:
        return False
    functions = bytes(data[start + len(kind) : code])
    made = _counted(_BINARY) + functions + _counted(binary)
    room = code + len(_counted(source)) - start
    if len(made) > room:
        return False
    data[start : start + room] = made + bytes(room - len(made))
    file.write_bytes(bytes(data))
    return True


def _counted(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text
