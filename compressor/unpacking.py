"""A packed bundle as it is installed: model.onnx in the place of model.onnx.pack, and all else as it was."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from compressor.errors import InputError, OutputError
from compressor.export.atomic import ensure_writable
from compressor.export.bundle import Content, write_bundle
from compressor.export.pack import SUFFIX, unpack_model
from compressor.export.verify import PACKED, open_bundle
from compressor.request import Request
from compressor.targets import Target
from compressor.targets.kernels import CUSTOM_OP
from compressor.targets.tvm import TVM

__all__ = ["check_pack", "unpack_bundle"]


def check_pack(request: Request, target: Target) -> None:
    """Raises InputError where machine code is asked for, which is not packed, or weights laid out for it."""
    if request.pack and target.runtime.name == TVM:
        raise InputError("packs ONNX models, not machine code", where="--pack", way_out="Leave --runtime tvm out.")
    if request.pack and request.kernels == CUSTOM_OP:
        raise InputError(
            "packs weights as portable kernels read them", where="--pack", way_out="Leave --kernels custom-op out."
        )


def unpack_bundle(bundle: Path, out: Path, *, force: bool = False) -> Path:
    """Write the bundle unpacked to `out`, whole or not at all. Raises LoadError for an unsound one, InputError for one
    that is not packed, OutputError where `out` cannot be written, exists (without `force`), or is inside the bundle."""
    if bundle.resolve() in out.resolve().parents:
        raise OutputError(f"{str(out)!r} is inside the bundle", where="--out", way_out="Choose a folder beside it.")
    ensure_writable(out, force=force)
    contents = open_bundle(bundle)
    if PACKED not in contents.digests:
        raise InputError(f"holds no {PACKED}", where=str(bundle), way_out="It can be used as it is.")
    rest = {name: bundle / name for name in contents.digests if name != PACKED}
    manifest = {key: value for key, value in contents.manifest.items() if key not in ("format", "files")}
    files: dict[str, Content] = {PACKED[: -len(SUFFIX)]: partial(unpack_model, bundle / PACKED), **rest}
    return write_bundle(out, force=force, files=files, manifest=_in_memory(manifest))


def _in_memory(manifest: dict[str, object]) -> dict[str, object]:
    """With the bits that weights now take on disk."""
    weights = manifest.get("weights")
    if not isinstance(weights, dict) or not isinstance(weights.get("formats"), dict):
        return manifest
    formats = {name: _plain(each) for name, each in weights["formats"].items()}
    return {**manifest, "weights": {**_plain(weights), "formats": formats}}


def _plain(told: object) -> dict[str, object]:
    return {**told, "bits_on_disk": told.get("bits_in_memory")} if isinstance(told, dict) else {}
