"""Weights as codes: accuracy, the bias's unit, tied tensors, embeddings that convert only the rows they read."""

from __future__ import annotations

import pytest
import torch
from boards import board
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.contract import Context, Setting
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.codes.weights import matrix_of
from compressor.passes.quantizing.sites import find_layers

WEIGHTS: Setting = {"format": "int8"}
STATIC: Setting = {"format": "int8", "weights": "int8", "activation": "uint8", "low": -4.0, "high": 4.0}
IDS = torch.randint(0, 60, (2, 5), generator=torch.Generator().manual_seed(0))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(60, 16)
        self.head = nn.Linear(16, 60, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embed(ids)))


def quantized(model: nn.Module, sites: dict[str, Setting], *inputs: Tensor) -> tuple[Program, Program]:
    program = capture(model, inputs).program
    return program, Quantize(sites=sites).run(program, Context(board())).program


def relative(ours: Program, theirs: Program) -> float:
    a, b = (next(iter(p.run().values())) for p in (ours, theirs))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(16, 24), (3, 16)),
        (nn.Linear(16, 24), (3, 5, 16)),
        (nn.Conv1d(16, 24, 3), (3, 16, 7)),
        (nn.Conv2d(16, 24, 3, groups=4), (3, 16, 7, 7)),
        (nn.Conv2d(16, 24, 3, padding="same", bias=False), (3, 16, 7, 7)),
        (nn.Conv3d(16, 24, 2), (3, 16, 4, 4, 4)),
        (nn.ConvTranspose1d(16, 24, 3), (3, 16, 7)),
        (nn.ConvTranspose2d(16, 24, 3, groups=2, stride=2), (3, 16, 7, 7)),
    ],
    ids=str,
)
def test_every_layer_with_weights_alone(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    before, after = quantized(nn.Sequential(layer), {"0": WEIGHTS}, torch.randn(shape))
    assert after.tensors()["0.weight"].dtype == torch.int8
    assert 0.0 < relative(after, before) < 0.01


@pytest.mark.parametrize(("shape", "bias_kind"), [((3, 16), torch.int32), ((3, 5, 16), torch.float32)])
def test_a_bias_is_counted_in_the_accumulators_unit(shape: tuple[int, ...], bias_kind: torch.dtype) -> None:
    torch.manual_seed(0)
    before, after = quantized(nn.Sequential(nn.Linear(16, 24)), {"0": STATIC}, torch.randn(shape))
    tensors = after.tensors()
    (bias,) = (t for name, t in tensors.items() if name in ("0.bias", "0.bias_int32"))
    assert bias.dtype == bias_kind
    if bias_kind == torch.int32:
        assert torch.equal(tensors["0.bias_scale"], tensors["0.input_scale"] * tensors["0.weight_scale"])
    assert 0.0 < relative(after, before) < 0.03


def test_a_large_bias_behind_vanishing_weights_fits_the_accumulator() -> None:
    layer = nn.Conv2d(4, 2, 1)
    with torch.no_grad():
        layer.weight[0] = 1e-20  # a dead channel, as batch norms leave them
        layer.bias.copy_(torch.tensor([3.0, 0.5]))
    before, after = quantized(nn.Sequential(layer), {"0": STATIC}, torch.randn(1, 4, 3, 3))
    assert int(after.tensors()["0.bias_int32"].abs().max()) <= 2**30
    assert torch.allclose(next(iter(after.run().values()))[:, 0], torch.tensor(3.0), atol=1e-3)
    assert relative(after, before) < 0.02


@pytest.mark.parametrize("head", [WEIGHTS, STATIC], ids=["weights", "static"])
def test_tied_weights_share_one_integer_tensor(head: Setting) -> None:
    torch.manual_seed(0)
    before, after = quantized(Tied(), {"embed": WEIGHTS, "head": head}, IDS)
    integers = {t.data_ptr() for t in after.tensors().values() if t.dtype == torch.int8 and t.dim() == 2}
    assert len(integers) == 1
    assert after.unique_bytes() < 0.4 * before.unique_bytes()
    assert 0.0 < relative(after, before) < 0.03


def test_the_pass_gives_tied_layers_one_weight_format() -> None:
    program = capture(Tied(), (IDS,)).program
    result = Quantize(max_error=9.0).run(program, Context(board(), calibration=[{"ids": IDS}]))
    assert {setting["weights"] for setting in result.settings.values() if "weights" in setting} == {"int7"}
    assert sum(t.dtype == torch.int8 and t.dim() == 2 for t in result.program.tensors().values()) == 1


def test_an_embedding_converts_only_the_rows_it_reads() -> None:
    torch.manual_seed(0)
    before, after = quantized(Tied(), {"embed": WEIGHTS}, IDS)
    tables = [node for node in after.nodes() if str(node.target) == "aten.embedding.default"]
    assert {tuple(node.meta["val"].shape[2:]) for node in tables} == {(16,), (1,)}
    assert not any("dequantize" in str(node.target) for node in after.nodes())
    assert 0.0 < relative(after, before) < 0.01


def test_a_layer_called_twice_is_written_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(functional.relu(self.linear(x)))

    torch.manual_seed(0)
    before, after = quantized(Twice(), {"linear": STATIC}, torch.randn(4, 8))
    assert sum(t.dtype == torch.int8 and t.dim() == 2 for t in after.tensors().values()) == 1
    assert 0.0 < relative(after, before) < 0.05


def test_a_float_layer_takes_the_codes_of_what_it_is_tied_to() -> None:
    program = capture(Tied(), (IDS,)).program
    result = Quantize(max_error=1e-9).run(program, Context(board(), calibration=[{"ids": IDS}]))
    assert any("stays float" in skip.reason for skip in result.skipped)
    assert {setting["weights"] for setting in result.settings.values() if "weights" in setting} == {"int8"}
    assert result.program.unique_bytes() < program.unique_bytes()


def test_a_weight_as_a_matrix_has_a_row_an_output() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.point, self.last = nn.Conv2d(3, 4, 1), nn.Parameter(torch.randn(4, 5))

        def forward(self, x: Tensor) -> Tensor:
            return self.point(x).mean((2, 3)) @ self.last

    torch.manual_seed(0)
    program = capture(Product().eval(), (torch.randn(2, 3, 4, 4),)).program
    point, last = find_layers(program)[0]
    assert torch.equal(matrix_of(program, point), program.get("point.weight").flatten(1))
    assert torch.equal(matrix_of(program, last), program.get("last").T)


class Turned(nn.Module):
    """A feed-forward block whose second matrix is the first one's transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(16, 24)
        self.down = nn.Parameter(torch.zeros(16))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.down, functional.relu(self.up(x)), self.up.weight)


@pytest.mark.parametrize("setting", [WEIGHTS, STATIC])
def test_rows_and_columns_of_one_matrix_share_codes_and_one_scale(setting: Setting) -> None:
    torch.manual_seed(0)
    program = capture(Turned(), (torch.randn(3, 16),)).program
    names = [layer.name for layer in find_layers(program)[0]]
    assert len(names) == 2
    done = Quantize(sites=dict.fromkeys(names, setting)).run(program, Context(board())).program
    tensors = done.tensors()
    codes = [name for name, tensor in tensors.items() if tensor.dtype == torch.int8 and tensor.dim() == 2]
    assert codes == ["up.weight"]
    scales = [tensor for name, tensor in tensors.items() if name.startswith("up.weight_scale")]
    assert sorted(len(scale) for scale in scales) == [16, 24]
    assert len(torch.cat(scales).unique()) == 1
    assert relative(done, program) < 0.03
