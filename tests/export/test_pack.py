"""Packed models: to the very bytes and back, each tensor by its shortest codec, and what is left as it is."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from boards import board
from quantized import with_blocks
from torch import nn

from compressor.errors import ExportError, LoadError
from compressor.export import pack
from compressor.export.onnx import to_onnx
from compressor.export.pack import codes_in, pack_model, packed_parts, unpack_model
from compressor.graph.capture import capture


def model(folder: Path, format: str, weight: torch.Tensor | None = None) -> Path:
    torch.manual_seed(0)
    layer = nn.Linear(256, 96)
    if weight is not None:
        layer.weight = nn.Parameter(weight)
    program = capture(nn.Sequential(layer), (torch.randn(2, 256),)).program
    to_onnx(with_blocks(program, "linear", format=format, block=64), board()).save(folder / "model.onnx")
    return folder / "model.onnx"


def mostly_zero() -> torch.Tensor:
    draw = torch.rand(96, 256, generator=torch.Generator().manual_seed(0))
    return torch.where(draw < 0.93, torch.zeros(()), torch.where(draw < 0.965, torch.ones(()), -torch.ones(())))


@pytest.mark.parametrize(
    ("weight", "codec", "bits"),
    [(None, "trits", 1.6), (mostly_zero(), "words", 0.8)],
    ids=["gaussian", "mostly zero"],
)
def test_ternary_codes_by_the_shorter_codec(
    weight: torch.Tensor | None, codec: str, bits: float, tmp_path: Path
) -> None:
    path = model(tmp_path, "ternary", weight)
    packed = pack_model(path)
    assert packed == tmp_path / "model.onnx.pack"
    [part] = [each for each in packed_parts(packed) if each.codec != "repeat"]
    assert (part.codec, part.bytes) == (codec, 96 * 256 // 4)
    assert 8 * part.packed / (96 * 256) <= bits + 0.01
    assert path.stat().st_size - packed.stat().st_size > part.bytes - part.packed - 400
    unpack_model(packed, tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == path.read_bytes()


def test_three_bits_in_fields_of_four(tmp_path: Path) -> None:
    path = model(tmp_path, "int4")
    assert pack_model(path) is None, "all sixteen codes are used"
    codes = next(each for each in codes_in(path) if each.bits == 4)
    content = bytearray(path.read_bytes())
    inside = torch.randint(4, 12, (2, codes.bytes), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    content[codes.offset : codes.offset + codes.bytes] = (inside[0] | inside[1] << 4).numpy().tobytes()
    path.write_bytes(content)
    packed = pack_model(path)
    assert packed is not None
    [part] = packed_parts(packed)
    assert (part.codec, part.packed) == ("bits3", 3 * codes.bytes // 4)
    unpack_model(packed, tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == bytes(content)


def test_two_bits_with_all_four_codes_stay(tmp_path: Path) -> None:
    assert pack_model(model(tmp_path, "int2")) is None
    assert not (tmp_path / "model.onnx.pack").exists()


def test_codes_are_found_where_they_lie(tmp_path: Path) -> None:
    path = model(tmp_path, "ternary")
    codes, scales = codes_in(path)
    assert (scales.bits, scales.rows, scales.bytes) == (32, 96, 4 * 96 * 4)
    [stored] = [t for t in onnx.load(path).graph.initializer if t.name == codes.name]
    assert path.read_bytes()[codes.offset : codes.offset + codes.bytes] == stored.raw_data
    assert (codes.rows, codes.bits) == (96, 2)


def test_what_does_not_unpack_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = model(tmp_path, "ternary")
    monkeypatch.setattr(pack, "pack_trits", lambda trits: torch.zeros(-(-trits.numel() // 5), dtype=torch.uint8))
    with pytest.raises(ExportError, match="does not unpack: what it unpacks to is not what its sha256 says"):
        pack_model(path)


def test_what_is_no_model_and_what_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\xff\xff\xff")
    with pytest.raises(ExportError, match="no ONNX model"):
        codes_in(tmp_path / "x.onnx")
    with pytest.raises(LoadError, match="no packed model"):
        unpack_model(tmp_path / "x.onnx", tmp_path / "y.onnx")


def test_a_scale_that_a_row_shares_is_stored_once(tmp_path: Path) -> None:
    path = model(tmp_path, "ternary")
    scales = next(each for each in codes_in(path) if each.bits == 32)
    content = bytearray(path.read_bytes())
    shared = torch.rand(96, 1, generator=torch.Generator().manual_seed(0)).expand(96, 4).contiguous()
    content[scales.offset : scales.offset + scales.bytes] = shared.numpy().tobytes()
    path.write_bytes(content)
    packed = pack_model(path)
    assert packed is not None
    assert {part.codec: part.packed for part in packed_parts(packed)}["repeat"] == 96 * 4
    unpack_model(packed, tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == bytes(content)
