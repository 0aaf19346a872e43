"""Where a compiled library is tried before it is written: on this processor, on an emulated one, or nowhere.

The library of a board of this machine's kind runs here, on all that is judged. An emulated core runs a few samples,
and what is judged is the program that the library agrees with. What runs nowhere is written, and said to be untried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compressor.devices.tvm_emulated import SET_UP, emulated_runner, lacking
from compressor.export.session import Runner
from compressor.export.tvm_boards import compiler_of, lacking_here
from compressor.export.tvm_cuda import SOURCE
from compressor.export.tvm_linking import BUILD, cross_compilers
from compressor.export.tvm_session import tvm_runner
from compressor.graph.program import Program
from compressor.targets import Target
from compressor.targets.target import Compiler

__all__ = ["FEW", "HERE", "Trial", "bundled_library", "told_compiler", "trial_of"]

HERE = "on this machine"
FEW = 4  # samples on an emulated core


@dataclass(frozen=True)
class Trial:
    """`run` is None where nothing runs it; `where` says where it ran, or "not run: " and why, with what would help."""

    where: str
    run: Runner | None = None

    @property
    def is_here(self) -> bool:
        return self.where == HERE


def trial_of(program: Program, target: Target, files: Sequence[Path]) -> Trial:
    """How to run what `to_tvm` wrote. Nothing is run yet."""
    path, compiler = files[0], compiler_of(target)
    if path.suffix != ".so":
        missing = cross_compilers(compiler.triple)
        return Trial(f"not run: nothing here links for {target.name} ({missing}); sh {BUILD} links it there")
    inputs, outputs = ([spec.name for spec in specs] for specs in (program.inputs, program.outputs))
    found = _trial(path, inputs, outputs, compiler)
    if any(file.name == SOURCE for file in files):
        there = "the board compiles its kernels when it loads them (pip install apache-tvm cuda-bindings, there)"
        return replace(found, where=f"{found.where}; {there}")
    return found


def bundled_library(
    path: Path, manifest: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str]
) -> Runner | str:
    """What runs the library of a bundle, or why nothing does, as `verify_bundle` asks."""
    compiler = told_compiler(manifest.get("library"))
    if compiler is None:
        return tvm_runner(path, inputs, outputs)
    trial = _trial(path, inputs, outputs, compiler)
    return trial.where if trial.run is None else trial.run


def told_compiler(told: object) -> Compiler | None:
    """What a manifest says that machine code was compiled for; None where it does not say so.

    A host's features count: LLVM names a virtual machine's processor by its model, whose instructions may be hidden.
    """
    if not isinstance(told, dict):
        return None
    words = [told.get(key, "") for key in ("triple", "processor", "emulated", "cuda")]
    features = told.get("features", [])
    if not isinstance(features, list) or not all(isinstance(word, str) for word in (*words, *features)):
        return None
    triple, cpu, emulated, cuda = words
    return Compiler(triple, cpu, (), "manifest.json", features=tuple(features), cuda=cuda, emulated=emulated)


def _trial(path: Path, inputs: Sequence[str], outputs: Sequence[str], compiler: Compiler) -> Trial:
    if compiler.cuda:
        return Trial(f"not run: its kernels are for GPUs of {compiler.cuda}")
    if not (reason := lacking_here(compiler)):
        return Trial(HERE, tvm_runner(path, inputs, outputs))
    if not compiler.emulated:
        return Trial(f"not run: {reason}")
    if missing := lacking(compiler.emulated):
        return Trial(f"not run: {reason}, and {missing} ({SET_UP})")
    bionic = ", with glibc in bionic's place" if "-android" in compiler.triple else ""
    return Trial(f"emulated as {compiler.emulated}{bionic}", emulated_runner(path, inputs, outputs, compiler.emulated))
