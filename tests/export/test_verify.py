from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from compressor.errors import LoadError
from compressor.export import verify
from compressor.export.bundle import golden, write_bundle
from compressor.export.ort import to_ort
from compressor.export.verify import open_bundle, verify_bundle
from compressor.export.weight_bits import weight_bits
from compressor.graph.program import Program


@pytest.fixture(scope="module")
def sound(conv_program: Program, conv_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from boards import board

    folder = tmp_path_factory.mktemp("bundle")
    model = Path(shutil.copy(conv_onnx, folder / "model.onnx"))
    files: dict[str, Any] = {file.name: file for file in (model, *to_ort(model, board()).files)}
    files["golden.npz"] = golden(conv_program, conv_program, {"x": torch.randn(2, 3, 8, 8)})
    manifest = {
        "inputs": [spec.to_json() for spec in conv_program.inputs],
        "outputs": [spec.to_json() for spec in conv_program.outputs],
        "tolerance": 1e-4,
    }
    return write_bundle(folder / "out", force=False, files=files, manifest=manifest)


@pytest.fixture
def bundle(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "bundle"))


def manifest(bundle: Path) -> Any:
    return json.loads((bundle / "manifest.json").read_text())


def restate(bundle: Path, **changes: Any) -> None:
    """Make the manifest agree with the files that are there, and differ in what is given."""
    data = manifest(bundle)
    for name in data["files"]:
        content = (bundle / name).read_bytes()
        data["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (bundle / "manifest.json").write_text(json.dumps({**data, **changes}))


def test_a_sound_bundle(sound: Path) -> None:
    found = verify_bundle(sound)
    assert found.ok
    assert found.errors["output"] < 1e-5
    assert "4 files match" in str(found)
    assert found.to_json()["ok"] is True


@pytest.mark.parametrize("name", ["model.onnx", "model.ort", "golden.npz"])
def test_a_flipped_bit_is_found(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    found = verify_bundle(bundle)
    assert not found.ok
    assert name in found.problems[0]
    assert "not sound" in str(found)


def test_missing_longer_and_unexpected_files_are_found(bundle: Path) -> None:
    (bundle / "model.ort").unlink()
    (bundle / "golden.npz").write_bytes((bundle / "golden.npz").read_bytes() + b"x")
    (bundle / "extra").mkdir()
    (bundle / "extra" / "run.sh").write_text("")
    problems = "\n".join(verify_bundle(bundle).problems)
    assert "model.ort: missing" in problems
    assert "golden.npz:" in problems
    assert "extra/run.sh: not in the manifest" in problems


def test_golden_outputs_that_differ_are_found(bundle: Path) -> None:
    with np.load(bundle / "golden.npz") as arrays:
        changed = {**arrays, "output": arrays["output"] * 1.01}
    np.savez(bundle / "golden.npz", **changed)
    restate(bundle)
    found = verify_bundle(bundle)
    assert found.errors["output"] == pytest.approx(0.01 / 1.01, rel=1e-2)
    assert "allowed 1e-04" in found.problems[0]


def test_another_model_in_ort_format_is_found(bundle: Path, conv_program: Program, tmp_path: Path) -> None:
    from boards import board

    from compressor.export.onnx import to_onnx
    from compressor.graph.edit import set_tensor

    other = conv_program.copy()
    set_tensor(other, "head.bias", conv_program.get("head.bias") + 1.0)
    to_onnx(other, board()).save(tmp_path / "model.onnx")
    shutil.copy(to_ort(tmp_path / "model.onnx", board()).files[0], bundle / "model.ort")
    restate(bundle)
    assert "disagrees" in verify_bundle(bundle).problems[0]


def test_a_link_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.move(bundle / "model.ort", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", bundle / "model.ort")
    assert "model.ort: neither a file nor a folder" in verify_bundle(bundle).problems


def test_weights_outside_the_bundle_are_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 4096)
    model = onnx.load(bundle / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    restate(bundle)
    assert "not of the bundle" in verify_bundle(bundle).problems[0]


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


def test_a_pickle_in_the_golden_vectors_is_not_run(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(bundle / "golden.npz", x=np.array([_Evil()], dtype=object), output=np.zeros(1))
    restate(bundle)
    assert "golden.npz" in verify_bundle(bundle).problems[0]
    assert not (tmp_path / "pwned").exists()


def test_an_array_that_claims_to_be_huge_is_not_allocated(bundle: Path) -> None:
    import io

    entry = io.BytesIO()
    np.lib.format.write_array_header_1_0(entry, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(bundle / "golden.npz", "w") as archive:
        archive.writestr("x.npy", entry.getvalue() + b"\0" * 16)
    restate(bundle)
    assert "does not fit" in verify_bundle(bundle).problems[0]


def test_a_small_archive_of_huge_arrays_is_not_unpacked(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_GOLDEN_SMALL", 2**20)
    with np.load(bundle / "golden.npz") as arrays:
        np.savez_compressed(bundle / "golden.npz", **{**dict(arrays), "more": np.zeros(2**20, np.float32)})
    restate(bundle)
    assert "far more than its vectors take" in verify_bundle(bundle).problems[0]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"\0" * 100])
def test_golden_vectors_that_are_no_archive(bundle: Path, content: bytes) -> None:
    (bundle / "golden.npz").write_bytes(content)
    restate(bundle)
    assert "golden.npz" in verify_bundle(bundle).problems[0]


def test_a_model_that_is_none(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"\xff" * 64)
    restate(bundle)
    assert "model.onnx" in verify_bundle(bundle).problems[0]


DIGEST = "0" * 64
ENTRY = {"sha256": DIGEST, "bytes": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 2, "files": {}}', b'{"files": {}}',
        b'{"format": 1}', b'{"format": 1, "files": []}',
        *(
            json.dumps({"format": 1, "files": files, "tolerance": 0.1}).encode()
            for files in (
                {"../x": ENTRY}, {"/etc/passwd": ENTRY}, {"a/../../b": ENTRY}, {"": ENTRY}, {"C:\\x": ENTRY},
                {"a\0b": ENTRY}, {"./a": ENTRY}, {"a": 1}, {"a": {}}, {"a": {"sha256": 1, "bytes": 1}},
                {"a": {"sha256": DIGEST, "bytes": -1}}, {"a": {"sha256": DIGEST, "bytes": True}},
                {"a": {"sha256": DIGEST, "bytes": 1e400}},
            )
        ),
        *(
            json.dumps({"format": 1, "files": {}, "tolerance": tolerance}).encode()
            for tolerance in ("1", None, True, -1, 1e9, float("nan"), float("inf"))
        ),
    ],
)  # fmt: skip
def test_a_hostile_manifest_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(LoadError) as caught:
        verify_bundle(tmp_path)
    assert caught.value.where == "manifest.json"


@pytest.mark.parametrize("key", ["inputs", "outputs"])
@pytest.mark.parametrize("value", [None, {}, [1], [{"name": 3}], ["x"]])
def test_malformed_inputs_and_outputs_are_told(bundle: Path, key: str, value: Any) -> None:
    restate(bundle, **{key: value})
    found = verify_bundle(bundle)
    assert key in found.problems[0]


def test_a_bundle_that_names_no_outputs_is_not_sound(bundle: Path) -> None:
    restate(bundle, outputs=[])
    assert "nothing to compare" in verify_bundle(bundle).problems[0]
    with pytest.raises(LoadError, match="nothing to compare"):
        open_bundle(bundle)


@pytest.mark.parametrize("kind", ["nothing", "empty", "file"])
def test_no_bundle(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "empty":
        path.mkdir()
    if kind == "file":
        path.write_text("x")
    with pytest.raises(LoadError, match="no bundle"):
        verify_bundle(path)


def test_an_unreadable_file_is_told(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied", "model.onnx")

    monkeypatch.setattr(hashlib, "file_digest", refuse)
    with pytest.raises(LoadError, match="Permission denied"):
        verify_bundle(bundle)


def test_names_cannot_write_to_the_terminal(bundle: Path) -> None:
    (bundle / "a\x1b[2Jb").write_text("")
    assert "\x1b" not in str(verify_bundle(bundle))


def test_opening_gives_what_a_board_is_given(digits_bundle: Path) -> None:
    contents = open_bundle(digits_bundle)
    assert (contents.inputs, contents.outputs) == (("x",), ("output",))
    assert contents.golden["x"].shape == (2, 1, 8, 8)
    assert (
        contents.digests["model.onnx"]
        == json.loads((digits_bundle / "manifest.json").read_text())["files"]["model.onnx"]["sha256"]
    )
    assert contents.tolerance == 0.02


def test_opening_refuses_what_is_not_sound(digits_bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(digits_bundle, broken)
    (broken / "golden.npz").unlink()
    with pytest.raises(LoadError, match=r"golden\.npz: missing"):
        open_bundle(broken)
    with pytest.raises(LoadError, match="no bundle"):
        open_bundle(tmp_path)


def test_code_that_nobody_trusts_is_not_loaded(bundle: Path) -> None:
    (bundle / "model.onnx").rename(bundle / "model.so")
    data = manifest(bundle)
    data["files"] = {"model.so": {}, "golden.npz": {}}
    for name in ("model.ort", "model.required_operators.config"):
        (bundle / name).unlink()
    (bundle / "manifest.json").write_text(json.dumps(data))
    restate(bundle)
    found = verify_bundle(bundle)
    assert found.ok
    assert found.errors == {}
    assert "model.so is machine code and was not run: --trust runs it" in str(found)
    assert set(open_bundle(bundle).digests) == {"model.so", "golden.npz"}
    trusted = verify_bundle(bundle, trust=True)
    assert "model.so: TVM cannot load it" in str(trusted)
    assert not trusted.ok


def test_a_library_is_run_as_it_is_told_or_why_not(tvm_bundle: Path) -> None:
    found = verify_bundle(tvm_bundle, trust=True, library=lambda *_: "not run: nothing does")
    assert (found.ok, found.errors, found.notes) == (True, {}, ("model.so not run: nothing does",))
    found = verify_bundle(tvm_bundle, trust=True)
    assert found.ok
    assert set(found.errors) == {"output"}
    with np.load(tvm_bundle / "golden.npz") as golden:
        wanted = torch.from_numpy(golden["output"])
    found = verify_bundle(tvm_bundle, trust=True, library=lambda *_: lambda batch: {"output": wanted * 1.01})
    assert found.problems == ("output 'output': error 1.00e-02, allowed 1e-04",)


def test_a_model_and_a_library_are_both_verified(bundle: Path) -> None:
    (bundle / "model.so").write_bytes(b"code")
    data = manifest(bundle)
    data["files"]["model.so"] = {}
    (bundle / "manifest.json").write_text(json.dumps(data))
    restate(bundle)
    assert set(verify_bundle(bundle).errors) == {"output"}
    with np.load(bundle / "golden.npz") as golden:
        wanted = torch.from_numpy(golden["output"])
    found = verify_bundle(bundle, trust=True, library=lambda *_: lambda batch: {"output": wanted})
    assert found.ok
    assert set(found.errors) == {"output", "output (model.so)"}
    assert found.errors["output (model.so)"] == 0


def test_objects_that_a_board_links_are_no_model_yet(bundle: Path) -> None:
    for name in ("model.onnx", "model.ort", "model.required_operators.config"):
        (bundle / name).unlink()
    (bundle / "build-model.sh").write_text("g++")
    data = manifest(bundle)
    data["files"] = {"build-model.sh": {}, "golden.npz": {}}
    data.pop("weights", None)
    (bundle / "manifest.json").write_text(json.dumps(data))
    restate(bundle)
    found = verify_bundle(bundle)
    assert found.ok
    assert "nothing is linked yet: sh build-model.sh does it" in str(found)


@pytest.mark.parametrize("value", [None, True, 3, "x", {}, [None], [[1]]])
@pytest.mark.parametrize("key", ["inputs", "outputs"])
def test_tensors_that_are_no_list_of_names(bundle: Path, key: str, value: Any) -> None:
    restate(bundle, **{key: value})
    assert f"`{key}`" in verify_bundle(bundle).problems[0]


def test_a_manifest_that_was_edited_is_told_what_is_wrong(bundle: Path) -> None:
    restate(bundle, inputs=[])
    assert "nothing is given for its input 'x'" in verify_bundle(bundle).problems[0]
    told = weight_bits(bundle / "model.onnx")
    inputs = [{"name": "x", "dtype": "float16", "shape": ["batch", 3, 8, 8]}]
    restate(bundle, weights={**told, "bits_on_disk": 1.58}, inputs=inputs)
    found = verify_bundle(bundle)
    assert [problem.partition(",")[0] for problem in found.problems] == [
        "manifest.json: inputs: 'x' is said to be 'float16'", "manifest.json: weights: bits_on_disk is 1.58"
    ]  # fmt: skip
    assert found.errors["output"] < 1e-5, "what it computes is right"


def test_operators_that_nobody_trusts_are_not_loaded(
    operators_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "runner", lambda *given, **options: pytest.fail("it was run"))
    found = verify_bundle(operators_bundle)
    assert found.ok
    assert found.errors == {}
    assert "model_ops.so is machine code and was not run: --trust runs it" in str(found)
    monkeypatch.undo()
    trusted = verify_bundle(operators_bundle, trust=True)
    assert trusted.ok, trusted.problems
    assert trusted.errors
    broken = Path(shutil.copytree(operators_bundle, tmp_path / "broken"))
    (broken / "model_ops.so").write_bytes(b"no library")
    assert "model_ops.so" in verify_bundle(broken, trust=True).problems[0]  # its hash
    restate(broken)
    assert "cannot load it" in verify_bundle(broken, trust=True).problems[0]
