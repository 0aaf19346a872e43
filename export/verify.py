"""Checks a bundle that may come from anywhere: hashes of its files, then golden vectors in its runtime.

Nothing in it is trusted: machine code (TVM's `model.so`, operators in `model_ops.so`) is run only where that is asked
for, names may not leave the folder, links are refused, arrays are read without pickle and only after their stated sizes
were compared with the bytes that are there, and weights outside the model file must be files of the bundle.
"""

from __future__ import annotations

import hashlib
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it comes without types

from compressor.errors import CompressError, LoadError, did_you_mean
from compressor.export.entry_view import EntryView, entries_of
from compressor.export.manifest import bad_manifest, files_of, named_tensors, read_manifest, tolerance_of
from compressor.export.ort import same_outputs
from compressor.export.pack import SUFFIX, packed_parts, unpack_model
from compressor.export.session import OPERATORS, Runner, operators_of, runner
from compressor.export.statements import miscounted, misnamed
from compressor.export.tvm_linking import BUILD
from compressor.export.tvm_session import tvm_runner

__all__ = [
    "LIBRARY",
    "PACKED",
    "TIES",
    "Contents",
    "Verification",
    "open_bundle",
    "open_entry",
    "unpacked",
    "verify_bundle",
]

TIES = 0.05  # share of an integer output's elements that may differ where two scores are equal but for rounding
PACKED = "model.onnx.pack"
LIBRARY = "model.so"
_MODELS = ("model.onnx", PACKED)
_ARTIFACTS = (*_MODELS, LIBRARY, BUILD)
_GOLDEN_LIMIT, _GOLDEN_SMALL = 2**31, 2**28  # bytes of golden vectors, and those that are read whatever they come from
_DEFLATED = 64  # larger ones unpack to no more than so many times their file: figures are no runs of one byte
_Arrays = dict[str, np.ndarray[Any, Any]]
_Opener = Callable[[Path, Mapping[str, Any], Sequence[str], Sequence[str]], "Runner | str"]


@dataclass(frozen=True)
class Verification:
    """What was checked, and what is wrong (nothing when it is sound).

    `errors` are the golden outputs' relative RMS errors; of integer outputs the share of elements that differ, beyond
    the twentieth that a tie between two scores may cost. Where a bundle holds a model and a library, the library's
    are named after it. `notes` say what was not tried.
    """

    path: str
    files: tuple[str, ...]
    errors: Mapping[str, float]
    tolerance: float
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path, "ok": self.ok, "files": list(self.files), "errors": dict(self.errors),
            "tolerance": self.tolerance, "problems": list(self.problems), "notes": list(self.notes),
        }  # fmt: skip

    def __str__(self) -> str:
        if self.problems:
            shown = ("".join(c if c.isprintable() else "?" for c in problem) for problem in self.problems)
            return "\n".join([f"{self.path}: not sound", *(f"  {problem}" for problem in shown)])
        told = [f"{self.path}: sound. {len(self.files)} files match their hashes", *self.notes]
        if self.errors:
            worst = max(self.errors.values())
            agree = f"{len(self.errors)} outputs agree with PyTorch, the worst within {worst:.1e}"
            told.append(f"{agree} (allowed {self.tolerance:.0e})")
        return "; ".join(told)


@dataclass(frozen=True)
class Contents:
    """A bundle whose files are what its manifest says: safe to read and to push to a board.

    `golden` are the arrays of `golden.npz`, `digests` the SHA-256 of each file. Of an `entry` all of it is the entry's,
    and `model` is its file.
    """

    path: Path
    manifest: Mapping[str, Any]
    digests: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    golden: Mapping[str, np.ndarray[Any, Any]]
    tolerance: float
    entry: str = ""
    model: str = "model.onnx"


def open_bundle(path: Path) -> Contents:
    """Check everything but what the model computes. Raises LoadError that says what is not sound."""
    try:
        manifest = read_manifest(path)
        files, tolerance = files_of(manifest), tolerance_of(manifest)
        problems = list(_differences(path, files))
        if problems:
            shown = "".join(c if c.isprintable() else "?" for c in problems[0])
            raise LoadError(f"not sound: {shown}", where=str(path), way_out="`compress verify` lists all of it.")
        inputs, outputs, golden = _golden(path, manifest, files)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror or error}", where=str(error.filename or path)) from error
    digests = {name: digest for name, (digest, _) in files.items()}
    return Contents(path, manifest, digests, tuple(inputs), tuple(outputs), golden, tolerance)


