"""Checks a `torch.export` archive (`.pt2`) before `torch.export.load` sees it.

`torch.export.load` unpickles, evaluates, imports and even loads machine code from the file. An archive passes when

    it is a zip of bounded size whose names stay inside it;
    it holds records of the known kinds only (no compiled code);
    every pickle in it is read by the weights-only loader, and no tensor needs any other;
    its JSON is what `archive_model.py` asks for, and every tensor lies within its record.

The records are read through torch's own reader, so that no second opinion on the zip format can be exploited.
"""

from __future__ import annotations

import io
import re
import zipfile
from typing import IO, Any

import torch
from torch._export.serde import schema
from torch.export.pt2_archive import PT2ArchiveReader

from compressor.errors import LoadError
from compressor.graph.archive_model import check_json, risk
from compressor.graph.quiet import quiet

__all__ = ["check_archive", "zip_names"]

_MOST_RECORDS = 200_000
_SLACK_BYTES = 64 << 20  # what a small archive may unpack to
_MOST_RATIO = 8  # torch stores tensors uncompressed; only text compresses
_MOST_JSON_BYTES = 512 << 20
_MOST_TENSOR_BYTES = 1 << 40
_PICKLE = re.compile(r"data/(weights|constants|sample_inputs)/[\w.-]+\.pt")
_CONFIG = re.compile(r"data/(weights|constants)/[\w.-]+_(weights|constants)_config\.json")
_MODEL = re.compile(r"models/[\w-]+\.json")
_PLAIN = re.compile(
    r"archive_format|archive_version|byteorder|\.data/[\w-]+|extra/[\w./ -]+"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
)


def zip_names(file: IO[bytes], where: str) -> list[str]:
    """The entries of a zip archive by their names without the first component.

    Raises LoadError when it is no zip, unpacks to far more than it weighs, or names leave the archive.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise _broken("is a truncated or damaged archive", where) from error
    finally:
        file.seek(0)
    if not entries or min(entry.header_offset for entry in entries) != 0:  # a zip inside a truncated zip is found, too
        raise _broken("is a truncated or damaged archive", where)
    if len(entries) > _MOST_RECORDS or sum(entry.file_size for entry in entries) > _MOST_RATIO * size + _SLACK_BYTES:
        raise _broken(f"unpacks to far more than its {size:,} bytes (a zip bomb)", where)
    names = [entry.filename for entry in entries]
    for name in names:
        parts = name.split("/")
        if name.startswith("/") or "\\" in name or ":" in parts[0] or ".." in parts or not name.isprintable():
            raise _broken(f"names a file outside the archive: {name[:80]!r}", where)
    if len({name.casefold() for name in names}) < len(names):
        raise _broken("holds two files of one name", where)
    if len({name.split("/")[0] for name in names}) > 1:
        raise _broken("is a zip, but not one that torch wrote: its files share no folder", where)
    return [name.partition("/")[2] for name in names if not name.endswith("/")]


def check_archive(file: IO[bytes], where: str) -> None:
    """Return when reading the archive executes nothing from it; `where` is its name for messages.

    The file is left at its start.

    Raises UntrustedError naming the risk, or LoadError when it is damaged or not a `torch.export` archive.
    """
    names = zip_names(file, where)
    for name in names:
        if not any(rule.fullmatch(name) for rule in (_PICKLE, _CONFIG, _MODEL, _PLAIN)):
            raise risk(f"holds {name[:80]!r}, which torch could load as code", where)
    if "models/model.json" not in names or sum(name.startswith("models/") for name in names) != 1:
        found = [name for name in names if name.startswith("models/")]
        raise _broken(f"must hold one program, models/model.json; holds {found or 'none'}", where)
    try:
        with quiet(), PT2ArchiveReader(file) as reader:
            _check_records(reader, names, where)
    except RuntimeError as error:  # torch's reader on a damaged zip
        raise _broken(f"is damaged: {str(error).splitlines()[0][:200]}", where) from error
    finally:
        file.seek(0)


def _check_records(reader: Any, names: list[str], where: str) -> None:
    if sorted(reader.get_file_names()) != sorted(names):
        raise _broken("reads differently through torch than through Python", where)
    if reader.read_string("archive_version") != "0":
        raise _broken("has an archive version that this torch does not read", where)
    for name in names:
        size = reader.archive_file.get_record_size(name)
        if name.endswith(".json") and size > _MOST_JSON_BYTES:
            raise _broken(f"{name} has {size:,} bytes", where)
        if _PICKLE.fullmatch(name):
            _check_pickle(reader.read_bytes(name), name, where)
        elif _CONFIG.fullmatch(name):
            config = check_json(schema.PayloadConfig, reader.read_bytes(name), f"{where}: {name}")
            _check_payloads(reader, config, name, set(names), where)
        elif _MODEL.fullmatch(name):
            check_json(schema.ExportedProgram, reader.read_bytes(name), where)


def _check_pickle(content: bytes, name: str, where: str) -> None:
    if not content:
        return
    buffer = io.BytesIO(content)
    if zipfile.is_zipfile(buffer):
        zip_names(buffer, f"{where}: {name}")
    try:
        torch.load(buffer, weights_only=True, map_location="cpu")
    except Exception as error:  # whatever the weights-only loader rejects, the full one would execute
        raise risk(f"{name} is a pickle that would run code when loaded", where) from error


def _check_payloads(reader: Any, config: Any, name: str, names: set[str], where: str) -> None:
    folder = name.rpartition("/")[0]
    for tensor, payload in config["config"].items():
        record = f"{folder}/{payload['path_name']}"
        meta = payload.get("tensor_meta")
        if payload["use_pickle"] or meta is None or not _PLAIN.fullmatch(record):
            raise risk(f"{tensor!r} is stored as a pickled object, which would run code when loaded", where)
        if record not in names:
            raise _broken(f"{tensor!r} is missing from the archive", where)
        if (device := meta["device"]["type"]) != "cpu":
            raise LoadError(
                f"was exported on {device!r}", where=where, way_out="Move the model to the CPU and export it again."
            )
        _check_extent(tensor, meta, reader.archive_file.get_record_size(record), where)


def _check_extent(tensor: str, meta: Any, stored: int, where: str) -> None:
    """The tensor reads no byte beyond its record, and is no expanded bomb."""
    sizes = [_whole(size, where) for size in meta["sizes"]]
    strides = [_whole(stride, where) for stride in meta["strides"]]
    item = _item_bytes(meta["dtype"], where)
    elements, last = 1, _whole(meta["storage_offset"], where)
    for size, stride in zip(sizes, strides, strict=False):
        elements, last = elements * size, last + max(0, size - 1) * stride
    fits = elements == 0 or (last + 1) * item <= stored
    if len(sizes) != len(strides) or not fits or elements * item > _MOST_TENSOR_BYTES:
        raise _broken(f"{tensor!r} claims more than the {stored:,} bytes stored for it", where)


def _item_bytes(code: int, where: str) -> int:
    from torch._export.serde.serialize import _SERIALIZE_TO_TORCH_DTYPE

    if (dtype := _SERIALIZE_TO_TORCH_DTYPE.get(schema.ScalarType(code))) is None:
        raise _broken("stores a tensor of unknown dtype", where)
    return int(dtype.itemsize)


def _whole(value: dict[str, Any], where: str) -> int:
    number = value.get("as_int", -1)
    if number < 0:
        raise _broken("stores a tensor with a symbolic or negative size", where)
    return int(number)


def _broken(what: str, where: str) -> LoadError:
    return LoadError(what, where=where, way_out="The file may be incomplete: copy it or save it again.")
