"""The cut is physical: smaller tensors, the same signature, nothing of the original touched."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
import torch
from exactness import Net, analysed, disagreement
from programs import text
from torch import Tensor, nn

from compressor.errors import PassError
from compressor.graph.capture import capture
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.groups import Dimensions, analyse
from compressor.graph.dimensions.removal import Removal
from compressor.graph.program import Program

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


def halved(dimensions: Dimensions, seed: int = 0) -> Removal:
    chance = random.Random(seed)
    return Removal(dimensions, [u for d in dimensions.dimensions for u in chance.sample(d.units, len(d.units) // 2)])


@pytest.fixture(scope="module")
def words() -> Dimensions:
    return analyse(text())


def test_the_file_shrinks_by_the_bytes_that_are_claimed(words: Dimensions) -> None:
    removal = halved(words)
    smaller = cut(removal)
    assert smaller.unique_bytes() == words.program.unique_bytes() - 4 * removal.parameters()
    assert smaller.parameters() == words.program.parameters() - removal.parameters()


def test_a_saved_program_is_smaller_by_those_bytes(tmp_path: Path) -> None:
    found = analysed(nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 64)), (torch.randn(2, 64),))
    removal = halved(found)
    sizes = []
    for number, program in enumerate((found.program, cut(removal))):
        path = tmp_path / f"{number}.pt2"
        torch.export.save(program.export(), path)
        sizes.append(path.stat().st_size)
    assert 4 * removal.parameters() > 100_000
    assert abs(sizes[0] - sizes[1] - 4 * removal.parameters()) < 10_000  # what pads and describes the tensors


def test_the_original_is_untouched(words: Dimensions) -> None:
    tensors = {name: (tensor, tensor.clone()) for name, tensor in words.program.tensors().items()}
    digest, arguments = words.program.hash(), [str(node.args) for node in words.program.graph.nodes]
    cut(halved(words))
    for name, tensor in words.program.tensors().items():
        assert tensor is tensors[name][0]
        assert torch.equal(tensor, tensors[name][1])
    assert words.program.hash() == digest
    assert [str(node.args) for node in words.program.graph.nodes] == arguments


def test_names_and_signature_stay(words: Dimensions) -> None:
    smaller = cut(halved(words))
    assert smaller.inputs == words.program.inputs
    assert smaller.outputs == words.program.outputs
    assert set(smaller.tensors()) == set(words.program.tensors())
    assert all(
        isinstance(value, nn.Parameter) == isinstance(words.program.get(name), nn.Parameter)
        for name, value in smaller.tensors().items()
    )


def test_what_is_left_works_at_other_sizes_and_exports_again(words: Dimensions) -> None:
    smaller = cut(halved(words))
    again = smaller.export().module()
    for batch, length in ((1, 6), (3, 4), (2, 11)):
        ids = torch.randint(0, 50, (batch, length))
        outputs = smaller.run({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        assert outputs["logits"].shape == (batch, length, 50)
        assert all(bool(value.isfinite().all()) for value in outputs.values())
        if batch > 1:  # torch specializes on one
            torch.testing.assert_close(again(ids, torch.ones_like(ids)), tuple(outputs.values()))


def test_rows_that_stay_are_the_original_ones(words: Dimensions) -> None:
    removal = halved(words)
    smaller = cut(removal)
    for name, axes in words.tensors.items():
        assert torch.equal(smaller.get(name), removal.sliced(words.program.get(name), axes))


class Tied(nn.Module):
    """A table of words that is also the head, and a bias used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.up, self.down = nn.Embedding(20, 6), nn.Linear(6, 8), nn.Linear(8, 6)
        self.head = nn.Linear(6, 20, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.words(x)
        return self.head(y + self.down(self.up(y).relu()))


def test_tied_weights_stay_tied_and_are_sliced_once() -> None:
    found = analysed(Tied(), (torch.randint(0, 20, (2, 5)),))
    (stream,) = (d for d in found.dimensions if len(d.units) == 6)
    smaller = cut(Removal(found, stream.units[:2]))
    shapes = {tuple(tensor.shape) for tensor in smaller.tensors().values()}
    assert (20, 4) in shapes
    assert smaller.parameters() == found.program.parameters() - 2 * (20 + 8 + 8 + 1)
    assert smaller.unique_bytes() == 4 * smaller.parameters()


def test_names_that_share_a_tensor_share_the_smaller_one() -> None:
    program = capture(
        Net(lambda m, x: (x @ m.a) @ m.b + (x @ m.a).tanh() @ m.c, a=(3, 6), b=(6, 2), c=(6, 2)), (X,), static=True
    ).program
    program.module.c = program.module.b
    found = analyse(program)
    smaller = cut(Removal(found, found.dimensions[0].units[:3]))
    assert smaller.get("b").shape == (3, 2)
    assert smaller.get("b").untyped_storage().data_ptr() == smaller.get("c").untyped_storage().data_ptr()


def test_a_cut_of_nothing_computes_the_same(words: Dimensions) -> None:
    same = cut(Removal(words, []))
    assert same.hash() == words.program.hash()
    assert all(same.get(name) is tensor for name, tensor in words.program.tensors().items())


def test_cuts_can_follow_each_other() -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2))
    program: Program = analysed(net, (X,)).program
    for width in (7, 6, 5):
        found = analyse(program)
        removal = Removal(found, [found.dimensions[0].units[0]])
        assert disagreement(removal)[0] < 1e-5
        program = cut(removal)
        assert program.get("0.weight").shape == (width, 3)


def test_an_axis_is_never_left_empty(words: Dimensions) -> None:
    with pytest.raises(PassError, match="left empty"):
        cut(Removal(words, words.dimensions[0].units))


def test_a_wrong_prediction_is_an_error_that_names_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    found = analysed(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)), (X,), static=True)
    removal = Removal(found, found.dimensions[0].units[:2])
    shape = removal.shape
    tanh = next(node for node in found.program.graph.nodes if node.name == "tanh")
    monkeypatch.setattr(removal, "shape", lambda node: (4, 5) if node is tanh else shape(node))
    with pytest.raises(PassError, match="after the cut, not \\(4, 5\\)") as error:
        cut(removal)
    assert error.value.where == "1"
    assert "--keep" in error.value.way_out


def test_order_of_the_units_does_not_matter() -> None:
    found = analysed(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)), (X,), static=True)
    units = found.dimensions[0].units[:3]
    hashes = {cut(Removal(found, order)).hash() for order in itertools.permutations(units)}
    assert len(hashes) == 1
