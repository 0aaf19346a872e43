"""Peak activation memory against cases counted by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.concrete import concrete_values
from compressor.graph.kernels import schedule
from compressor.graph.memory import peak_activation_bytes


def peak(model: nn.Module, *inputs: Tensor, batch: int = 1) -> int:
    program = capture(model.eval(), inputs).program
    return peak_activation_bytes(schedule(program, concrete_values(program, batch)))


class Residual(nn.Module):
    """Sizes at batch 1, in floats: x 16, wide 64, narrow 16, sum 16."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(x)))


def test_the_skip_stays_live_beside_the_widest_value() -> None:
    assert peak(Residual(), torch.randn(2, 16)) == 4 * (16 + 64 + 16)
    assert peak(Residual(), torch.randn(2, 16), batch=5) == 5 * 4 * (16 + 64 + 16)


def test_reshapes_share_memory_and_inputs_end_at_their_last_reader() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(16, 32), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).reshape(-1, 4, 8))

    assert peak(Chain(), torch.randn(2, 16)) == 4 * (16 + 32)  # then 32 + 16


def test_a_pointwise_kernel_writes_over_an_input_that_ends_there() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.softmax(x, -1)
            return torch.neg(y)

    assert peak(Twice(), torch.randn(2, 16)) == 4 * (16 + 16)


def test_results_stay_to_the_end() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 32), nn.Linear(32, 8), nn.Linear(8, 64)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.a(x)
            return y, self.c(self.b(y))

    assert peak(Both(), torch.randn(2, 4)) == 4 * (32 + 8 + 64)


def test_a_weight_that_is_dequantized_at_run_time_takes_memory() -> None:
    from quantized import with_int8

    program = capture(nn.Linear(64, 64), (torch.randn(2, 64),)).program
    stored = with_int8(program, "linear", weight_only=True)
    plan = schedule(stored, concrete_values(stored))
    assert peak_activation_bytes(plan) == 4 * (64 + 64 * 64 + 64)
