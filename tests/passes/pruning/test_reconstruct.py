"""Reconstruction: the least-squares solution, and accuracy that comes back without training."""

from __future__ import annotations

import torch
from recovery import accuracy, digits_batches, digits_program
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Progress
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.groups import analyse
from compressor.graph.dimensions.removal import Removal
from compressor.passes.pruning.reconstruct import reconstruct


class Twice(nn.Module):
    """The second half of the hidden units repeats the first: half of them can go without loss."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up: nn.Module = nn.Linear(6, 8) if kind == "linear" else nn.Conv2d(3, 8, 3, padding=1)
        self.down: nn.Module = nn.Linear(8, 3) if kind == "linear" else nn.Conv2d(8, 3, 3, stride=2)
        with torch.no_grad():
            self.up.weight[4:], self.up.bias[4:] = self.up.weight[:4], self.up.bias[:4]  # type: ignore[index, operator]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.up(x).relu())
        return y


def test_what_repeats_can_go_without_loss() -> None:
    for kind, x in (("linear", torch.randn(64, 6)), ("conv", torch.randn(16, 3, 9, 9))):
        program = capture(Twice(kind), (x,)).program
        dimensions = analyse(program)
        [dimension] = dimensions.dimensions
        removal = Removal(dimensions, dimension.units[4:])
        smaller = cut(removal)
        fitted = reconstruct(removal, smaller, [{"x": x}], Progress())
        wanted = program.run([x])["output"]
        lost = float((smaller.run([x])["output"] - wanted).norm() / wanted.norm())
        left = float((fitted.run([x])["output"] - wanted).norm() / wanted.norm())
        assert lost > 0.2
        assert left < 0.02  # the ridge holds it off zero


def test_accuracy_comes_back_without_labels_or_training() -> None:
    program = digits_program()
    dimensions = analyse(program)
    removal = Removal(dimensions, [unit for d in dimensions.dimensions for unit in d.units[::2]])
    smaller = cut(removal)
    fitted = reconstruct(removal, smaller, digits_batches(), Progress())
    assert accuracy(smaller) < 0.6
    assert accuracy(fitted) > 0.93
    assert fitted.parameters() == smaller.parameters()


def test_the_cut_program_is_not_written_to() -> None:
    dimensions = analyse(digits_program())
    removal = Removal(dimensions, dimensions.dimensions[0].units[:8])
    smaller = cut(removal)
    before = smaller.hash()
    reconstruct(removal, smaller, digits_batches()[:1], Progress())
    assert smaller.hash() == before


def test_layers_before_the_cut_keep_their_weights() -> None:
    program = digits_program()
    dimensions = analyse(program)
    last = dimensions.dimensions[-1]
    fitted = reconstruct(
        removal := Removal(dimensions, last.units[:4]), smaller := cut(removal), digits_batches()[:1], Progress()
    )
    old, cuts, new = program.tensors(), smaller.tensors(), fitted.tensors()
    same = [name for name in new if name.endswith("weight") and torch.equal(new[name], old.get(name, new[name][:0]))]
    assert len(same) >= 2
    assert any(not torch.equal(new[name], cuts[name]) for name in new)


def test_same_padding_is_read_as_it_is_computed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding="same"),
        nn.ReLU(),
        nn.Conv2d(16, 16, (3, 5), padding="same", dilation=2),
        nn.ReLU(),
        nn.Conv2d(16, 4, 3, padding="valid"),
    ).eval()
    x = torch.randn(32, 3, 8, 8)
    program, wanted = capture(model, (x,)).program, model(x).detach()
    dimensions = analyse(program)
    removal = Removal(dimensions, [unit for one in dimensions.dimensions for unit in one.units[10:]])
    smaller, batch = cut(removal), {program.inputs[0].name: x}
    fitted = reconstruct(removal, smaller, [batch], Progress())
    errors = [
        float((next(iter(p.run(batch).values())) - wanted).square().mean()) for p in (fitted, smaller)
    ]  # fmt: skip
    assert errors[0] < 0.5 * errors[1]


def test_one_sample_fits_nothing() -> None:
    x = torch.randn(1, 6)
    program = capture(Twice("linear"), (torch.randn(4, 6),)).program
    dimensions = analyse(program)
    removal = Removal(dimensions, dimensions.dimensions[0].units[2:6])
    smaller = cut(removal)
    fitted = reconstruct(removal, smaller, [{"x": x}], Progress())
    assert all(torch.equal(fitted.get(name), tensor) for name, tensor in smaller.tensors().items())
