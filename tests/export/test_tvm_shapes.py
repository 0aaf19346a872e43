"""Decoders with a cache as machine code: at any length of past and text they give what PyTorch gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from compiled import needs_tvm, tvm_target
from decoders import VOCABULARY, Windowed, llama, program_of, tiny_decoder
from torch import Tensor, nn

from compressor.errors import UnsupportedError
from compressor.export.tvm import to_tvm
from compressor.export.tvm_session import tvm_runner
from compressor.graph.capture import capture, from_exported
from compressor.graph.contract import Context
from compressor.graph.kv_cache import going_on, next_past, with_past
from compressor.graph.program import Program
from compressor.graph.quiet import quiet
from compressor.passes.quantize import Quantize

Run = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


@pytest.fixture(autouse=True)
def _tvm() -> None:
    needs_tvm()


def compiled(program: Program, folder: Path) -> Run:
    path = folder / "model.so"
    to_tvm(program, tvm_target(), path)
    return tvm_runner(path, *([spec.name for spec in specs] for specs in (program.inputs, program.outputs)))


def text(program: Program, length: int, rows: int = 2) -> dict[str, Tensor]:
    ids = torch.randint(1, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(length))
    given = {program.inputs[0].name: ids, "attention_mask": torch.ones_like(ids)}
    return {spec.name: given[spec.name] for spec in program.inputs if spec.name in given}


def agrees(program: Program, run: Run, batch: Mapping[str, Tensor], tolerance: float = 1e-4) -> None:
    found, wanted = run(batch), program.run(batch)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("quantized", [pytest.param(False, marks=pytest.mark.slow), True])
def test_grouped_queries_rotary_places_and_a_mask(tmp_path: Path, quantized: bool) -> None:
    program = program_of(llama(layers=1))
    if quantized:
        how = Quantize("ternary", block=32, solver="mse", equalize="none", bias="none", slower=True)
        program = how.run(program, Context(tvm_target())).program
    run = compiled(program, tmp_path)
    tolerance = 1e-2 if quantized else 1e-4  # a rounding may fall to the other side
    for past in (0, 1, 5, 40):
        for length in (1, 7):
            batch = text(program, past + length)
            batch = going_on(program, batch, past) if past else dict(with_past(program.inputs, batch))
            agrees(program, run, batch, tolerance)
    agrees(program, run, with_past(program.inputs, text(program, 9, rows=1)), tolerance)


def test_32_tokens_one_after_the_other(tmp_path: Path) -> None:
    program = tiny_decoder()
    run = compiled(program, tmp_path)
    batch = with_past(program.inputs, text(program, 5))
    for _ in range(32):
        found, wanted = run(batch), program.run(batch)
        best = wanted["logits"][:, -1].argmax(-1, keepdim=True)
        assert torch.equal(found["logits"][:, -1].argmax(-1, keepdim=True), best)
        batch = {"ids": best, **next_past(found)}


def test_places_that_a_table_does_not_have_are_no_numbers(tmp_path: Path) -> None:
    program = tiny_decoder()
    run = compiled(program, tmp_path)
    scores = {
        n: run(with_past(program.inputs, {"ids": torch.ones(1, n, dtype=torch.int64)}))["logits"] for n in (64, 65)
    }
    assert bool(scores[64].isfinite().all())
    assert bool(scores[65][:, 64].isnan().all()), "the table has 64"


def test_a_table_of_whole_numbers(tmp_path: Path) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.arange(20, dtype=torch.int8).reshape(10, 2))

        def forward(self, ids: Tensor) -> Tensor:
            return nn.functional.embedding(ids, self.table).float()

    program = capture(Whole().eval(), (torch.tensor([[1, 9, 0]]),)).program
    agrees(program, compiled(program, tmp_path), {program.inputs[0].name: torch.tensor([[3, 0, 7]])})


@pytest.mark.parametrize("how", ["cut", "max"])
def test_a_cache_that_is_cut_to_a_window(how: str, tmp_path: Path) -> None:
    program = program_of(Windowed(5, how).eval(), mask=False, name="ids")
    run = compiled(program, tmp_path)
    for length in (1, 3, 5, 9):
        agrees(program, run, with_past(program.inputs, text(program, length)))
        agrees(program, run, going_on(program, text(program, length + 3), 3))


class Sizes(nn.Module):
    """Operators that take sizes in other places than a decoder's."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        n = x.shape[1]
        joined = torch.cat([x, y, x], 1)
        counted = torch.arange(2, 2 + 3 * n, 3)
        return joined * n, joined[:, 1 : n + 1 : 2], x + counted, torch.full((n, y.shape[1]), 2.5), y[:, -2:]


def test_sizes_as_values_steps_and_lengths(tmp_path: Path) -> None:
    example = torch.rand(4, 6), torch.rand(4, 5)
    batch, n, m = (torch.export.Dim(name, min=4) for name in ("batch", "n", "m"))
    with quiet():
        exported = torch.export.export(Sizes().eval(), example, dynamic_shapes=({0: batch, 1: n}, {0: batch, 1: m}))
    program = from_exported(exported, synthetic=True)
    run = compiled(program, tmp_path)
    for rows, first, second in ((4, 6, 5), (5, 5, 9), (4, 9, 5)):
        agrees(program, run, {"x": torch.rand(rows, first), "y": torch.rand(rows, second)})


class Ends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("places", torch.tensor([0, -1, 2]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.layer(x)
        return y[:, -1], y[..., -3], y[:, self.places], y[:, self.places, self.places], y.unbind(2)[-1]


@pytest.mark.parametrize("length", [3, 5])  # with one dynamic size, and with two
def test_places_counted_from_the_end(tmp_path: Path, length: int) -> None:
    program = capture(Ends().eval(), (torch.randn(2, length, 4),), static=length == 3).program
    run = compiled(program, tmp_path)
    agrees(program, run, {program.inputs[0].name: torch.randn(2, length, 4)})


class First(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :1].expand(-1, 3, -1), x - x[:, -1:]


def test_a_single_place_of_a_dynamic_axis_is_spread(tmp_path: Path) -> None:
    program = capture(First(), (torch.randn(2, 6, 4),)).program
    assert program.inputs[0].shape[1] == "sequence"
    run = compiled(program, tmp_path)
    for length in (6, 2, 9):
        agrees(program, run, {program.inputs[0].name: torch.randn(3, length, 4)})


class Least(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


@pytest.mark.parametrize("static", [False, True])
def test_an_operator_that_tvm_lacks_is_named(tmp_path: Path, static: bool) -> None:
    program = capture(Least(), (torch.randn(2, 6, 4),), static=static).program
    with pytest.raises(UnsupportedError, match="special_bessel_j0") as told:
        compiled(program, tmp_path)
    assert "Leave --runtime out" in told.value.way_out
