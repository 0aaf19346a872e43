"""Half precision: what stays float32, constants out of range, masks, and weights that do not fit."""

from __future__ import annotations

import pytest
import torch
from boards import board
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.contract import Context, PassResult
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize

CONTEXT = Context(board())


def half(model: nn.Module, *inputs: Tensor) -> tuple[Program, PassResult]:
    program = capture(model, inputs).program
    return program, Quantize("fp16").run(program, CONTEXT)


def dtypes(program: Program, name: str) -> set[torch.dtype]:
    return {node.meta["val"].dtype for node in program.nodes() if str(node.target).startswith(f"aten.{name}.")}


def relative(ours: Program, theirs: Program) -> float:
    a, b = (next(iter(p.run().values())) for p in (ours, theirs))
    return float((a - b).norm() / b.norm())


class Block(nn.Module):
    """Attention with a mask made of the least float32, and a norm written out."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm, self.embed = nn.LayerNorm(16), nn.Embedding(30, 16)
        self.fused = fused

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(ids)
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        bias = (1.0 - mask[:, None].to(x.dtype)) * torch.finfo(torch.float32).min
        if self.fused:
            h = functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], bias[:, None])[:, 0]
        else:
            h = torch.softmax(q @ k.transpose(1, 2) / 4.0 + bias, -1) @ v
        x = x + self.out(h)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


@pytest.mark.parametrize("fused", [True, False])
def test_attention_masks_and_norms(fused: bool) -> None:
    torch.manual_seed(0)
    ids, mask = torch.randint(0, 30, (2, 6)), torch.ones(2, 6, dtype=torch.int64)
    mask[0, 3:] = 0
    mask[1, :] = 0  # a row with nothing to attend to must stay finite
    before, result = half(Block(fused), ids, mask)
    after = result.program
    assert result.skipped == ()
    assert bool(torch.isfinite(next(iter(after.run().values()))).all())
    rows = [next(iter(p.run().values()))[0] for p in (after, before)]
    assert float((rows[0] - rows[1]).norm() / rows[1].norm()) < 0.01
    assert dtypes(after, "linear") == dtypes(after, "embedding") == {torch.float16}
    assert dtypes(after, "layer_norm") == dtypes(after, "pow") == dtypes(after, "rsqrt") == {torch.float32}
    assert dtypes(after, "softmax") <= {torch.float32}
    assert next(iter(after.run().values())).dtype == torch.float32


def test_integer_tensors_are_untouched() -> None:
    ids, mask = torch.randint(0, 30, (2, 6)), torch.ones(2, 6, dtype=torch.int64)
    before, result = half(Block(True), ids, mask)
    assert [spec.dtype for spec in result.program.inputs] == [spec.dtype for spec in before.inputs]


class Scaled(nn.Module):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        with torch.no_grad():
            self.first.weight.mul_(weight)
            self.first.bias.mul_(weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(functional.relu(self.first(x)) / self.first.weight.abs().max())


@pytest.mark.parametrize(
    ("weight", "reason"),
    [(1e6, "beyond half precision's 65504"), (1e-8, "they are too small"), (1.5e5, "too near half precision's 65504")],
)
def test_weights_and_values_that_do_not_fit_stay_float(weight: float, reason: str) -> None:
    torch.manual_seed(0)
    before, result = half(Scaled(weight), torch.randn(4, 8))
    assert [skip.site for skip in result.skipped] == ["first"]
    assert reason in result.skipped[0].reason
    tensors = result.program.tensors()
    assert tensors["first.weight"].dtype == torch.float32
    assert tensors["second.weight"].dtype == torch.float16
    assert relative(result.program, before) < 0.01


def test_values_that_vanish_stay_float() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8))
    with torch.no_grad():
        model[0].weight.mul_(1e-4)
        model[1].bias.zero_()
    before, result = half(model, 1e-3 * torch.randn(4, 8))
    assert {skip.site for skip in result.skipped} == {"0", "1"}
    assert "too small for half precision" in result.skipped[0].reason
    assert result.program.tensors()["1.weight"].dtype == torch.float32
    assert relative(result.program, before) < 0.01


def test_values_that_outgrow_half_stay_float_and_recipes_remember() -> None:
    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            h = self.linear(x)
            return (h * 300.0) * 300.0 / 9e4

    torch.manual_seed(0)
    program = capture(Growing(), (torch.randn(4, 8),)).program
    result = Quantize("fp16").run(program, CONTEXT)
    assert {name for name, setting in result.settings.items() if setting["format"] == "fp32"} == {"mul_2"}
    assert relative(result.program, program) < 0.01
    again = Quantize(sites=result.settings).run(program, CONTEXT)
    assert again.program.hash() == result.program.hash()


def test_constants_beyond_half_stay_float() -> None:
    class Filled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor, keep: Tensor) -> Tensor:
            return torch.softmax(self.linear(x).masked_fill(keep == 0, -1e9), -1)

    keep = torch.ones(4, 8, dtype=torch.int64)
    keep[:, 5:] = 0
    before, result = half(Filled(), torch.randn(4, 8), keep)
    assert dtypes(result.program, "masked_fill") == {torch.float32}
    assert relative(result.program, before) < 0.01


def test_tied_weights_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(40, 16), nn.Linear(16, 40, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.embed(ids))

    before, result = half(Tied(), torch.randint(0, 40, (2, 5)))
    assert result.program.unique_bytes() * 2 == before.unique_bytes()
    assert relative(result.program, before) < 0.01


def test_recurrent_layers_stay_float_and_are_told() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lstm = nn.Embedding(40, 16), nn.LSTM(16, 16, batch_first=True)

        def forward(self, ids: Tensor) -> Tensor:
            return self.lstm(self.embed(ids))[0]

    before, result = half(Recurrent(), torch.randint(0, 40, (2, 5)))
    assert {skip.site for skip in result.skipped} == {"lstm.weight_ih_l0", "lstm.weight_hh_l0"}
    assert relative(result.program, before) < 0.01
