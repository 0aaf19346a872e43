"""Who can take a scale: norms, rows, gates and attention's values; and why others cannot."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.functional import functional_copy
from compressor.passes.quantizing.scaling.absorb import Fold, find_folds


def folds(net: nn.Module, *shape: int) -> tuple[dict[str, Fold], dict[str, str]]:
    torch.manual_seed(0)
    program, _ = functional_copy(capture(net.eval(), (torch.randn(shape),)).program)
    found, reasons = find_folds(program)
    return {consumer.layer.name: fold for fold in found for consumer in fold.consumers}, reasons


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.mT, -1)
        return x + self.out((weights @ v).transpose(1, 2).flatten(2))


def test_a_norm_before_three_layers_and_values_through_attention() -> None:
    found, reasons = folds(Heads(), 2, 5, 8)
    assert found["q"] is found["k"] is found["v"]
    assert (found["q"].weight, found["q"].bias) == ("norm.weight", "norm.bias")
    assert found["out"].layer is not None
    assert found["out"].layer.name == "v"
    assert [c.units.tolist() for c in found["out"].consumers] == [list(range(8))]
    assert reasons == {}


class Joint(nn.Module):
    """One product for queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4).unbind()
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def test_of_a_joint_product_the_values_alone_take_a_scale() -> None:
    found, reasons = folds(Joint(), 2, 5, 8)
    assert found["out"].layer is not None
    assert found["out"].layer.name == "qkv"
    assert [c.units.tolist() for c in found["out"].consumers] == [list(range(16, 24))]
    assert reasons == {"qkv": "no layer before it can take a scale"}


class Gated(nn.Module):
    """An RMS norm written out, a gate, a concatenation and a flattening."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))
        self.gate, self.up, self.down = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale
        return self.down(torch.cat([x[..., :2], functional.silu(self.gate(h)) * self.up(h)], -1))


def test_a_stored_vector_and_the_side_of_a_gate_that_is_linear() -> None:
    found, _ = folds(Gated(), 2, 5, 8)
    assert found["gate"] is found["up"]
    assert found["gate"].weight == "scale"
    [down] = found["down"].consumers
    assert found["down"].layer is not None
    assert found["down"].layer.name == "up"
    assert down.units.tolist() == [-1, -1, 0, 1, 2, 3, 4, 5]


def test_pictures_flattened_and_depthwise_convolutions() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16, 5),
    )  # fmt: skip
    found, reasons = folds(net, 2, 3, 8, 8)
    assert found["2"].consumers[0].units.tolist() == [0, 1, 2, 3]
    assert found["6"].consumers[0].units.tolist() == [u for u in range(4) for _ in range(4)]
    assert reasons == {"0": "no layer before it can take a scale"}


def test_a_norm_in_between_takes_the_scale_itself() -> None:
    found, _ = folds(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)), 2, 3, 6, 6)
    assert (found["3"].weight, found["3"].bias, found["3"].layer) == ("1.weight", "1.bias", None)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.first(x)
        return self.second(h), h


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x))) + self.second(x)


@pytest.mark.parametrize(
    ("net", "layer", "reason"),
    [
        (nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6)), "2", "gelu in between does not commute"),
        (nn.Sequential(nn.Linear(6, 6), nn.Softmax(-1), nn.Linear(6, 6)), "2", "softmax in between does not commute"),
        (Residual(), "second", "is an output of the model"),
        (Twice(), "second", "is called on something else too"),
    ],
)
def test_why_a_layer_keeps_its_inputs_scales(net: nn.Module, layer: str, reason: str) -> None:
    found, reasons = folds(net, 2, 6)
    assert layer not in found
    assert reason in reasons[layer]


def test_a_weight_that_another_layer_reads_is_not_scaled() -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Softmax(-1), nn.Linear(6, 6))
    net[4].weight = net[2].weight
    found, reasons = folds(net, 2, 6)
    assert found == {}
    assert any("is called on something else too" in reason for reason in reasons.values())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm, self.head = nn.Embedding(9, 6), nn.LayerNorm(6), nn.Linear(6, 9, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.table((x > 0).long().sum(-1))))


def test_a_table_that_is_an_output_layer_too_is_not_scaled() -> None:
    found, reasons = folds(Tied(), 2, 5, 3)
    assert found == {}
    assert "shared with another layer" in reasons["head"]
