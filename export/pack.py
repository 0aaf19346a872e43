"""A model file without what its ternary and 3-bit weights take in vain: each tensor of codes by its shortest codec.

    model.onnx  →  model.onnx.pack        trits 1.6 bits a weight, words fewer where most are zero, bits3 3 bits,
                                          repeat one scale a row that all of its blocks share

Codes are found where they lie in the file (the second input of MatMulNBits, the first of GatherBlockQuantized), so
that unpacking (`quant/codecs/unpack.py`) gives the very same bytes; that is tried before the packed file is used.
Ternary codes are fields of 2 bits without the value 0, 3-bit codes fields of 4 bits from 4 to 11.
"""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import onnx
import torch

from compressor.errors import ExportError, LoadError
from compressor.export.onnx_reference import by_reference
from compressor.quant.blocks import INT2, INT4, unpack_blocks
from compressor.quant.codecs.base3 import pack_trits
from compressor.quant.codecs.choose import choose_codec
from compressor.quant.codecs.dictionary import encode_rows, zeros_in
from compressor.quant.codecs.unpack import MAGIC, PackError, unpack
from compressor.quant.formats import Format, pack

__all__ = [
    "BLOCK_INPUTS",
    "SMALLEST",
    "SUFFIX",
    "Codes",
    "Part",
    "codes_in",
    "pack_model",
    "packed_parts",
    "unpack_model",
]

SUFFIX = ".pack"
SMALLEST = 256  # bytes of codes that are worth the line in the header
BLOCK_INPUTS = {"MatMulNBits": (1, 2), "GatherBlockQuantized": (0, 2)}  # which inputs hold codes and scales
_FLOAT = 32  # bits of a scale
_THREE_BITS = Format("uint3", 3, 0, 7, torch.uint8, symmetric=False)  # codes −4 … 3 and 4


@dataclass(frozen=True)
class Codes:
    """Where a tensor of codes, or of their scales, lies in a model file: fields of `bits` bits in rows."""

    name: str
    offset: int
    bytes: int
    rows: int
    bits: int


@dataclass(frozen=True)
class Part:
    """One run of a file's bytes as a packed file has it; `zeros` are sixty-fourths."""

    offset: int
    bytes: int
    codec: str
    packed: int
    rows: int
    zeros: int


def codes_in(model: Path) -> list[Codes]:
    """The tensors of codes in blocks and of their scales, by their place in the file; those below SMALLEST are not.

    Raises ExportError for what is no ONNX model in one file.
    """
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "graph.onnx"
        try:
            by_reference(model, graph, model.name, smallest=SMALLEST)
            proto = onnx.load(graph, load_external_data=False).graph
        except ValueError as error:
            raise ExportError(f"no ONNX model: {error}", where=model.name) from error
    tensors = {tensor.name: tensor for tensor in proto.initializer}
    found: dict[str, Codes] = {}
    for node in proto.node:
        bits = next((attribute.i for attribute in node.attribute if attribute.name == "bits"), 0)
        for place, width in zip(BLOCK_INPUTS.get(node.op_type, ()), (bits, _FLOAT), strict=False):
            name = node.input[place]
            if name in tensors and tensors[name].external_data:
                stored = {entry.key: entry.value for entry in tensors[name].external_data}
                offset, length = int(stored["offset"]), int(stored["length"])
                found[name] = Codes(name, offset, length, tensors[name].dims[0], width)
    return sorted(found.values(), key=lambda codes: codes.offset)


def pack_model(model: Path) -> Path | None:
    """Write `model` and ".pack" beside it; None where it holds nothing that is shorter in another codec.

    Raises ExportError where the packed file does not unpack to the same bytes.
    """
    whole = np.memmap(model, np.uint8, "r")
    parts, bodies = [], []
    for codes in codes_in(model):
        found = _packed(np.array(whole[codes.offset : codes.offset + codes.bytes]), codes)
        if found is not None:
            parts.append(found[0])
            bodies.append(found[1])
    if not parts:
        return None
    digest = hashlib.sha256(whole.data).hexdigest()
    said = {"version": 1, "bytes": len(whole), "sha256": digest, "parts": [asdict(part) for part in parts]}
    header = json.dumps(said).encode()
    out = model.with_name(model.name + SUFFIX)
    with out.open("wb") as file:
        file.write(MAGIC + struct.pack("<I", len(header)) + header)
        position = 0
        for part in parts:
            file.write(whole[position : part.offset].data)
            position = part.offset + part.bytes
        file.write(whole[position:].data)
        file.writelines(bodies)
    with tempfile.TemporaryDirectory() as folder:
        try:
            unpack(str(out), str(Path(folder) / "model.onnx"))  # it compares the digest
        except PackError as error:
            raise ExportError(f"the packed model does not unpack: {error}", where=out.name) from error
    return out


def unpack_model(packed: Path, out: Path) -> None:
    """Write the model that was packed. Raises LoadError for a damaged file."""
    try:
        unpack(str(packed), str(out))
    except PackError as error:
        raise LoadError(str(error), where=packed.name, way_out="Fetch or build the bundle again.") from error
    except MemoryError as error:
        raise LoadError("it unpacks to more than this machine's memory", where=packed.name) from error


def packed_parts(packed: Path) -> list[Part]:
    """The parts of a file that `pack_model` wrote, or that was unpacked: then its header is one."""
    with packed.open("rb") as file:
        start = file.read(len(MAGIC) + 4)
        header = json.loads(file.read(struct.unpack("<I", start[len(MAGIC) :])[0]))
    return [Part(**{field.name: part[field.name] for field in fields(Part)}) for part in header["parts"]]


def _packed(stored: np.ndarray[tuple[int], np.dtype[np.uint8]], codes: Codes) -> tuple[Part, bytes] | None:
    """The codec that makes the codes shorter, and what it makes of them."""
    if codes.bits == _FLOAT:
        scales = stored.reshape(codes.rows, -1, 4)
        same = bool((scales == scales[:, :1]).all())
        return _part(codes, "repeat", scales[:, 0].tobytes()) if same else None
    rows = torch.from_numpy(stored).view(codes.rows, 1, -1)
    if codes.bits == 4:
        fields = unpack_blocks(rows, INT4, 2 * rows.shape[-1])
        inside = int(fields.min()) >= -4 and int(fields.max()) <= 3
        return _part(codes, "bits3", pack(fields + 4, _THREE_BITS, dense=True).numpy().tobytes()) if inside else None
    if codes.bits != 2:
        return None
    trits = unpack_blocks(rows, INT2, 4 * rows.shape[-1])
    if int(trits.min()) < -1:
        return None
    if choose_codec(trits) == "base3":
        return _part(codes, "trits", pack_trits(trits).numpy().tobytes())
    words = encode_rows(trits)
    counts = words.offsets.diff().numpy().astype("<u4").tobytes()
    return _part(codes, "words", counts + words.words.numpy().astype("<u2").tobytes(), zeros_in(trits))


def _part(codes: Codes, codec: str, body: bytes, zeros: int = 0) -> tuple[Part, bytes] | None:
    part = Part(codes.offset, codes.bytes, codec, len(body), codes.rows, zeros)
    return (part, body) if len(body) < codes.bytes else None
