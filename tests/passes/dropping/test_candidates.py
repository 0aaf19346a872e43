"""What could go, by unit."""

from __future__ import annotations

from blocks import transformer

from compressor.passes.dropping.candidates import candidates_of


def test_units() -> None:
    program = transformer(2)
    sites = {unit: [each.site for each in candidates_of(program, unit)[0]] for unit in ("block", "mixer", "mlp", "any")}  # type: ignore[arg-type]
    assert sites["block"] == ["layers.0", "layers.1"]
    assert sites["mixer"] == ["layers.0.mixer", "layers.1.mixer"]
    assert sites["mlp"] == ["layers.0.mlp", "layers.1.mlp"]
    assert sites["any"] == ["layers.0.mixer", "layers.0.mlp", "layers.1.mixer", "layers.1.mlp"]


def test_what_overlaps() -> None:
    program = transformer(2)
    blocks, branches = (candidates_of(program, unit)[0] for unit in ("block", "any"))  # type: ignore[arg-type]
    assert branches[0].overlaps(branches[0])
    assert not branches[0].overlaps(branches[1])
    assert not blocks[0].overlaps(blocks[1])


def test_a_kept_layer_keeps_what_it_is_in() -> None:
    found, skipped = candidates_of(transformer(2), "any", ["layers.1.mlp.2"])
    assert [each.site for each in found] == ["layers.0.mixer", "layers.0.mlp", "layers.1.mixer"]
    assert [(skip.site, skip.reason) for skip in skipped] == [("layers.1.mlp", "you asked to keep it")]
