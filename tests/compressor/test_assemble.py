"""The bundle says how it was made, and how to make it again."""

from __future__ import annotations

import html
import json
from pathlib import Path

import torch
from compiled import needs_tvm

from compressor.api import compress
from compressor.export.verify import verify_bundle
from compressor.recipe import load_recipe


def test_the_recipe_is_pinned_site_by_site(digits_bundle: Path) -> None:
    recipe = load_recipe(digits_bundle / "recipe.toml")
    assert recipe.target == "web-wasm"
    assert [spec.name for spec in recipe.passes] == ["fold", "quantize"]
    assert all(spec.sites for spec in recipe.passes)


def test_the_manifest_covers_every_other_file(digits_bundle: Path) -> None:
    manifest = json.loads((digits_bundle / "manifest.json").read_text())
    assert set(manifest["files"]) == {path.name for path in digits_bundle.iterdir()} - {"manifest.json"}
    assert manifest["runtime"]["name"] == "onnxruntime-web"
    assert manifest["versions"]["torch"]
    assert manifest["seed"] == 0


def test_nothing_in_the_bundle_names_this_machine(digits_bundle: Path, digits: Path) -> None:
    home = str(digits.parent.parent).encode()
    for path in digits_bundle.iterdir():
        assert home not in path.read_bytes(), path.name


def test_the_manifest_and_the_report_say_what_making_it_took(digits_bundle: Path) -> None:
    manifest = json.loads((digits_bundle / "manifest.json").read_text())
    report = json.loads((digits_bundle / "report.json").read_text())
    assert manifest["making"] == report["making"]
    assert manifest["making"]["cpu_seconds"] > 0
    assert manifest["making"]["joules"] > 0
    assert manifest["making"]["source"].startswith(("measured: ", "estimated: "))
    assert "power" not in manifest  # nobody knows what a browser runs on
    assert report["after"]["energy"] is None
    assert report["break_even"] is None
    assert report["carbon"]["source"].startswith("assumed: ")


def test_a_bundle_of_both_holds_a_model_and_a_library_of_the_same_program(both_bundle: Path) -> None:
    manifest = json.loads((both_bundle / "manifest.json").read_text())
    assert {"model.onnx", "model.ort", "model.so"} <= set(manifest["files"])
    assert manifest["runtime"]["name"] == "onnxruntime"
    assert [done["name"] for done in manifest["passes"]] == ["fold", "quantize"]
    report = json.loads((both_bundle / "report.json").read_text())
    assert report["agreement"]["runtime"] == "onnxruntime"
    assert report["library"] == manifest["library"]
    assert report["library"]["error"] < 0.02
    assert manifest["library"]["bytes"] == manifest["files"]["model.so"]["bytes"]
    assert "--runtime both" in (both_bundle / "recipe.toml").read_text().splitlines()[0]
    found = verify_bundle(both_bundle, trust=True)
    assert found.ok
    assert set(found.errors) == {"output", "output (model.so)"}


def test_a_bundle_of_tvm_holds_its_library_and_says_what_it_was_compiled_for(tvm_bundle: Path, digits: Path) -> None:
    manifest = json.loads((tvm_bundle / "manifest.json").read_text())
    expected = {"model.so", "golden.npz", "recipe.toml", "report.json", "report.html"}
    assert set(manifest["files"]) == expected
    version = manifest["versions"]["apache-tvm"]
    assert manifest["runtime"] == {"name": "tvm", "version": version, "processor": "x86-64-v3"}
    assert "predicted" not in manifest, "what is learned of latency is of ONNX Runtime"
    report = json.loads((tvm_bundle / "report.json").read_text())
    library = manifest["library"]
    assert report["library"] == library
    assert library["bytes"] == manifest["files"]["model.so"]["bytes"]
    assert library["runtime_bytes"] > 10**6
    assert library["load_ms"] > 0
    assert (library["checked"], library["triple"]) == ("on this machine", "x86_64-linux-gnu")
    assert library["features"] == []
    assert "beside TVM's runtime of" in html.unescape((tvm_bundle / "report.html").read_text())
    assert report["agreement"]["runtime"] == "tvm"
    assert "roofline" in report["predicted_from"]
    assert "--runtime tvm" in (tvm_bundle / "recipe.toml").read_text().splitlines()[0]
    home = str(digits.parent.parent).encode()
    for path in tvm_bundle.iterdir():
        assert home not in path.read_bytes(), path.name
        assert b"/site-packages/" not in path.read_bytes(), path.name


def test_a_bundle_with_operators_of_its_own_says_what_computes_where(operators_bundle: Path, digits: Path) -> None:
    manifest = json.loads((operators_bundle / "manifest.json").read_text())
    expected = {"model.onnx", "model_ops.so", "golden.npz", "recipe.toml", "report.json", "report.html"}
    assert set(manifest["files"]) == expected
    assert manifest["runtime"]["name"] == "onnxruntime"
    assert manifest["runtime"]["kernels"] == "custom-op"
    assert manifest["runtime"]["processor"] == "x86-64-v3"
    assert manifest["operators"]["features"] == []
    assert manifest["weights"]["formats"]["int2"] == {
        "weights": 256 * 256 + 64 * 256, "bits_on_disk": 2.25, "bits_in_memory": 2.25
    }  # fmt: skip
    assert "predicted" not in manifest, "what is learned of latency is of ONNX Runtime's own kernels"
    report = json.loads((operators_bundle / "report.json").read_text())
    assert report["agreement"]["runtime"] == "onnxruntime with model_ops.so"
    assert any(note.startswith("kernels: 2 layers compute in model_ops.so") for note in report["notes"])
    assert any("model.ort is left out" in note for note in report["notes"])
    sizes = [(operators_bundle / name).stat().st_size for name in ("model.onnx", "model_ops.so")]
    assert report["after"]["file_bytes"] == sum(sizes)
    assert "--kernels custom-op" in (operators_bundle / "recipe.toml").read_text().splitlines()[0]
    home = str(digits.parent.parent).encode()
    for path in operators_bundle.iterdir():
        assert home not in path.read_bytes(), path.name


def test_operators_that_nothing_needs_are_left_out_with_a_note(tmp_path: Path) -> None:
    needs_tvm()
    out = tmp_path / "out"
    compress(torch.nn.Linear(8, 4), "x86-64", inputs=["1x8"], passes="none", kernels="custom-op", out=out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert "model_ops.so" not in manifest["files"]
    assert manifest["runtime"]["kernels"] == "portable"
    assert any("there is no library" in note for note in json.loads((out / "report.json").read_text())["notes"])
