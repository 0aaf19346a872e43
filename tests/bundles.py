"""Bundles that differ from a sound one in a file."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np

__all__ = ["off_golden", "rewritten"]


def rewritten(bundle: Path, out: Path, name: str, content: bytes) -> Path:
    """A copy with another file in it, and a manifest that agrees."""
    shutil.copytree(bundle, out)
    (out / name).write_bytes(content)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def off_golden(bundle: Path, out: Path) -> Path:
    with np.load(bundle / "golden.npz") as archive:
        arrays = dict(archive)
    np.savez(out.parent / "golden.npz", **{**arrays, "output": arrays["output"] + 1.0})
    return rewritten(bundle, out, "golden.npz", (out.parent / "golden.npz").read_bytes())
