"""Versions come from metadata."""

from __future__ import annotations

import numpy as np

from compressor.versions import versions


def test_what_is_installed_is_named() -> None:
    found = versions()
    assert found["numpy"] == np.__version__
    assert {"python", "torch", "onnxruntime", "edge-compressor"} <= set(found)
