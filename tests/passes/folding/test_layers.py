"""Layers of every kind seen alike: their channels, padding, tensors and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.passes.folding.layers import Affine, Layer, layer_of
from compressor.passes.folding.rule import Bench


def only_layer(module: nn.Module, shape: tuple[int, ...], **options: Any) -> tuple[Bench, Layer]:
    bench = Bench(edit.begin(capture(module, (torch.randn(shape),), static=True).program), **options)
    (layer,) = [layer for node in bench.program.nodes() if (layer := layer_of(bench, node)) is not None]
    return bench, layer


CASES = [
    (nn.Linear(6, 4), (2, 6), 1, False),
    (nn.Linear(6, 4, bias=False), (2, 3, 6), 2, False),
    (nn.Conv1d(4, 6, 3, groups=2), (2, 4, 9), 1, False),
    (nn.Conv2d(4, 6, (3, 1), padding=(0, 1)), (2, 4, 9, 9), 1, True),
    (nn.Conv2d(4, 6, 3, padding="same", bias=False), (4, 9, 9), 0, True),
    (nn.Conv2d(4, 6, 3, padding="valid"), (2, 4, 9, 9), 1, False),
    (nn.Conv3d(2, 4, 2, groups=2), (2, 2, 5, 5, 5), 1, False),
    (nn.ConvTranspose1d(4, 6, 3, groups=2), (2, 4, 9), 1, False),
    (nn.ConvTranspose2d(4, 6, 3, padding=1), (2, 4, 9, 9), 1, True),
    (nn.ConvTranspose3d(2, 4, 2), (1, 2, 4, 4, 4), 1, False),
]


@pytest.mark.parametrize(("module", "shape", "axis", "padded"), CASES, ids=str)
def test_scaling_outputs_and_inputs(module: nn.Module, shape: tuple[int, ...], axis: int, padded: bool) -> None:
    bench, layer = only_layer(module, shape)
    assert (layer.axis, layer.is_padded) == (axis, padded)
    x = bench.program.example[0]
    original = bench.program.run()["output"].double()
    weight, _ = layer.tensors(bench)
    outputs, inputs = weight.shape[0] * weight.shape[1], weight.shape[0] * weight.shape[2]

    def along(vector: torch.Tensor) -> torch.Tensor:
        return vector.view([-1 if dim == axis else 1 for dim in range(x.dim())])

    scale, shift = torch.rand(outputs).double() + 0.5, torch.randn(outputs).double()
    assert layer.scale_outputs(bench, Affine(scale, shift)) is None
    done = edit.finish(bench.program)
    assert torch.allclose(done.run()["output"].double(), original * along(scale) + along(shift), atol=1e-5)

    bench, layer = only_layer(module, shape)
    factor = torch.rand(inputs).double() + 0.5
    assert layer.accepts(bench, Affine(factor)) is None
    layer.scale_inputs(bench, Affine(factor))
    scaled = edit.finish(bench.program).run([(x.double() / along(factor)).float()])["output"].double()
    want = module(x).double()
    assert torch.allclose(scaled, want, atol=1e-5)


def test_shapes_of_the_common_form() -> None:
    bench, layer = only_layer(nn.ConvTranspose2d(4, 6, 3, groups=2), (2, 4, 9, 9))
    weight, bias = layer.tensors(bench)
    assert weight.shape == (2, 3, 2, 9)
    assert bias is not None
    assert bias.shape == (6,)
    before = bench.program.get("weight").clone()
    layer.store(bench, weight, None)
    assert torch.equal(bench.program.get("weight"), before)


def test_large_weights_are_scaled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.passes.folding.layers._PART", 50)
    bench, layer = only_layer(nn.Conv2d(4, 10, 3, groups=2), (2, 4, 9, 9))
    original = bench.program.run()["output"]
    scale = torch.rand(10, dtype=torch.float64)
    assert layer.scale_outputs(bench, Affine(scale, scale)) is None
    both = Affine(torch.rand(4, dtype=torch.float64) + 0.5, torch.rand(4, dtype=torch.float64))
    layer.scale_inputs(bench, both)
    assert both.scale is not None
    assert both.shift is not None
    x = ((bench.program.example[0] - both.shift.view(4, 1, 1)) / both.scale.view(4, 1, 1)).float()
    done = edit.finish(bench.program).run([x])["output"]
    assert torch.allclose(done, (original * scale.view(10, 1, 1) + scale.view(10, 1, 1)).float(), atol=1e-5)


def test_what_it_refuses() -> None:
    shift = Affine(shift=torch.ones((), dtype=torch.float64))
    bench, layer = only_layer(nn.Conv2d(4, 6, 3, padding=1), (2, 4, 9, 9))
    assert "padding would not be shifted" in (layer.accepts(bench, shift) or "")
    assert layer.accepts(bench, Affine(shift=torch.zeros(4, dtype=torch.float64))) is None, "a shift by zero is none"
    bench, layer = only_layer(nn.ConvTranspose2d(4, 6, 3), (2, 4, 9, 9))
    assert "transposed" in (layer.accepts(bench, shift) or "")
    bench, layer = only_layer(nn.Linear(3, 3), (2, 3), keep=("weight",))
    assert "kept as asked" in (layer.scale_outputs(bench, shift) or "")


def test_a_computed_weight_is_no_layer() -> None:
    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x, self.weight * x.mean())

    bench = Bench(capture(Normalized(), (torch.randn(2, 3),)).program)
    assert all(layer_of(bench, node) is None for node in bench.program.nodes())
    assert layer_of(bench, None) is None


def test_an_affine_map_knows_its_channels() -> None:
    one = torch.ones(3, dtype=torch.float64)
    assert Affine(one, one).is_finite
    assert not Affine(one / 0).is_finite
    assert Affine().is_finite