def open_entry(path: Path, name: str) -> Contents:
    """One of a bundle's entries as a bundle of its own: its inputs, outputs, golden arrays and what was predicted.

    Raises what `open_bundle` does, and LoadError where the bundle has no entry of that name.
    """
    whole = open_bundle(path)
    views = {view.name: view for view in entries_of(whole.manifest, whole.digests)}
    if name not in views:
        way_out = did_you_mean(name, list(views)) if views else "It ships none: elastic makes them."
        raise LoadError(f"there is no entry {name!r}", where=str(path), way_out=way_out)
    view = views[name]
    left = {key: value for key, value in whole.manifest.items() if key not in ("predicted", "decoder", "entries")}
    manifest = {**left, **{key: view.said[key] for key in ("inputs", "outputs", "predicted") if key in view.said}}
    kept = {key: digest for key, digest in whole.digests.items() if not key.endswith((".onnx", ".ort", ".so"))}
    return replace(
        whole, manifest=manifest, digests={**kept, "model.onnx": whole.digests[view.file]}, inputs=view.inputs,
        outputs=view.outputs, golden=_of_entry(path, view, whole.digests), entry=name, model=view.file,
    )  # fmt: skip


def own_library(path: Path, manifest: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str]) -> Runner:
    """A library, or a model with one of operators, as this machine's processor runs it, whatever its manifest says."""
    if path.suffix == ".onnx":
        return runner(path, operators=operators_of(path))
    return tvm_runner(path, inputs, outputs)


def verify_bundle(path: Path, *, trust: bool = False, library: _Opener = own_library) -> Verification:
    """Check hashes, missing and unexpected files, and the golden vectors. What is wrong is in `problems`.

    `trust`: machine code in it is run, as its golden vectors ask; else a note says that it was not. `library` makes of
    its path, the manifest and the names of inputs and outputs what runs it, or says why nothing does.
    Raises LoadError when there is no manifest, or it is not one that this program could have written, or a file
    cannot be read.
    """
    try:
        return _verify(path, library if trust else _untrusted)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror or error}", where=str(error.filename or path)) from error


def _untrusted(path: Path, manifest: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str]) -> str:
    return "is machine code and was not run: --trust runs it"


def _verify(path: Path, library: _Opener) -> Verification:
    manifest = read_manifest(path)
    files, tolerance = files_of(manifest), tolerance_of(manifest)
    problems = list(_differences(path, files))
    errors: dict[str, float] = {}
    notes: list[str] = []
    if not problems:
        try:
            inputs, outputs, arrays = _golden(path, manifest, files)
            problems += misnamed(manifest, arrays)
            model: Runner | str | None = None
            if OPERATORS in files:
                model = library(path / _MODELS[0], manifest, inputs, outputs)
            if isinstance(model, str):
                notes.append(f"{OPERATORS} {model}")
            elif any(name in files for name in _MODELS):
                errors, wrong = _compared(path, manifest, files, inputs, outputs, arrays, model)
                problems += wrong
            for view in entries_of(manifest, files):
                own = _of_entry(path, view, files)
                problems += misnamed(view.said, own)
                found = _errors(runner(path / view.file), view.file, view.inputs, view.outputs, own)
                errors |= {f"{name} ({view.file})": error for name, error in found.items()}
            if BUILD in files:
                notes.append(f"nothing is linked yet: sh {BUILD} does it, on the board")
            if LIBRARY in files:
                opened = library(path / LIBRARY, manifest, inputs, outputs)
                if isinstance(opened, str):
                    notes.append(f"{LIBRARY} {opened}")
                else:
                    suffix = f" ({LIBRARY})" if errors else ""
                    found = _errors(opened, LIBRARY, inputs, outputs, arrays)
                    errors |= {f"{name}{suffix}": error for name, error in found.items()}
        except CompressError as error:
            problems.append(str(error))
    problems += [
        f"output {name!r}: error {error:.2e}, allowed {tolerance:.0e}"
        for name, error in errors.items()
        if not error <= tolerance
    ]
    return Verification(str(path), tuple(files), errors, tolerance, tuple(problems), tuple(notes))


