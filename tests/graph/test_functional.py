"""In-place operators, views and aliases: the functional graph computes what the captured one did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.functional import functionalize, is_mutating, mutated
from compressor.graph.program import Program


def later_views(x: Tensor) -> Any:
    y = x * 2
    left, flat, turned = y[:, :2], y.view(-1), y.transpose(0, 1)
    left += 1
    return y, left, flat, turned


def assigned_slices(x: Tensor) -> Any:
    y = torch.zeros(2, 3)
    y[:, 1:] = x[:, :2]
    y[0] = y[1]
    return y + x.sum()


def written_again(x: Tensor) -> Any:
    y = x * 2
    left, flat, turned = y[:, :2], y.view(-1), y.transpose(0, 1)
    left += 1
    y[:, 1] = 5.0
    a, b = y.chunk(2, 1)
    a.mul_(3)
    turned.add_(flat.sum())
    return y, left, flat, turned, a, b


def parts(x: Tensor) -> Any:
    y = x * 2
    a, b = y.split([1, 3], 1)
    a.mul_(3)
    rows = y.unbind(0)
    rows[0].add_(7)
    b.relu_()
    return a, b, y, rows[1], rows[0]


def types_and_shapes(x: Tensor) -> Any:
    wide, narrow = x.to(torch.float64), x.half()
    wide += x
    narrow += x
    copied = torch.zeros(2, 4)
    copied.copy_(x.sum())
    masked = torch.zeros_like(x).masked_fill_(x > 0, 3)
    return wide, narrow, copied + masked


def copies_are_no_views(x: Tensor) -> Any:
    y = x * 2
    copied, viewed = y.permute(1, 0).reshape(-1), y.reshape(-1)
    y.add_(1)
    return copied, viewed, y


def reshaped_chain(x: Tensor) -> Any:
    y = x.clone()
    y[:, None].squeeze(1).t().relu_()
    total = torch.tensor([1.0, 2.0, 3.0, 4.0])
    total += y.sum(0)
    return y, total


def one_of_several_outputs(x: Tensor) -> Any:
    values, places = x.topk(2, dim=-1)
    values /= values.sum(-1, keepdim=True)
    return values, places


MODELS: list[Callable[[Tensor], Any]] = [
    later_views, assigned_slices, written_again, parts, types_and_shapes, copies_are_no_views, reshaped_chain,
    one_of_several_outputs,
]  # fmt: skip


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x.clone())


@pytest.mark.parametrize("function", MODELS, ids=lambda f: f.__name__)
def test_nothing_is_left_in_place_and_nothing_changes(function: Callable[[Tensor], Any]) -> None:
    program = capture(Function(function), (torch.randn(2, 4),)).program
    assert any(is_mutating(node) for node in program.nodes())
    copy = edit.begin(program)
    assert functionalize(copy) == ()
    done = edit.finish(copy)
    assert not any(is_mutating(node) for node in done.nodes())
    inputs = (torch.randn(2, 4),)
    for want, got in zip(program.run(inputs).values(), done.run(inputs).values(), strict=True):
        assert torch.equal(want, got)
        assert want.dtype == got.dtype


class Stored(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return x.relu().add_(1) + self.state.clone().add_(0)


@pytest.fixture
def stateful() -> Program:
    """A program that writes into a stored tensor: what a `.pt2` of a model with state may be."""
    copy = edit.begin(capture(Stored(), (torch.randn(2, 3),)).program)
    clone = next(node for node in copy.nodes() if node.target is torch.ops.aten.clone.default)
    edit.substitute(copy, clone, clone.args[0])
    return edit.finish(copy)


def test_a_stored_tensor_that_changes_stays_in_place_with_the_reason(stateful: Program) -> None:
    copy = edit.begin(stateful)
    (left,) = functionalize(copy)
    assert "stored tensor state" in left.reason
    assert [str(node.target) for node in copy.nodes() if is_mutating(node)] == ["aten.add_.Tensor"]


def test_mutated_names_every_alias_of_what_still_changes(stateful: Program) -> None:
    copy = edit.begin(stateful)
    functionalize(copy)
    assert {str(node.target) for node in mutated(copy)} == {"state", "aten.add_.Tensor"}
    pure = capture(nn.Linear(3, 2), (torch.randn(2, 3),)).program
    assert mutated(pure) == set()


VIEWS: dict[str, Callable[[Tensor], Any]] = {
    "turned": lambda t: t.transpose(0, -1) if t.dim() else t, "flat": lambda t: t.reshape(-1),
    "halves": lambda t: t.chunk(2, -1) if t.dim() else t, "rows": lambda t: t.unbind(0)[:2] if t.dim() else t,
    "first": lambda t: t[0] if t.dim() else t, "window": lambda t: t.narrow(-1, 0, 1) if t.dim() else t,
    "every other": lambda t: t[..., ::2] if t.dim() else t, "column": lambda t: t.unsqueeze(-1),
    "copy": lambda t: t.clone(), "new": lambda t: t * 2, "dense": lambda t: t.contiguous(),
}  # fmt: skip
WRITES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "add": lambda t, other: t.add_(other.mean()), "relu": lambda t, other: t.relu_(),
    "zero": lambda t, other: t.zero_(), "copy": lambda t, other: t.copy_(other.sum()),
    "scale": lambda t, other: t.mul_(0.5), "assign": lambda t, other: t.__setitem__(0, other.max()) if t.dim() else t,
}  # fmt: skip
Step = tuple[str, str, int, int]


class Script(nn.Module):
    """Views and writes in any order; each step takes two of the values so far."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Any:
        values = [x * 1.5]
        for view, write, one, other in self.steps:
            t, u = values[one % len(values)], values[other % len(values)]
            made = VIEWS[view](t) if view else WRITES[write](t, u)
            values += [v for v in (made if isinstance(made, tuple) else [made]) if isinstance(v, Tensor)]
        return tuple(value.clone() for value in values)


STEP = st.tuples(
    st.sampled_from(["", "", *VIEWS]), st.sampled_from(list(WRITES)), st.integers(0, 20), st.integers(0, 20)
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, min_size=3, max_size=10))
def test_any_script_of_views_and_writes(steps: list[Step]) -> None:
    program = capture(Script(steps), (torch.randn(2, 4),), static=True).program
    copy = edit.begin(program)
    assert functionalize(copy) == ()
    done = edit.finish(copy)
    assert not any(is_mutating(node) for node in done.nodes())
    inputs = (torch.randn(2, 4),)
    for want, got in zip(program.run(inputs).values(), done.run(inputs).values(), strict=True):
        assert torch.allclose(want, got, rtol=1e-5, atol=1e-6)
