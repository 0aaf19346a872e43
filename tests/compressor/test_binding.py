"""Names to `forward`'s parameters, dotted names to containers, and the suggestion for a model without inputs."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import scripted
from torch import Tensor, nn

from compressor.binding import bind, nest, signature_of, suggest_input
from compressor.errors import InputError


class Mixed(nn.Module):
    def forward(self, a: Tensor, b: Tensor | None = None, *, c: Tensor, d: Any = None) -> Tensor:
        return a


class Extras(nn.Module):
    def forward(self, first: Tensor, *rest: Tensor, **named: Tensor) -> Tensor:
        return first


def test_signature() -> None:
    signature = signature_of(Mixed())
    assert signature.positional == ("a", "b")
    assert signature.keyword_only == ("c", "d")
    assert signature.required == ("a", "c")
    assert (signature_of(Extras()).extras, signature_of(Extras()).keywords) == (True, True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_signature_of_torchscript() -> None:
    class Optional(nn.Module):
        def forward(self, x: Tensor, scale: float = 2.0) -> Tensor:
            return x * scale

    signature = signature_of(scripted(Optional()))
    assert signature.positional == ("x", "scale")
    assert signature.required == ("x",)


def test_leading_parameters_go_by_position_and_the_rest_by_name() -> None:
    assert bind(Mixed(), {"c": 3, "a": 1}) == ((1,), {"c": 3})
    assert bind(Mixed(), {"a": 1, "b": 2, "c": 3, "d.x": 4, "d.y.0": 5}) == ((1, 2), {"c": 3, "d": {"x": 4, "y": [5]}})
    assert bind(Extras(), {"first": 1, "*1": 2, "*2": 3, "other": 4}) == ((1, 2, 3), {"other": 4})


def test_unknown_and_missing_names_are_explained() -> None:
    with pytest.raises(InputError, match="no input 'aa'"):
        bind(Mixed(), {"aa": 1, "c": 1})
    with pytest.raises(InputError) as caught:
        bind(Mixed(), {"b": 1})
    assert "inputs 'a', 'c'" in caught.value.what
    assert "a, b, c, d" in caught.value.way_out


def test_nest_rebuilds_containers() -> None:
    flat = {"x": 0, "d.a": 1, "d.b.0": 2, "d.b.1": 3, "e.1": 4}
    assert nest(flat) == {"x": 0, "d": {"a": 1, "b": [2, 3]}, "e": {"1": 4}}
    keep = {"k": 1}
    assert nest({"x": keep})["x"] is keep


@pytest.mark.parametrize("names", [("d", "d.a"), ("d.a", "d"), ("d.a.b", "d.a")])
def test_nest_refuses_a_tensor_that_is_a_container(names: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="tensor"):
        nest(dict.fromkeys(names, 0))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Conv2d(3, 4, 3)], "--input 1x3x224x224"),
        ([nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, groups=6)], "--input 1x6x32x32"),
        ([nn.Conv2d(1, 4, 3)], "--input 1x1x28x28"),
        ([nn.Conv1d(5, 4, 3)], "--input 1x5x128"),
        ([nn.ConvTranspose2d(7, 4, 3)], "--input 1x7x32x32"),
        ([nn.Linear(12, 4)], "--input 1x12"),
        ([nn.LSTM(9, 4)], "--input 1x32x9"),
        ([nn.Embedding(50, 4), nn.Linear(4, 4)], "--input input=1x128:int64"),
    ],
)
def test_suggestion_comes_from_the_first_layer(layers: list[nn.Module], expected: str) -> None:
    assert suggest_input(nn.Sequential(*layers)) == expected
