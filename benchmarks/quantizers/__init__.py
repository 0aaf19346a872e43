"""The rows of `quantization.py`: our pass lists, and what other tools make of the same fp32 ONNX file.

A row's first word is its kind: fp32, int8, int4, mixed or ternary. To add one of ours, add its pass list to `own.ROWS`.
"""

from __future__ import annotations

from . import nncf_tools, onnxruntime_tools, own
from .row import KINDS, Job, Row

__all__ = ["KINDS", "ROWS", "Job", "Row"]

ROWS: dict[str, Row] = {row.name: row for part in (own, onnxruntime_tools, nncf_tools) for row in part.ROWS}
