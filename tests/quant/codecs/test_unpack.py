"""Unpacking what nobody vouches for: damaged and hostile files are refused before anything is allocated."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.quant.blocks import INT2, pack_blocks
from compressor.quant.codecs import unpack as module
from compressor.quant.codecs.base3 import pack_trits
from compressor.quant.codecs.dictionary import decode_rows, dictionary_of, encode_rows, zeros_in
from compressor.quant.codecs.unpack import MAGIC, PackError, unpack

ROWS, WIDTH = 6, 128


def codes(zeros: float) -> torch.Tensor:
    draw = torch.rand(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    return torch.where(draw < zeros, 0, torch.where(draw < (1 + zeros) / 2, 1, -1)).to(torch.int8)


def whole(trits: torch.Tensor) -> bytes:
    """What a file holds: something before, fields of two bits, something after."""
    return b"before" + pack_blocks(trits, INT2, 32).numpy().tobytes() + b"after"


def packed(path: Path, content: bytes, body: bytes, **changes: Any) -> Path:
    part = {
        "offset": 6, "bytes": ROWS * WIDTH // 4, "codec": "trits", "packed": len(body), "rows": ROWS, "zeros": 0,
        **{key: value for key, value in changes.items() if key not in ("whole", "sha256")},
    }  # fmt: skip
    digest = changes.get("sha256", hashlib.sha256(content).hexdigest())
    header = {"version": 1, "bytes": changes.get("whole", len(content)), "sha256": digest, "parts": [part]}
    text = json.dumps(header).encode()
    path.write_bytes(MAGIC + struct.pack("<I", len(text)) + text + b"beforeafter" + body)
    return path


def test_both_codecs_give_the_very_bytes(tmp_path: Path) -> None:
    even, rare = codes(1 / 3), codes(0.9)
    unpack(str(packed(tmp_path / "a", whole(even), pack_trits(even).numpy().tobytes())), str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == whole(even)
    words = encode_rows(rare)
    body = words.offsets.diff().numpy().astype("<u4").tobytes() + words.words.numpy().astype("<u2").tobytes()
    assert len(body) < ROWS * WIDTH / 5, "shorter than base 3"
    source = packed(tmp_path / "b", whole(rare), body, codec="words", zeros=zeros_in(rare))
    unpack(str(source), str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == whole(rare)
    assert torch.equal(decode_rows(words), rare)


def test_it_runs_alone(tmp_path: Path) -> None:
    even = codes(1 / 3)
    source = packed(tmp_path / "a", whole(even), pack_trits(even).numpy().tobytes())
    run = [sys.executable, "-I", module.__file__, str(source), str(tmp_path / "out")]
    subprocess.run(run, check=True, cwd=tmp_path)
    assert (tmp_path / "out").read_bytes() == whole(even)
    source.write_bytes(b"nothing")
    failed = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
    assert (failed.returncode, failed.stderr) == (1, "unpack: no packed model\n")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"whole": 2**40}, "more than 2 GB"),
        ({"whole": -1}, "a number that is none"),
        ({"whole": 2**30}, "do not fill"),
        ({"bytes": 2**29, "whole": 2**30}, "size that its codec does not make"),
        ({"bytes": 10**6, "whole": 10**7, "codec": "words", "rows": 1, "zeros": 32}, "size that its codec"),
        ({"codec": "words", "rows": 0, "zeros": 32}, "size that its codec"),
        ({"codec": "words", "zeros": 64}, "size that its codec"),
        ({"codec": "pickle"}, "size that its codec"),
        ({"codec": "repeat", "rows": 0}, "size that its codec"),
        ({"codec": "repeat", "rows": 5}, "size that its codec"),
        ({"offset": 10**6}, "overlap or lie outside"),
        ({"offset": True}, "a number that is none"),
        ({"packed": 1.5}, "a number that is none"),
        ({"sha256": "0" * 64}, "not what its sha256 says"),
        ({"sha256": None}, "not what its sha256 says"),
    ],
)
def test_headers_that_lie(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    even = codes(1 / 3)
    source = packed(tmp_path / "a", whole(even), pack_trits(even).numpy().tobytes(), **changes)
    with pytest.raises(PackError, match=reason):
        unpack(str(source), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_bytes_that_lie(tmp_path: Path) -> None:
    even = codes(1 / 3)
    body = bytearray(pack_trits(even).numpy().tobytes())
    body[3] = 250
    with pytest.raises(PackError, match="no five digits"):
        unpack(str(packed(tmp_path / "a", whole(even), bytes(body))), str(tmp_path / "out"))
    rare = codes(0.9)
    words = encode_rows(rare)
    counts, rest = words.offsets.diff().numpy().astype("<u4"), words.words.numpy().astype("<u2")
    more = {"codec": "words", "zeros": zeros_in(rare)}
    for wrong, reason in (
        (counts[::-1].copy().tobytes() + rest.tobytes(), "do not fill a row|sha256"),
        ((counts + 1).tobytes() + rest.tobytes(), "does not have"),
        (counts.tobytes() + (rest * 0 + 65535).tobytes(), "does not have|do not fill"),
    ):
        with pytest.raises(PackError, match=reason):
            unpack(str(packed(tmp_path / "b", whole(rare), wrong, **more)), str(tmp_path / "out"))
    assert len(dictionary_of(58).lengths) < 65536, "so that a word can lie outside"


@pytest.mark.parametrize("content", [b"", b"abc", MAGIC, MAGIC + b"\xff\xff\xff\xff", MAGIC + b"\x02\0\0\0[]"])
def test_files_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(PackError):
        unpack(str(tmp_path / "a"), str(tmp_path / "out"))


def test_every_cut_is_seen(tmp_path: Path) -> None:
    even = codes(1 / 3)
    source = packed(tmp_path / "a", whole(even), pack_trits(even).numpy().tobytes())
    content = source.read_bytes()
    for length in range(0, len(content), 7):
        source.write_bytes(content[:length])
        with pytest.raises(PackError):
            unpack(str(source), os.devnull)


def test_what_cannot_be_written_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    even, out = codes(1 / 3), tmp_path / "out"
    source = packed(tmp_path / "a", whole(even), pack_trits(even).numpy().tobytes())
    out.write_bytes(b"old")

    def full(*_: object) -> None:
        assert (tmp_path / "out.part").read_bytes() == whole(even), "written beside it"
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        unpack(str(source), str(out))
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]


def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    """A scale of four bytes that claims to be repeated over half a gigabyte."""
    part = {"offset": 0, "bytes": 2**29, "codec": "repeat", "packed": 4, "rows": 1, "zeros": 0}
    text = json.dumps({"version": 1, "bytes": 2**29, "sha256": "0" * 64, "parts": [part]}).encode()
    source = tmp_path / "a"
    source.write_bytes(MAGIC + struct.pack("<I", len(text)) + text + bytes(4))
    tracemalloc.start()
    with pytest.raises(PackError, match="more scales than its codes can have"):
        unpack(str(source), str(tmp_path / "out"))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert not (tmp_path / "out").exists()
