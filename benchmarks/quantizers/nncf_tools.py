"""NNCF's post-training quantization of ONNX files, with its presets.

performance   symmetric activations        mixed   unsymmetric ones
transformers  model_type TRANSFORMER: SmoothQuant, and attention left as that scheme wants it; "plain" without that
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import onnx

from .onnxruntime_tools import feeds
from .row import TRANSFORMERS, Job, Row

__all__ = ["ROWS"]

TOOL = "NNCF"
os.environ.setdefault("CI", "true")  # it sends no telemetry then


def _quantized(preset: str, plain: bool, job: Job, path: Path) -> None:
    import nncf  # some seconds
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    names = [value.name for value in job.subject.program.inputs]
    items: list[Any] = list(feeds(job.context.calibration, names))
    kind = nncf.ModelType.TRANSFORMER if job.subject.name in TRANSFORMERS and not plain else None
    done = nncf.quantize(
        onnx.load(job.plain), nncf.Dataset(items), preset=getattr(nncf.QuantizationPreset, preset.upper()),
        target_device=nncf.TargetDevice.CPU, subset_size=len(items), model_type=kind, fast_bias_correction=True,
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.DISABLE if _vnni() else None),
    )  # fmt: skip
    onnx.save(done, path)


def _vnni() -> bool:
    """Whether the processor adds products in 32 bits, so that weights need not lose a bit."""
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


ROWS = [
    Row("int8 nncf performance", TOOL, functools.partial(_quantized, "performance", False)),
    Row("int8 nncf mixed", TOOL, functools.partial(_quantized, "mixed", False)),
    Row("int8 nncf mixed plain", TOOL, functools.partial(_quantized, "mixed", True), TRANSFORMERS),
]
