"""Reads `--data` into items, each a mapping, tensor or tuple of one batch or of the whole data set.

    x.npz               one item: every array by name (`labels`, `calibration/NAME` and `train/NAME` among them)
    folder/             one item: every NAME.npy, memory-mapped, calibration/NAME.npy and train/NAME.npy
    x.npy               one item: the array
    file.py:function    the items that the function yields or returns

Nothing here unpickles: an array's header is read first, and one that holds objects is refused.
"""

from __future__ import annotations

import contextlib
import os
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from compressor.errors import CompressError, InputError, UntrustedError
from compressor.userfile import is_function_text, load_function, own_line

__all__ = ["Source", "as_tensor", "open_source"]

CALIBRATION, TRAINING = "calibration/", "train/"
_FORMATS = "--data takes an .npz, an .npy, a folder of .npy, or file.py:function."
_ZIP_MAGIC, _NPY_MAGIC = b"PK", b"\x93NUMPY"


@dataclass(frozen=True)
class Source:
    """What `--data` holds, not yet matched with a model's inputs. `items` is read lazily."""

    name: str
    items: Iterable[Any]
    calibration: Mapping[str, Tensor] = field(default_factory=dict)
    training: Mapping[str, Tensor] = field(default_factory=dict)
    streams: bool = False  # may be endless


def open_source(data: Any) -> Source:
    """The source behind a path, `file.py:function`, a mapping of arrays, a function, or an iterable of batches.

    Raises InputError for what is missing or is none of these, UntrustedError for arrays of Python objects.
    """
    if isinstance(data, (str, os.PathLike)):
        text = os.fspath(data)
        return _function_source(text) if is_function_text(text) else _path_source(Path(text))
    if isinstance(data, Mapping):
        arrays = {str(name): as_tensor(value, str(name)) for name, value in data.items()}
        return _arrays("data", arrays)
    if callable(data):
        name = getattr(data, "__name__", "data")
        return Source(name, _Yielded(data, name, None), streams=True)
    if isinstance(data, Iterator) or not isinstance(data, Iterable):
        raise InputError(
            f"data is a {type(data).__name__}, which cannot be read twice",
            way_out="Pass a path, a dict of arrays, a list or DataLoader of batches, or a function that yields them.",
        )
    return Source("data", data, streams=True)


def as_tensor(value: Any, where: str) -> Tensor:
    """A tensor of plain numbers from a tensor, an array or nested lists of numbers."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"is not an array: {error}", where=where) from error
    _check_dtype(array.dtype, where)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(native if native.flags.writeable else native.copy())


def _path_source(path: Path) -> Source:
    if path.is_dir():
        files = [file for part in ("", CALIBRATION, TRAINING) for file in sorted((path / part).glob("*.npy"))]
        if not files:
            raise InputError("the folder holds no .npy files", where=str(path), way_out=_FORMATS)
        return _arrays(str(path), {file.relative_to(path).with_suffix("").as_posix(): _npy(file) for file in files})
    if not path.is_file():
        raise InputError("no such file or folder", where=str(path), way_out=_FORMATS)
    with _reading(path):
        with path.open("rb") as file:
            magic = file.read(6)
        if magic.startswith(_ZIP_MAGIC):
            return _arrays(str(path), dict(_npz(path)))
        if magic == _NPY_MAGIC:
            return Source(str(path), [_npy(path)])
    what = "the file is empty" if not magic else "the file is neither an .npz nor an .npy"
    raise InputError(what, where=str(path), way_out=_FORMATS)


def _arrays(name: str, arrays: dict[str, Tensor]) -> Source:
    """One item of named arrays, those under `calibration/` and `train/` apart."""
    apart, taught = (
        {key.removeprefix(part): arrays.pop(key) for key in list(arrays) if key.startswith(part)}
        for part in (CALIBRATION, TRAINING)
    )
    if not arrays and not apart and not taught:
        raise InputError("it holds no arrays", where=name, way_out=_FORMATS)
    return Source(name, [arrays] if arrays else [], apart, taught)


def _npz(path: Path) -> Iterator[tuple[str, Tensor]]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total = sum(info.file_size for info in members)
        if total > _memory():
            raise InputError(
                f"unpacks to {total / 1e9:.1f} GB, more than this machine's memory",
                where=str(path),
                way_out="Give a folder of .npy instead: it is mapped, not read.",
            )
        for info in members:
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                raise InputError(f"it holds {name!r}, which is not an array", where=str(path), way_out=_FORMATS)
            with archive.open(info) as file:
                yield name, _member(file, info.file_size, f"{path}, array {name!r}")


def _member(file: IO[bytes], size: int, where: str) -> Tensor:
    """One array out of an archive; no more is allocated than the archive says it holds."""
    shape, fortran, dtype = _header(file, where)
    count = int(np.prod(shape, dtype=object))
    if count * dtype.itemsize > size:
        raise InputError("the array is cut short", where=where, way_out="Write the file again.")
    array = np.frombuffer(bytearray(file.read(count * dtype.itemsize)), dtype=dtype, count=count)
    return as_tensor(np.ascontiguousarray(array.reshape(shape, order="F" if fortran else "C")), where)


def _npy(path: Path) -> Tensor:
    """One array file, mapped copy-on-write: what is not used is not read."""
    with _reading(path), path.open("rb") as file:
        shape, _, dtype = _header(file, str(path))
        if 0 in shape or dtype.byteorder == ">" or not shape:
            return as_tensor(np.load(path, allow_pickle=False), str(path))
        return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))


def _header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and dtype, the dtype checked."""
    version = npy.read_magic(file)
    reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if reader is None:
        raise InputError("is not an array of plain numbers", where=where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of headers written by Python 2
        shape, fortran, dtype = reader(file)
    _check_dtype(dtype, where)
    if min(shape, default=1) < 0:
        raise InputError(f"has the shape {shape}", where=where)
    return shape, fortran, dtype


def _check_dtype(dtype: np.dtype[Any], where: str) -> None:
    if dtype.hasobject:
        raise UntrustedError(
            "the array holds Python objects, and reading them would execute code from the file",
            where=where,
            way_out="Save plain numbers: np.savez(path, x=np.asarray(x, dtype='float32')).",
        )
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise InputError(f"dtype {dtype} is not one of plain numbers", where=where)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except CompressError:
        raise
    except Exception as error:  # a damaged file may fail anywhere in zipfile, zlib or numpy
        what = "it does not fit in memory" if isinstance(error, MemoryError) else f"cannot be read: {error}"
        raise InputError(what, where=str(path), way_out=_FORMATS) from error


def _memory() -> int:
    """Bytes of physical memory; where the system does not tell, as much as any."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**63


def _function_source(text: str) -> Source:
    function = load_function(text, "--data")
    return Source(text, _Yielded(function, text, text.rpartition(":")[0]), streams=True)


@dataclass(frozen=True)
class _Yielded:
    """The batches of a user's function, called anew for every reading."""

    function: Callable[[], Any]
    name: str
    file: str | None

    def __iter__(self) -> Iterator[Any]:
        try:
            result = self.function()
            yield from [result] if isinstance(result, (Mapping, Tensor, np.ndarray)) else result
        except Exception as error:
            line = f" {own_line(error, self.file)}" if self.file else ""
            raise InputError(f"failed: {type(error).__name__}: {error}", where=f"{self.name}{line}") from error
