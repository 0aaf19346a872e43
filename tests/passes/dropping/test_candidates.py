"""What could go, by unit."""

from __future__ import annotations

import torch
from blocks import captured, transformer
from torch import Tensor, nn

from compressor.passes.dropping.candidates import Candidate, candidates_of


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
    mlp = Candidate("layers.0.mlp", "mlp", blocks[0].block, blocks[0].block.branches[1])
    assert blocks[0].overlaps(mlp)
    assert mlp.overlaps(blocks[0])
    assert not mlp.overlaps(blocks[1])


def test_a_kept_layer_keeps_what_it_is_in() -> None:
    found, skipped = candidates_of(transformer(2), "any", ["layers.1.mlp.2"])
    assert [each.site for each in found] == ["layers.0.mixer", "layers.0.mlp", "layers.1.mixer"]
    assert [(skip.site, skip.reason) for skip in skipped] == [("layers.1.mlp", "you asked to keep it")]


def test_a_candidate_s_parameters_are_those_that_nothing_else_reads() -> None:
    mixer, mlp, *_ = candidates_of(transformer(2), "any")[0]
    assert set(mixer.parameters) == {
        f"layers.0.{name}.{leaf}" for name in ("attention.qkv", "attention.out", "one") for leaf in ("weight", "bias")
    }
    assert set(mixer.nodes).isdisjoint(mlp.nodes)


def test_a_branch_that_is_an_output_stays() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            terms = []
            for layer in self.layers:
                terms.append(layer(x).tanh())
                x = x + terms[-1]
            return x, terms[1]

    found, skipped = candidates_of(captured(Net(), torch.randn(2, 6, 8)), "any")
    assert [each.site for each in found] == ["layers.0.mlp", "layers.2.mlp"]
    assert [skip.site for skip in skipped] == ["layers.1.mlp"]
    assert "is computed inside of it" in skipped[0].reason
