"""Running the user's model leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.errors import InputError
from compressor.graph.eager import close, eager, owned, untouched


class Running(nn.Module):
    """Keeps a running sum and writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(2))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> dict[str, object]:
        self.total.add_(x.mul_(2).sum(0))
        return {"x": self.drop(x), "total": self.total, "other": "text"}


def test_buffers_inputs_and_modes_are_as_before() -> None:
    model, x = Running(), torch.ones(3, 2)
    with untouched(model) as written:
        assert written() == []
        outputs = eager(model, ((x,), {}))
        assert written() == ["total"]
        assert not model.drop.training
    assert [tuple(t.shape) for t in outputs] == [(3, 2), (2,)]
    assert outputs[1].tolist() == [6, 6], "the state is an output too, as the forward left it"
    assert model.total.tolist() == [0, 0]
    assert x.tolist() == [[1, 1]] * 3
    assert model.drop.training


def test_modes_come_back_after_an_error() -> None:
    model = Running()
    with pytest.raises(InputError, match=r"rejects inputs of shape \(3, 5\)"), untouched(model):
        eager(model, ((torch.ones(3, 5),), {}))
    assert model.training
    assert model.drop.training


def test_a_tensor_given_twice_becomes_two() -> None:
    x = torch.ones(2)
    (a, b), rest = owned(((x, [x]), {"k": 3, "x": x}))
    assert len({t.data_ptr() for t in (x, a, b[0], rest["x"])}) == 4
    assert rest["k"] == 3


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.001]), True),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.01]), False),
        (torch.tensor([1e-6]), torch.tensor([2e-6]), False),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")]), True),
        (torch.tensor([float("inf"), 1.0]), torch.tensor([float("inf"), 1.0]), True),
        (torch.tensor([float("inf")]), torch.tensor([1.0]), False),
        (torch.tensor([1]), torch.tensor([1]), True),
        (torch.tensor([1]), torch.tensor([2]), False),
        (torch.tensor([1]), torch.tensor([1.0]), False),
        (torch.zeros(2), torch.zeros(2, 1), False),
        (torch.zeros(0), torch.zeros(0), True),
        (torch.tensor([True]), torch.tensor([True]), True),
    ],
)
def test_closeness_is_relative_to_the_largest_value(ours: Tensor, theirs: Tensor, same: bool) -> None:
    assert close(ours, theirs) is same
