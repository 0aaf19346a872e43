"""A packed bundle from making to installing: verified, benched, unpacked to the very model that it was packed from."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from bundles import rewritten
from torch import nn

import compressor
from compressor.devices.artifact import kind_of
from compressor.errors import InputError, LoadError, OutputError
from compressor.export.verify import open_bundle, verify_bundle
from compressor.unpacking import unpack_bundle


def made(out: Path, **options: object) -> Path:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 64))
    compressor.compress(
        model, target="x86-64", inputs=["2x256"], passes="ternary", max_drop="100%", out=out, no_cache=True, **options
    )
    return out


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("bundles") / "packed", pack=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("bundles") / "plain")


def manifest(bundle: Path) -> dict[str, dict[str, dict[str, object]]]:
    return json.loads((bundle / "manifest.json").read_text())  # type: ignore[no-any-return]


def test_a_packed_bundle_is_smaller_and_says_so(packed: Path, plain: Path) -> None:
    assert not (packed / "model.onnx").exists()
    assert not (packed / "model.ort").exists()
    assert (packed / "model.onnx.pack").stat().st_size < (plain / "model.onnx").stat().st_size
    weights = manifest(packed)["weights"]
    ternary = weights["formats"]["ternary"]
    assert 1.6 + 32 / 128 <= float(ternary["bits_on_disk"]) < 1.9  # type: ignore[index]
    assert ternary["bits_in_memory"] == 2 + 32 / 128  # type: ignore[index]
    assert float(weights["bits_on_disk"]) < float(weights["bits_in_memory"])  # type: ignore[arg-type]
    report = json.loads((packed / "report.json").read_text())
    assert report["after"]["file_bytes"] == (packed / "model.onnx.pack").stat().st_size
    assert any("model.ort is left out" in note for note in report["notes"])


def test_it_is_verified_and_pushed_unpacked(packed: Path, plain: Path, tmp_path: Path) -> None:
    found = verify_bundle(packed)
    assert found.ok, found.problems
    assert found.errors
    contents = open_bundle(packed)
    files = kind_of(contents).files(contents, tmp_path, 1, 1)
    assert set(files) == {"model.onnx", "golden.npz"}
    assert files["model.onnx"].read_bytes() == (plain / "model.onnx").read_bytes()
    assert kind_of(contents).job(contents, "0", 1, 1)["model"] == "0/model.onnx"


def test_unpacked_it_is_the_bundle_that_was_never_packed(packed: Path, plain: Path, tmp_path: Path) -> None:
    out = unpack_bundle(packed, tmp_path / "out")
    assert (out / "model.onnx").read_bytes() == (plain / "model.onnx").read_bytes()
    assert not (out / "model.onnx.pack").exists()
    assert verify_bundle(out).ok
    weights = manifest(out)["weights"]
    assert weights["bits_on_disk"] == weights["bits_in_memory"]
    assert weights["formats"]["ternary"]["bits_on_disk"] == 2.25
    with pytest.raises(InputError, match=r"holds no model.onnx.pack"):
        unpack_bundle(out, tmp_path / "again")


def test_what_is_damaged_is_refused(packed: Path, tmp_path: Path) -> None:
    content = bytearray((packed / "model.onnx.pack").read_bytes())
    content[-100] ^= 1
    broken = tmp_path / "broken"
    shutil.copytree(packed, broken)
    (broken / "model.onnx.pack").write_bytes(content)
    assert any("model.onnx.pack" in problem for problem in verify_bundle(broken).problems)
    agreeing = rewritten(packed, tmp_path / "agreeing", "model.onnx.pack", bytes(content))
    assert any("sha256 says" in problem for problem in verify_bundle(agreeing).problems)
    with pytest.raises(LoadError, match="sha256 says"):
        unpack_bundle(agreeing, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_to_pack_is_a_note(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(16, 4))
    compressor.compress(model, target="x86-64", inputs=["1x16"], passes="none", pack=True, out=tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx").exists()
    assert any("--pack" in note for note in json.loads((tmp_path / "out" / "report.json").read_text())["notes"])


def test_machine_code_is_not_packed(tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    with pytest.raises(InputError, match="not machine code"):
        compressor.compress(
            nn.Linear(4, 4), target="x86-64", inputs=["1x4"], runtime="tvm", pack=True, out=tmp_path / "out"
        )


def test_where_it_may_not_be_written(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is no bundle and is not replaced"):
        unpack_bundle(packed, tmp_path / "thesis", force=True)
    copy = shutil.copytree(packed, tmp_path / "copy")
    with pytest.raises(OutputError, match=r"exists") as raised:
        unpack_bundle(packed, copy)
    assert "--force" in str(raised.value)
    with pytest.raises(OutputError, match="inside the bundle"):
        unpack_bundle(copy, copy / "installed")
    assert verify_bundle(copy).ok, "nothing was written into it"
    unpack_bundle(copy, copy, force=True)  # in its own place
    assert verify_bundle(copy).ok
    assert (copy / "model.onnx").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "thesis"]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from compressor.quant.codecs import unpack
    from compressor.unpacking import unpack_bundle

    unpack.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    unpack_bundle(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_kill_in_the_middle_leaves_nothing_half_written(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(packed), str(out)], check=False)
    assert result.returncode == -signal.SIGKILL
    assert not out.exists()
    assert [path.name for path in tmp_path.rglob("model.onnx*")] == ["model.onnx.part"], "the whole model was at hand"
    unpack_bundle(packed, out)
    assert verify_bundle(out).ok
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "the next run takes away what was left"


def test_weights_laid_out_for_operators_are_not_packed(tmp_path: Path) -> None:
    options = {"inputs": ["1x4"], "pack": True, "out": tmp_path / "out"}
    with pytest.raises(InputError, match="as portable kernels read them"):
        compressor.compress(nn.Linear(4, 4), target="x86-64", kernels="custom-op", **options)
