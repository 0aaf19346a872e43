"""Equal subexpressions are merged; what is random, or equal only to Python's ==, is not."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from compressor.passes.folding.common import _frozen


def test_equal_chains_are_computed_once(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        a = relu(x).sum(1, keepdim=True).exp()
        b = relu(x).sum(1, keepdim=True).exp()
        return a * b.tanh() + m.fc(x) * m.fc(x)

    _, result = fold(forward, torch.randn(2, 3), parts={"fc": nn.Linear(3, 3)})
    names = ops(result.program)
    assert [names.count(name) for name in ("relu", "sum", "exp", "linear")] == [1, 1, 1, 1]


def test_a_tensor_stored_under_two_names_is_stored_under_one(fold: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return x * m.scale + relu(x) * m.same

    module = nn.Module()
    module.register_buffer("scale", torch.rand(3))
    module.register_buffer("same", module.scale.view(3))
    module.forward = partial(forward, module)
    program, result = fold(module, torch.randn(2, 3))
    assert set(program.tensors()) == {"scale", "same"}
    assert set(result.program.tensors()) == {"scale"}


def test_arguments_that_only_compare_equal_differ(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        return x.tanh() * 2, x.tanh() * 2.5, x.sum(0, keepdim=True), x.sum(0, keepdim=False)

    _, result = fold(forward, torch.randn(2, 3))
    assert ops(result.program) == ["tanh", "mul", "mul", "sum", "sum"]
    assert len({_frozen(value) for value in (1, 1.0, True, 0.0, -0.0, "1", None)}) == 7


def test_random_draws_are_not_merged(fold: Any, ops: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return x + 0 * torch.rand(3) * torch.rand(3) + 0 * torch.rand_like(x) * torch.rand_like(x)

    _, result = fold(forward, torch.randn(2, 3))
    assert ops(result.program).count("rand") == 2
    assert ops(result.program).count("rand_like") == 2


def test_two_outputs_stay_two_values(fold: Any, reasons: Any) -> None:
    def forward(m: Any, x: Tensor) -> Any:
        return relu(x), relu(x)

    _, result = fold(forward, torch.randn(2, 3))
    assert result.changed == ()
    assert "names an output" in reasons(result)["common:relu_1"]
