"""What a dropped part added is folded into the layer before where it is linear in what that reads."""

from __future__ import annotations

import pytest
import torch
from blocks import Stack, captured, transformer
from torch import Tensor, nn

from compressor.graph.contract import Batch, Context
from compressor.graph.program import Program
from compressor.passes.drop import Drop
from compressor.passes.recover.judge import Judge
from compressor.targets.loader import load_target


def context(program: Program, rows: int = 64) -> Context:
    generator = torch.Generator().manual_seed(3)
    shape = program.example[0].shape[1:]
    batches: list[Batch] = [{program.inputs[0].name: torch.randn(rows, *shape, generator=generator)}]
    return Context(load_target("host"), calibration=batches, synthetic=False)


class Straight(nn.Module):
    """x + linear(x): what a stream of these adds is linear in the first one's input."""

    def __init__(self, norm: type[nn.Module] | None = None) -> None:
        super().__init__()
        self.norm = norm(8) if norm is not None else nn.Identity()
        self.one, self.two = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.two(self.one(x)))


def test_a_linear_effect_is_folded_without_a_loss() -> None:
    torch.manual_seed(0)
    program = captured(Stack([Straight() for _ in range(3)], 8), torch.randn(2, 6, 5))
    given = context(program)
    site = {"layers.2": {"unit": "block"}}
    plain = Drop(sites=site, heal="none").run(program, given).program
    healed = Drop(sites={"layers.2": {"unit": "block", "heal": True}}).run(program, given).program
    judge = Judge(program, context(program, 32).calibration)
    assert judge.damage(healed) < 0.02 * judge.damage(plain)
    assert healed.parameters() == plain.parameters()


@pytest.mark.parametrize("form", ["pre", "post"])
def test_transformers_are_nearer_to_the_original_with_it(form: str) -> None:
    program = transformer(4, form)
    given = context(program)
    healed, plain = Drop(0.25).run(program, given), Drop(0.25, heal="none").run(program, given)
    judge = Judge(program, context(program, 32).calibration)
    assert set(healed.settings) == set(plain.settings)
    assert judge.damage(healed.program) <= judge.damage(plain.program)
    assert any("folded" in note for note in healed.notes) == any(s.get("heal") for s in healed.settings.values())


def test_settings_heal_the_same_again() -> None:
    program = transformer(4)
    given = context(program)
    once = Drop(0.5).run(program, given)
    assert any(setting.get("heal") for setting in once.settings.values())
    assert Drop(sites=once.settings).run(program, given).program.hash() == once.program.hash()
    without = Drop(sites=once.settings).run(program, Context(load_target("host")))
    assert "no calibration data" in without.notes[0]


def test_norms_of_convolutions_are_moved_channel_by_channel() -> None:
    class Bottle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            nn.init.normal_(self.norm.bias)

        def forward(self, x: Tensor) -> Tensor:
            return (x + self.norm(self.conv(x))).relu()

    torch.manual_seed(0)
    program = captured(
        nn.Sequential(*(Bottle() for _ in range(3)), nn.Flatten(), nn.Linear(144, 5)), torch.randn(2, 4, 6, 6)
    )
    given = context(program)
    healed = Drop(sites={"1": {"unit": "block", "heal": True}}).run(program, given).program
    plain = Drop(sites={"1": {"unit": "block"}}).run(program, given).program
    judge = Judge(program, context(program, 32).calibration)
    assert judge.damage(healed) < judge.damage(plain)
    assert not torch.equal(healed.tensors()["0.norm.weight"], program.tensors()["0.norm.weight"])
    assert torch.equal(healed.tensors()["0.conv.weight"], program.tensors()["0.conv.weight"])


def test_the_first_block_is_folded_into_what_embeds() -> None:
    program = transformer(3)
    first = Drop(sites={"layers.0": {"unit": "block", "heal": True}}).run(program, context(program))
    assert first.settings == {"layers.0": {"unit": "block", "heal": True}}  # into the embedding, a linear layer here
    assert "embed" in first.changed


def test_nothing_is_folded_into_a_layer_that_is_kept() -> None:
    torch.manual_seed(0)
    program = captured(Stack([Straight() for _ in range(3)], 8), torch.randn(2, 6, 5))
    given = context(program)
    site = {"layers.2": {"unit": "block", "heal": True}}
    free = Drop(sites=site).run(program, given).program
    kept = Drop(sites=site, keep=("layers.1.*",)).run(program, given).program
    for name, tensor in kept.tensors().items():
        assert torch.equal(tensor, program.get(name))
    assert any(not torch.equal(tensor, program.get(name)) for name, tensor in free.tensors().items())
