"""The distance of outputs, and samples to fit to apart from those to judge by."""

from __future__ import annotations

import torch
from blocks import captured, transformer
from torch import Tensor, nn

from compressor.graph.edit import begin, finish, set_tensor
from compressor.passes.recover.judge import Judge, parted


def test_nothing_changed_is_no_distance_and_more_noise_is_more() -> None:
    program = transformer(2)
    name = program.inputs[0].name
    judge = Judge(program, [{name: torch.randn(3, 6, 5)}, {name: torch.randn(5, 6, 5)}])
    assert abs(judge.damage(program)) < 1e-6

    def noisy(scale: float) -> float:
        copy = begin(program)
        weight = program.tensors()["head.weight"].detach()
        noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        set_tensor(copy, "head.weight", weight + scale * noise)
        return judge.damage(finish(copy))

    assert 0 < noisy(0.01) < noisy(0.1)


def test_a_quarter_of_the_samples_is_apart() -> None:
    program = transformer(2)
    name = program.inputs[0].name
    batches = [{name: torch.randn(rows, 6, 5)} for rows in (6, 6, 4)]
    seen, apart = parted(program, batches)
    together = torch.cat([batch[name] for batch in (*seen, *apart)])
    assert sum(len(batch[name]) for batch in apart) == 4
    torch.testing.assert_close(together, torch.cat([batch[name] for batch in batches]))
    assert parted(program, [{name: torch.randn(1, 6, 5)}])[1]


def test_batches_of_a_fixed_size_are_parted_whole() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x).reshape(2, 12)

    program = captured(Fixed(), torch.randn(2, 3, 4))
    name = program.inputs[0].name
    batches = [{name: torch.randn(2, 3, 4)} for _ in range(5)]
    seen, apart = parted(program, batches)
    assert [id(batch) for batch in (*seen, *apart)] == [id(batch) for batch in batches]
    assert len(apart) == 1
