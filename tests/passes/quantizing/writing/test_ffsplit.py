"""FFSplit: which blocks are found, that a split changes nothing in float, and what each part becomes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from boards import board
from narrow_nets import linear_net, net_batches
from torch import Tensor, nn
from torch.nn import functional

from compressor.errors import RecipeError
from compressor.graph.capture import capture
from compressor.graph.contract import Context, Setting
from compressor.graph.edit import finish
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.writing.ffsplit import apply_splits, find_ffns, neuron_scores, plan_splits

CALIBRATED = Context(board(), calibration=net_batches(), synthetic=False)


class Blocks(nn.Module):
    """Plain, gated and spelled-out blocks, and two that are none."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(64, 128), nn.Linear(128, 64)
        self.gate, self.value = nn.Linear(64, 96, bias=False), nn.Linear(64, 96, bias=False)
        self.out = nn.Linear(96, 64, bias=False)
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.wide, self.normed, self.narrow = nn.Linear(64, 128), nn.LayerNorm(128), nn.Linear(128, 64)
        self.leak, self.end = nn.Linear(64, 128), nn.Linear(128, 64)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.down(functional.dropout(functional.gelu(self.up(x)), 0.1, self.training))
        x = x + self.out(functional.silu(self.gate(x)) * self.value(x))
        y = self.first(x)
        x = x + self.second(0.5 * y * (1.0 + torch.tanh(0.8 * (y + 0.04 * y.pow(3.0)))))
        x = x + self.narrow(functional.relu(self.normed(self.wide(x))))
        z = functional.relu(self.leak(x))
        result: Tensor = x + self.end(z) + z.mean(-1, keepdim=True)
        return result


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Blocks().eval(), (torch.randn(2, 5, 64),)).program


def split(program: Program, settings: Mapping[str, Setting]) -> Program:
    copy, _ = functional_copy(program)
    apply_splits(copy, settings)
    return finish(copy)


def test_blocks_are_found_by_what_lies_between(program: Program) -> None:
    copy, _ = functional_copy(program)
    found = {block.name: [layer.name for layer in block.producers] for block in find_ffns(copy)}
    assert found == {"down": ["up"], "out": ["gate", "value"], "second": ["first"]}
    assert [block.name for block in find_ffns(copy, keep=("up", "second"))] == ["out"]


def test_in_float_a_split_is_exact(program: Program) -> None:
    copy, _ = functional_copy(program)
    context = Context(board(), calibration=[{program.inputs[0].name: torch.randn(8, 5, 64)}])
    settings, skipped = plan_splits(copy, context, 0.3)
    assert set(settings) == {"down", "out", "second"}
    assert skipped == []
    after = split(program, settings)
    x = torch.randn(3, 5, 64)
    [ours], [theirs] = after.run([x]).values(), program.run([x]).values()
    assert float((ours - theirs).abs().max()) < 1e-5
    shapes = {name: tuple(t.shape) for name, t in after.tensors().items() if name.startswith(("up", "down"))}
    assert shapes == {
        "up.heavy.weight": (32, 64), "up.heavy.bias": (32,), "up.rest.weight": (96, 64), "up.rest.bias": (96,),
        "down.heavy.weight": (64, 32), "down.heavy.bias": (64,), "down.rest.weight": (64, 96),
    }  # fmt: skip
    assert after.parameters() == program.parameters()


def test_the_score_is_the_mean_norm_of_a_neurons_output() -> None:
    copy, _ = functional_copy(linear_net())
    [block] = find_ffns(copy)[-1:]
    assert block.name == "down"
    found = neuron_scores(copy, CALIBRATED, [block])["down"]
    net = {name: t.detach() for name, t in linear_net().tensors().items()}
    x = torch.cat([batch["x"] for batch in net_batches()])
    for layer in ("first", "second"):
        x = functional.relu(functional.linear(x, net[f"{layer}.weight"], net[f"{layer}.bias"]))
    hidden = functional.gelu(functional.linear(x, net["up.weight"], net["up.bias"]))
    outputs = torch.stack([(hidden[:, i, None] * net["down.weight"][:, i]).norm(dim=1).mean() for i in range(256)])
    torch.testing.assert_close(found.float(), outputs, rtol=1e-4, atol=1e-6)
    weights = neuron_scores(copy, Context(board()), [block])["down"]
    expected = net["up.weight"].norm(dim=1) * net["down.weight"].norm(dim=0)
    torch.testing.assert_close(weights.float(), expected, rtol=1e-4, atol=1e-6)


def test_the_heavy_part_has_eight_bits_and_the_rest_fewer() -> None:
    result = Quantize(
        "int2", block=32, ffsplit=0.25, mode="weight-only", slower=True, solver="mse", bias="none", equalize="none"
    ).run(linear_net(), CALIBRATED)
    formats = {site: setting["format"] for site, setting in result.settings.items()}
    assert formats["down"] == "split"
    assert (formats["up.heavy"], formats["down.heavy"]) == ("int8", "int8")
    assert (formats["up.rest"], formats["down.rest"]) == ("int2", "int2")
    assert not any("kept, as asked" in skip.reason for skip in result.skipped)
    again = Quantize(sites=result.settings).run(linear_net(), Context(board()))
    assert again.program.hash() == result.program.hash()
    assert again.settings == result.settings


def test_mixed_chooses_for_each_part() -> None:
    mixed = Quantize(
        "mixed", bits=4.5, ffsplit=0.25, mode="weight-only", slower=True, solver="mse", bias="none", equalize="none"
    )
    result = mixed.run(linear_net(), CALIBRATED)
    assert {"up.heavy", "up.rest", "down.heavy", "down.rest"} < set(result.settings)
    again = Quantize(sites=result.settings).run(linear_net(), Context(board()))
    assert again.program.hash() == result.program.hash()


@pytest.mark.parametrize(
    ("site", "setting", "message"),
    [
        ("up", {"format": "split", "heavy": "0-31"}, "not the last layer of a feed-forward block"),
        ("down", {"format": "split"}, "not format and heavy"),
        ("down", {"format": "split", "heavy": "0-999"}, "there are 256 units, no number 256"),
        ("down", {"format": "split", "heavy": "x"}, "not a place or a range"),
        ("down", {"format": "split", "heavy": "0-255"}, "both parts need some"),
    ],
)
def test_splits_that_cannot_be(site: str, setting: Setting, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        Quantize(sites={site: setting}).run(linear_net(), Context(board()))
    assert site in str(caught.value)


def test_shares_that_make_no_sense_and_networks_without_a_block() -> None:
    with pytest.raises(RecipeError, match="ffsplit is 1"):
        Quantize("int4", ffsplit=1.0)
    with pytest.raises(RecipeError, match="int8 takes no notice of ffsplit"):
        Quantize("int8", ffsplit=0.2)
    torch.manual_seed(0)
    small = capture(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 64)), (torch.randn(2, 64),)).program
    reasons = [skip.reason for skip in Quantize("int4", ffsplit=0.2).run(small, Context(board())).skipped]
    assert "its 32 hidden neurons are too few to split" in reasons
    lone = capture(nn.Linear(64, 64), (torch.randn(2, 64),)).program
    reasons = [skip.reason for skip in Quantize("int4", ffsplit=0.2).run(lone, Context(board())).skipped]
    assert "there is no block of linear layers with an activation between them" in reasons
