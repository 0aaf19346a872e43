"""Where a model with operators of its own is tried, before it is written and when its bundle is verified.

As `trying.py` has it of libraries: on this processor, on an emulated one, or nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.devices.operators_emulated import emulated_model
from compressor.devices.tvm_emulated import SET_UP, lacking
from compressor.export.session import Runner, operators_of, runner
from compressor.export.tvm_boards import compiler_of, lacking_here
from compressor.targets import Target
from compressor.targets.target import Compiler
from compressor.trying import HERE, Trial, bundled_library, told_compiler

__all__ = ["bundled_artifact", "trial_of_model"]


def trial_of_model(model: Path, target: Target) -> Trial:
    """How to run a model with a library of operators beside it. Nothing is run yet."""
    return _trial(model, compiler_of(target))


def bundled_artifact(
    path: Path, manifest: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str]
) -> Runner | str:
    """What runs a bundle's library, or its model with operators, or why nothing does, as `verify_bundle` asks."""
    if path.suffix != ".onnx":
        return bundled_library(path, manifest, inputs, outputs)
    compiler = told_compiler(manifest.get("operators"))
    if compiler is None:
        return runner(path, operators=operators_of(path))
    trial = _trial(path, compiler)
    return trial.where if trial.run is None else trial.run


def _trial(model: Path, compiler: Compiler) -> Trial:
    if not (reason := lacking_here(compiler)):
        return Trial(HERE, runner(model, operators=operators_of(model)))
    if not compiler.emulated:
        return Trial(f"not run: {reason}")
    if missing := lacking(compiler.emulated):
        return Trial(f"not run: {reason}, and {missing} ({SET_UP})")
    return Trial(f"emulated as {compiler.emulated}", emulated_model(model, compiler.emulated))
