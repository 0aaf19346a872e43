"""Quantized operators in TVM: rounding to the last bit, products as PyTorch has them, weights in the library once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compiled import needs_tvm, tvm_target
from quantized import tied_int8, with_blocks, with_int8
from torch import nn

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.errors import ExportError
from compressor.export.kernels import isa
from compressor.export.tvm import to_tvm
from compressor.export.tvm_session import TVMSession
from compressor.graph.capture import capture
from compressor.graph.edit import add_tensor, begin, finish, insert, substitute
from compressor.graph.program import Program
from compressor.quant.blocks import BLOCK_FORMATS, quantize_blocks

ops = torch.ops.compressor


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


def program(module: nn.Module, *x: torch.Tensor) -> Program:
    return capture(module.eval(), x).program


def run(given: Program, folder: Path) -> list[torch.Tensor]:
    path = folder / "model.so"
    to_tvm(given, tvm_target(), path)
    return TVMSession(path).run(given.example)


def after(given: Program, axis: int, scale: torch.Tensor, zero: torch.Tensor, bounds: tuple[int, int]) -> Program:
    """What a program yields, quantized and dequantized again."""
    given = begin(given)
    [value] = next(iter(reversed(given.graph.nodes))).args[0]
    end = next(iter(reversed(given.graph.nodes)))
    parts = [add_tensor(given, name, part, end, buffer=True) for name, part in (("s", scale), ("z", zero))]
    args = (value, *parts, *bounds, axis, zero.dtype)
    q = insert(given, ops.quantize.default, args, like=value, before=end)
    made = insert(given, ops.dequantize.default, (q, *parts, axis), like=value, before=end)
    end.replace_input_with(value, made)
    return finish(given)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
def test_values_are_rounded_half_to_even_and_cut_off(dtype: torch.dtype, tmp_path: Path) -> None:
    info = torch.iinfo(dtype)
    zero = torch.tensor(info.min + 100, dtype=dtype)
    x = torch.cat([torch.arange(-400, 400) / 2 * 0.1, torch.randn(1000) * 20, torch.tensor([1e9, -1e9])])
    given = after(program(nn.Identity(), x + 0), 0, torch.tensor(0.1), zero, (info.min, info.max))
    [found] = run(given, tmp_path)
    [wanted] = given.run().values()
    assert torch.equal(found, wanted)


def test_scales_along_an_axis(tmp_path: Path) -> None:
    x, scale, zero = torch.randn(3, 5, 4) * 3, torch.rand(5) + 0.01, torch.arange(-2, 3, dtype=torch.int8)
    given = after(program(nn.Identity(), x), -2, scale, zero, (-100, 90))
    [found] = run(given, tmp_path)
    assert torch.equal(found, *given.run().values())


@pytest.mark.parametrize("integer", [True, False])
def test_products_of_blocks(integer: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(160, 37), nn.Linear(37, 130, bias=False), nn.Linear(130, 5))
    given = program(wide, torch.randn(2, 3, 160))
    for name, format, block in (("linear", "int4", 32), ("linear_1", "int2", 64), ("linear_2", "ternary", 128)):
        given = with_blocks(given, name, format=format, block=block, integer=integer)
    [found] = run(given, tmp_path)
    torch.testing.assert_close(found, *given.run().values(), rtol=1e-4, atol=1e-4)


class Layers(nn.Module):
    """Each kind of layer on inputs of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.few, self.rows = nn.Sequential(nn.Linear(70, 33), nn.ReLU()), nn.Linear(70, 33)
        self.image = nn.Conv2d(8, 9, 3, stride=2, padding=1)
        self.point = nn.Sequential(nn.Conv2d(8, 9, 1), nn.ReLU())
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.line = nn.Conv1d(6, 9, 3, padding=2, dilation=2)

    def forward(self, rows: torch.Tensor, image: torch.Tensor, line: torch.Tensor) -> tuple[torch.Tensor, ...]:
        several = self.rows(rows[None].expand(2, -1, -1))
        return self.few(rows), several, self.image(image), self.point(image), self.deep(image), self.line(line)


def test_layers_in_whole_numbers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = program(Layers(), torch.rand(5, 70), torch.rand(2, 8, 9, 8), torch.rand(2, 6, 17))
    layers = [node.name for node in plain.nodes() if node.name.startswith(("linear", "conv"))]
    assert len(layers) == 6
    given = with_int8(plain, *layers, output=False)
    for found, wanted in zip(run(given, tmp_path), given.run().values(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


class Tied(nn.Module):
    """A table that is the output layer, too."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4096, 64)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.table(ids), self.table.weight)


def test_a_table_tied_to_a_product_lies_in_the_library_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = program(Tied(), torch.randint(0, 4096, (2, 3))).copy()
    blocks = quantize_blocks(given.get("table.weight").detach(), BLOCK_FORMATS["int4"], 64)
    numbers = (4, 64, 64)
    table, product = (next(n for n in given.nodes() if n.name == name) for name in ("embedding", "linear"))
    parts = {"codes": blocks.packed, "scales": blocks.scales}
    codes, scales = (add_tensor(given, name, part, table, buffer=True) for name, part in parts.items())
    rows = insert(given, ops.embedding_blocks.default, (codes, table.args[1], scales, *numbers), like=table)
    substitute(given, table, rows)
    args = (rows, codes, scales, None, *numbers, True)
    substitute(given, product, insert(given, ops.linear_blocks.default, args, like=product))
    given = finish(given)
    [found] = run(given, tmp_path)
    torch.testing.assert_close(found, *given.run().values(), rtol=1e-4, atol=1e-5)
    stored = sum(part.numel() * part.element_size() for part in parts.values())
    assert (tmp_path / "model.so").stat().st_size < 1.5 * stored + 100_000


def test_a_table_of_bytes_tied_to_a_product_lies_in_the_library_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = tied_int8(program(Tied(), torch.randint(0, 4096, (2, 3))))
    [found] = run(given, tmp_path)
    torch.testing.assert_close(found, *given.run().values(), rtol=1e-5, atol=1e-5)
    assert (tmp_path / "model.so").stat().st_size < 1.5 * 4096 * (64 + 4) + 100_000


def test_without_kernels_for_the_processor_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isa, "best_isa", lambda features: None)
    given = with_int8(program(nn.Linear(16, 4), torch.rand(2, 16)), "linear", output=False)
    with pytest.raises(ExportError, match="no kernels for this processor"):
        run(given, tmp_path)
    assert not list(tmp_path.iterdir())
