"""Maps composed and summed do what both did, for any geometry that is accepted."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import torch
from hypothesis import HealthCheck, assume, given, settings
from torch import Tensor
from torch.nn import functional

from compressor.passes.folding.composing import LinearMap, composed, identity_map, summed

SIZE = st.integers(1, 3)
PAIR = st.tuples(SIZE, SIZE)


@st.composite
def maps(draw: Any, channels: tuple[int, int], padding: Any, stride: Any = PAIR) -> LinearMap:
    inside, out = channels
    groups = draw(st.sampled_from([g for g in (1, 2, 4) if inside % g == 0 and out % g == 0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    weight = torch.randn(groups, out // groups, inside // groups, *draw(PAIR), generator=generator, dtype=torch.float64)
    bias = torch.randn(out, generator=generator, dtype=torch.float64) if draw(st.booleans()) else None
    return LinearMap("one", weight, bias, bias is not None, draw(stride), draw(padding), draw(PAIR))


def run(map_: LinearMap, x: Tensor) -> Tensor:
    weight = map_.weight.flatten(0, 1)
    return functional.conv2d(x, weight, map_.bias, map_.stride, map_.padding or 0, map_.dilation, map_.groups)


NONE = st.just((0, 0))
ANY = st.tuples(st.integers(0, 2), st.integers(0, 2))
SLOW = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


@SLOW
@given(maps((4, 8), ANY), maps((8, 4), st.one_of(NONE, ANY)), st.integers(33, 37))
def test_one_after_the_other(first: LinearMap, second: LinearMap, size: int) -> None:
    made = composed(first, second)
    x = torch.randn(2, 4, size, size + 2, dtype=torch.float64)
    if isinstance(made, str):
        assert "pads its input" in made
        assert second.pads
        return
    torch.testing.assert_close(run(made, x), run(second, run(first, x)))


@SLOW
@given(maps((4, 4), ANY), maps((4, 4), ANY), st.booleans())
def test_summed(one: LinearMap, other: LinearMap, same: bool) -> None:
    other = LinearMap("two", other.weight, other.bias, other.shifts, one.stride, other.padding, other.dilation)
    other = identity_map(4, 2) if same else other
    made, x = summed(one, other), torch.randn(2, 4, 13, 14, dtype=torch.float64)
    if isinstance(made, str):
        assert run(one, x).shape != run(other, x).shape or "lie differently" in made or one.stride != other.stride
        return
    assume(run(one, x).shape == run(other, x).shape)
    torch.testing.assert_close(run(made, x), run(one, x) + run(other, x))


def test_sizes_are_known_without_numbers() -> None:
    weight, steps = torch.empty(1, 8, 4, 3, 3, device="meta"), (1, 1)
    first = LinearMap("a", weight, None, False, steps, steps, steps)
    second = LinearMap("b", torch.empty(8, 1, 1, 3, 3, device="meta"), None, False, (2, 2), (0, 0), steps)
    made = composed(first, second)
    assert isinstance(made, LinearMap)
    assert made.geometry == (1, (5, 5), (2, 2), (1, 1), (1, 1), False)
    assert made.weight.shape == (1, 8, 4, 5, 5)
