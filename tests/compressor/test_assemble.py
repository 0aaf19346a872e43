"""The bundle says how it was made, and how to make it again."""

from __future__ import annotations

import json
from pathlib import Path

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