def _differences(path: Path, files: Mapping[str, tuple[str, int]]) -> Iterator[str]:
    present = set()
    for entry in path.rglob("*"):
        mode = entry.lstat().st_mode
        name = entry.relative_to(path).as_posix()
        if stat.S_ISREG(mode):
            present.add(name)
        elif not stat.S_ISDIR(mode):
            yield f"{name}: neither a file nor a folder"
    for name in sorted(present - set(files) - {"manifest.json"}):
        yield f"{name}: not in the manifest"
    for name, (digest, size) in files.items():
        if name not in present:
            yield f"{name}: missing"
        elif (actual := (path / name).stat().st_size) != size:
            yield f"{name}: {actual} bytes, the manifest says {size}"
        else:
            with (path / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    yield f"{name}: its content is not what the manifest's sha256 says"


def _compared(
    path: Path, manifest: Mapping[str, Any], files: Iterable[str], inputs: Sequence[str], outputs: Sequence[str],
    arrays: _Arrays, run: Runner | None = None,
) -> tuple[dict[str, float], list[str]]:  # fmt: skip
    """Relative RMS error of each output of the model, which `run` runs where it is given, and what the manifest says
    that is not so; model.ort must do as model.onnx does."""
    artifact = path / next(name for name in _MODELS if name in files)
    wrong: list[str] = []
    with unpacked(artifact) as model:
        errors = _errors(run or runner(model), artifact.name, inputs, outputs, arrays)
        wrong += miscounted(manifest, model, packed_parts(artifact) if artifact.suffix == SUFFIX else ())
    if "model.ort" in files:
        batch = {name: torch.from_numpy(arrays[name]) for name in inputs}
        if not same_outputs(path / "model.onnx", path / "model.ort", batch):
            raise LoadError("it disagrees with model.onnx", where="model.ort")
    return errors, wrong


def _errors(
    run: Runner, name: str, inputs: Sequence[str], outputs: Sequence[str], arrays: _Arrays
) -> dict[str, float]:  # fmt: skip
    """Relative RMS error of each output of one artifact."""
    actual = run({each: torch.from_numpy(arrays[each]) for each in inputs})
    if missing := [each for each in outputs if each not in actual]:
        raise LoadError(f"the model has no output {missing[0]!r}", where=name)
    return {each: _relative(actual[each].numpy(), arrays[each]) for each in outputs}


@contextmanager
def unpacked(artifact: Path) -> Iterator[Path]:
    """The model itself: a packed one is unpacked into a temporary folder. Raises LoadError for a damaged one."""
    if artifact.suffix != SUFFIX:
        yield artifact
        return
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / artifact.name[: -len(SUFFIX)]
        unpack_model(artifact, model)
        _check_external(model, set())
        yield model


def _golden(path: Path, manifest: Mapping[str, Any], files: Iterable[str]) -> tuple[list[str], list[str], _Arrays]:
    """Names of inputs and outputs, and their arrays; the model's weights are the bundle's own."""
    for names in (_ARTIFACTS, ("golden.npz",)):
        if not any(name in files for name in names):
            raise LoadError(f"the bundle has no {' or '.join(names)}", where=str(path))
    inputs, outputs = (list(named_tensors(manifest.get(key), f"`{key}`")) for key in ("inputs", "outputs"))
    if not outputs:
        raise bad_manifest("`outputs` names none: there would be nothing to compare")
    arrays = _arrays(path / "golden.npz", [*inputs, *outputs])
    if "model.onnx" in files:
        _check_external(path / "model.onnx", set(files))
    return inputs, outputs, arrays


def _of_entry(path: Path, view: EntryView, files: Iterable[str]) -> _Arrays:
    """An entry's golden arrays, under its model's own names; that model's weights are the bundle's own."""
    _check_external(path / view.file, set(files))
    golden = view.golden()
    arrays = _arrays(path / "golden.npz", golden.values())
    return {name: arrays[member] for name, member in golden.items()}


def _relative(actual: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    if actual.shape != expected.shape:
        return float("inf")
    if not np.issubdtype(expected.dtype, np.floating):
        return max(0.0, float(np.mean(actual != expected)) - TIES) if expected.size else 0.0
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    difference, scale = np.where(same, 0.0, a - b), float(np.linalg.norm(np.where(np.isfinite(b), b, 0.0)))
    error = float(np.linalg.norm(difference))
    return error / scale if scale else error


def _arrays(path: Path, wanted: Iterable[str]) -> _Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            limit = min(max(_GOLDEN_SMALL, _DEFLATED * path.stat().st_size), _GOLDEN_LIMIT)
            if (size := sum(info.file_size for info in archive.infolist())) > limit:
                raise LoadError(f"it unpacks to {size / 2**30:.1f} GB, far more than its vectors take", where=path.name)
            found: _Arrays = {}
            for name in wanted:
                info = members.get(f"{name}.npy")
                if info is None:
                    raise LoadError(f"it has no {name!r}", where=path.name)
                _check_header(archive, info)
                with archive.open(info) as entry:
                    found[name] = np.lib.format.read_array(entry, allow_pickle=False)
            return found
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, NotImplementedError, MemoryError) as error:
        raise LoadError(f"not an archive of arrays: {str(error)[:200]}", where=path.name) from error


def _check_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """The header's shape fits the bytes that follow: reading allocates what it says."""
    with archive.open(info) as entry:
        version = np.lib.format.read_magic(entry)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"array format {version} of {info.filename!r}")
        shape, _, dtype = readers[version](entry)
        count = 1
        for size in shape:
            count *= int(size)
        if dtype.hasobject or count * dtype.itemsize != info.file_size - entry.tell():
            raise ValueError(f"the header of {info.filename!r} does not fit its content")


def _check_external(path: Path, files: set[str]) -> None:
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise LoadError(f"not an ONNX model: {str(error)[:200]}", where=path.name) from error
    for tensor in _tensors(model):
        for entry in tensor.external_data:
            if entry.key == "location" and entry.value not in files:
                raise LoadError(f"weights in {entry.value[:80]!r}, which is not of the bundle", where=path.name)


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model, those in attributes and subgraphs included."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if isinstance(value, Iterable) else (value,):
                yield from _tensors(child)
