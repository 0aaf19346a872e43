"""Which weights are layers, which are shared, and every reason why one is left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.edit import begin, finish
from compressor.graph.program import Program
from compressor.passes.sparsifying.layers import find_layers, unfit
from compressor.passes.sparsifying.pattern import parse_pattern


def layers_of(
    module: nn.Module, *example: Tensor, keep: tuple[str, ...] = ()
) -> tuple[Program, list[str], dict[str, str]]:
    program = begin(capture(module.eval(), example).program)
    layers, skips = find_layers(program, keep)
    return program, [layer.name for layer in layers], {skip.site: skip.reason for skip in skips}


class Many(nn.Module):
    """Everything that multiplies by a large weight."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm = nn.Embedding(100, 64), nn.LSTM(64, 64, batch_first=True)
        self.up, self.fc = nn.ConvTranspose1d(64, 64, 2), nn.Linear(64, 32)
        self.right, self.left = nn.Parameter(torch.randn(32, 64)), nn.Parameter(torch.randn(64, 64))

    def forward(self, ids: Tensor) -> Tensor:
        x, _ = self.lstm(self.table(ids))
        x = self.up(x.transpose(1, 2)).transpose(1, 2)
        return self.left @ (self.fc(x) @ self.right).transpose(1, 2)


def test_layers_and_why_others_are_none() -> None:
    _, names, reasons = layers_of(Many(), torch.randint(0, 100, (2, 5)))
    assert names == ["fc", "right"]
    assert reasons["table"] == "an embedding is looked up, not multiplied"
    assert reasons["up"] == "conv_transpose1d has no sparse form"
    assert reasons["lstm.weight_ih_l0"] == "lstm has no sparse form"
    assert reasons["left"] == "matmul has no sparse form"


def test_a_weight_tied_to_an_embedding_stays(text_program: Program) -> None:
    layers, skips = find_layers(begin(text_program))
    reasons = {skip.site: skip.reason for skip in skips}
    assert "its weight is shared with an embedding" in reasons.values()
    assert {layer.name for layer in layers} & {"head", "embed"} == set()


class Twins(nn.Module):
    """One weight under two names, read by three calls; and one whose half another layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.all, self.part = (nn.Linear(32, 32, bias=False) for _ in range(4))
        self.b.weight = self.a.weight
        both = torch.randn(64, 32)
        self.all.weight, self.part.weight = nn.Parameter(both), nn.Parameter(both[:32])

    def forward(self, x: Tensor) -> Tensor:
        return self.all(self.a(self.b(self.a(x)))).sum(-1, keepdim=True) + self.part(x)


def test_shared_weights_stay_shared() -> None:
    program, names, reasons = layers_of(Twins(), torch.randn(4, 32))
    before = program.unique_bytes()
    layer = next(layer for layer in find_layers(program)[0] if layer.name in ("a", "b"))
    assert len(names) == 1
    assert len(layer.nodes) == 3
    assert set(reasons) == {"all", "part"}
    assert all(reason.startswith("its weight is shared with") for reason in reasons.values())
    layer.write(program, torch.zeros(1, 32, 32))
    assert finish(program).unique_bytes() == before
    assert all(not program.get(name).any() for name in layer.weights)


class Shown(nn.Module):
    """Returns its own weight, too."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.fc(x), self.fc.weight


def test_a_weight_that_is_an_output_stays() -> None:
    _, names, reasons = layers_of(Shown(), torch.randn(4, 32))
    assert not names
    assert reasons["fc"] == "its weight is shared with an output"


@pytest.mark.parametrize("glob", ["fc*", "fc.weight", "*"])
def test_kept(glob: str) -> None:
    _, names, reasons = layers_of(Many(), torch.randint(0, 100, (2, 5)), keep=(glob,))
    assert "fc" not in names
    assert reasons["fc"] == "kept, as asked"


@pytest.mark.parametrize(
    ("module", "shape", "pattern", "reason"),
    [
        (nn.Linear(6, 8), (2, 6), "2of4", "its 6 input channels are not a multiple of 4"),
        (nn.Linear(6, 8), (2, 6), "0.5", "an output has only 6 weights"),
        (nn.Conv2d(3, 8, 3), (2, 3, 5, 5), "2of4", "its 3 input channels are not a multiple of 4"),
        (nn.Conv2d(3, 8, 3), (2, 3, 5, 5), "0.5", ""),
        (nn.Conv2d(8, 8, 3, groups=4), (2, 8, 5, 5), "2of4", "its 2 input channels of each group are not a multiple"),
        (nn.Conv2d(8, 8, 3, groups=2), (2, 8, 5, 5), "2of4", ""),
        (nn.Conv2d(8, 8, 3, groups=8), (2, 8, 5, 5), "0.5", "depthwise: an output reads one channel"),
    ],
)  # fmt: skip
def test_what_a_pattern_does_not_fit(module: nn.Module, shape: tuple[int, ...], pattern: str, reason: str) -> None:
    program = capture(module, (torch.randn(shape),)).program
    [layer], _ = find_layers(program)
    found = unfit(program, layer, parse_pattern(pattern, "test"))
    assert found.startswith(reason)
    assert bool(found) == bool(reason)
