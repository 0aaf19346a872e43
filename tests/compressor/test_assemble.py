"""The bundle says how it was made, and how to make it again."""

from __future__ import annotations

import html
import json
from pathlib import Path

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
    assert "beside TVM's runtime of" in html.unescape((tvm_bundle / "report.html").read_text())
    assert report["agreement"]["runtime"] == "tvm"
    assert "roofline" in report["predicted_from"]
    assert "--runtime tvm" in (tvm_bundle / "recipe.toml").read_text().splitlines()[0]
    home = str(digits.parent.parent).encode()
    for path in tvm_bundle.iterdir():
        assert home not in path.read_bytes(), path.name
        assert b"/site-packages/" not in path.read_bytes(), path.name
