"""A bundle ships entries: written, checked, measured and made again by name."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from bundles import rewritten

from compressor.api import compress
from compressor.devices.artifact import KINDS
from compressor.devices.bench import Limits, bench
from compressor.devices.opening import open_device
from compressor.entries import check_shared, makes_entries
from compressor.errors import InputError, LoadError, RecipeError
from compressor.export.verify import open_bundle, open_entry, verify_bundle
from compressor.outcome import Outcome
from compressor.passlist import parse_passes
from compressor.request import Request
from compressor.targets import load_target

PASSES = "elastic=0.5/0.25:train=12steps:mixes=0"


def made(digits: Path, out: Path, **options: Any) -> Outcome:
    return compress(digits / "model.pt", "x86-64", data=digits / "data.npz", max_drop="10%", out=out, **options)


@pytest.fixture(scope="module")
def bundle(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("elastic") / "digits"
    assert made(digits, out, passes=PASSES).exit_code == 0
    return out


def said(bundle: Path) -> Any:
    return json.loads((bundle / "manifest.json").read_text())


def test_one_set_of_weights_and_an_entry_a_file(bundle: Path) -> None:
    manifest = said(bundle)
    assert {"model.onnx", "model.onnx.data", "model-0.5.onnx", "model-0.25.onnx"} < set(manifest["files"])
    assert "model.ort" not in manifest["files"], "it would hold all weights once more"
    half, quarter = manifest["entries"]
    assert (half["name"], half["file"], half["parameters"]) == ("0.5", "model-0.5.onnx", 24490)
    assert half["bytes"] == (bundle / "model-0.5.onnx").stat().st_size < 12_000
    assert 0 < quarter["predicted"]["latency_ms"] < half["predicted"]["latency_ms"]
    assert set(half["metric"]) == {"accuracy"}
    assert half["error"] < manifest["tolerance"]
    report = json.loads((bundle / "report.json").read_text())
    assert sum("of its own" in note for note in report["notes"]) == 2


def test_verify_runs_every_entry(bundle: Path, tmp_path: Path) -> None:
    found = verify_bundle(bundle)
    assert found.ok
    assert set(found.errors) == {"output", "output (model-0.5.onnx)", "output (model-0.25.onnx)"}
    with np.load(bundle / "golden.npz") as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "golden.npz", **{**arrays, "entries/0.25/output": arrays["output"] + 1})
    off = verify_bundle(rewritten(bundle, tmp_path / "off", "golden.npz", (tmp_path / "golden.npz").read_bytes()))
    assert [problem.split(":")[0] for problem in off.problems] == ["output 'output (model-0.25.onnx)'"]


def test_an_entry_needs_nothing_but_its_file_and_the_weights(bundle: Path, tmp_path: Path) -> None:
    for name in ("model-0.5.onnx", "model.onnx.data"):
        shutil.copy(bundle / name, tmp_path)
    contents = open_entry(bundle, "0.5")
    session = onnxruntime.InferenceSession(str(tmp_path / "model-0.5.onnx"), providers=["CPUExecutionProvider"])
    [scores] = session.run(None, {"x": contents.golden["x"]})
    np.testing.assert_allclose(scores, contents.golden["output"], rtol=1e-3, atol=1e-4)


def test_an_entry_is_a_bundle_of_its_own_to_a_board(bundle: Path, tmp_path: Path) -> None:
    entry = open_entry(bundle, "0.25")
    files = KINDS[0].files(entry, tmp_path, 1, 1)
    assert files["model.onnx"] == bundle / "model-0.25.onnx"
    assert set(files) == {"model.onnx", "model.onnx.data", "golden.npz"}
    with np.load(files["golden.npz"]) as archive:
        assert set(archive) == {"x", "output"}
    assert entry.manifest["predicted"] == said(bundle)["entries"][1]["predicted"]
    with pytest.raises(LoadError, match=r"no entry '0\.3'"):
        open_entry(bundle, "0.3")


def test_bench_measures_entries_beside_the_network(bundle: Path) -> None:
    with open_device("local") as device:
        found = bench(device, [bundle], Limits(seconds=0.01, energy=0.01), entries=["0.25"])
    assert list(found.errors) == ["digits", "digits (entry 0.25)"]
    assert all(error < 1e-4 for errors in found.errors.values() for error in errors.values())


def test_a_bundle_without_entries_says_so(digits_bundle: Path) -> None:
    with pytest.raises(LoadError, match="It ships none"):
        open_entry(digits_bundle, "0.5")
    assert open_bundle(digits_bundle).entry == ""


def test_the_recipe_makes_the_same_files_with_and_without_the_cache(bundle: Path, digits: Path, tmp_path: Path) -> None:
    made(digits, tmp_path / "again", recipe=bundle / "recipe.toml", no_cache=True)
    made(digits, tmp_path / "cached", passes=PASSES)  # the stage is there already
    for out in ("again", "cached"):
        for name in ("model.onnx", "model.onnx.data", "model-0.5.onnx", "model-0.25.onnx", "golden.npz"):
            assert (tmp_path / out / name).read_bytes() == (bundle / name).read_bytes(), (out, name)


def test_nothing_runs_after_it(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="fold would change the network and not its entries"):
        made(digits, tmp_path / "out", passes=f"{PASSES},fold")
    assert not (tmp_path / "out").exists()


def test_what_has_no_place_for_entries_is_refused() -> None:
    target, specs = load_target("x86-64"), parse_passes(PASSES)
    assert makes_entries(specs)
    check_shared(Request("model.pt"), specs, target)
    for options in ({"runtime": "both"}, {"kernels": "custom-op"}, {"pack": True}):
        request = dataclasses.replace(Request("model.pt"), **options)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="share the weights of an ONNX file"):
            check_shared(request, specs, target)
        check_shared(request, parse_passes("fold"), target)
