"""Drop leaves out the blocks that matter least, exactly those, and says which; on networks whose answer is known."""

from __future__ import annotations

import pytest
import torch
from blocks import Layer, Stack, captured, found, minilm, transformer
from classics import ResNet50
from decoders import llama, program_of, texts
from torch import Tensor, nn

from compressor.errors import RecipeError
from compressor.graph.contract import Batch, Context
from compressor.graph.cost import Roofline
from compressor.graph.edit import begin, finish, set_tensor
from compressor.graph.program import Program
from compressor.passes.drop import Drop
from compressor.targets.loader import load_target
from compressor.verify import verify


def context(program: Program, count: int = 4, **more: object) -> Context:
    generator = torch.Generator().manual_seed(3)
    batches: list[Batch] = [
        {
            spec.name: torch.randn(value.shape, generator=generator)
            for spec, value in zip(program.inputs, program.example, strict=True)
        }
        for _ in range(count)
    ]
    return Context(load_target("host"), latency=Roofline(), calibration=batches, synthetic=False, **more)  # type: ignore[arg-type]


def weakened(program: Program, *blocks: str, by: float = 1e-3) -> Program:
    """These branches add next to nothing."""
    copy = begin(program)
    for name, value in program.tensors().items():
        if name.startswith(blocks) and (".out." in name or ".mlp.2." in name):
            set_tensor(copy, name, value.detach() * by)
    return finish(copy)


@pytest.mark.parametrize("by", ["auto", "greedy", "influence"])
def test_what_adds_next_to_nothing_goes(by: str) -> None:
    program = weakened(transformer(4), "layers.1.", "layers.2.")
    result = Drop(0.5, by=by).run(program, context(program))  # type: ignore[arg-type]
    assert set(result.settings) == {"layers.1", "layers.2"}
    assert found(result.program) == [["layers.0", "layers.3"]]
    assert result.program.unique_bytes() < program.unique_bytes()
    [before], [after] = program.run().values(), result.program.run().values()
    torch.testing.assert_close(after, before, atol=0.02, rtol=0.02)
    verify("drop", program, result.program, context(program).calibration[0], exact=False)


@pytest.mark.parametrize("form", ["pre", "parallel"])
def test_without_a_block_the_program_is_the_network_without_it(form: str) -> None:
    torch.manual_seed(0)
    layers = [Layer(8, form) for _ in range(4)]
    net, smaller = Stack(layers, 8).eval(), Stack([layers[0], layers[3]], 8)
    smaller.embed, smaller.norm, smaller.head = net.embed, net.norm, net.head
    x = torch.randn(2, 6, 5)
    result = Drop(sites={"layers.1": {"unit": "block"}, "layers.2": {"unit": "block"}}).run(
        captured(net, x), Context(load_target("host"))
    )
    [value] = result.program.run([x]).values()
    torch.testing.assert_close(value, smaller(x))


def test_without_a_mixer_the_mlp_stays() -> None:
    torch.manual_seed(0)
    net = Stack([Layer(8) for _ in range(3)], 8).eval()
    x = torch.randn(2, 6, 5)
    program = captured(net, x)
    result = Drop(sites={"layers.1.mixer": {"unit": "mixer"}}).run(program, Context(load_target("host")))
    assert {n for n in program.tensors() if n not in result.program.tensors()} == set(result.changed)
    assert all(name.startswith(("layers.1.attention.", "layers.1.one.")) for name in result.changed)
    net.layers[1].attention.forward = lambda x, mask=None: torch.zeros_like(x)
    [value] = result.program.run([x]).values()
    torch.testing.assert_close(value, net(x))


def test_any_takes_single_branches() -> None:
    program = weakened(transformer(4), "layers.1.attention.", "layers.3.mlp.")
    result = Drop(0.25, unit="any", heal="none").run(program, context(program))
    assert result.settings == {"layers.1.mixer": {"unit": "mixer"}, "layers.3.mlp": {"unit": "mlp"}}


def test_settings_do_exactly_the_same_again() -> None:
    program = transformer(4)
    once = Drop(0.5, unit="mlp", heal="none").run(program, context(program))
    again = Drop(sites=once.settings).run(program, Context(load_target("host")))
    assert again.program.hash() == once.program.hash()
    assert again.settings == once.settings


def test_greedy_measures_anew_after_each() -> None:
    """Two blocks that undo each other: either is missed, both together are not."""

    class Add(nn.Module):
        def __init__(self, sign: float, scale: float) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)
            nn.init.zeros_(self.linear.weight)
            self.linear.bias.data = sign * scale * torch.tensor([1.0, -2, 3, 0, 1, 0, 2, -1])

        def forward(self, x: Tensor) -> Tensor:
            return x + self.linear(x)

    net = Stack([Add(1, 1.0), Add(1, 0.5), Add(-1, 0.5), Add(1, 1.1)], 8)
    program = captured(net, torch.randn(2, 6, 5))
    result = Drop(0.5, by="greedy").run(program, context(program))
    assert set(result.settings) == {"layers.1.linear", "layers.2.linear"}
    note, count = result.notes
    assert count == "2 of 4 blocks went"
    assert note.startswith("dropped, with the outputs' relative distance")


def test_convolutional_blocks() -> None:
    program = captured(ResNet50(), torch.randn(1, 3, 64, 64))
    result = Drop(0.25, by="influence").run(program, context(program, 1))
    assert len(result.settings) == 3
    assert len(found(result.program)) > 0
    verify("drop", program, result.program, context(program, 1).calibration[0], exact=False)


def test_a_decoder_loses_the_cache_of_what_goes() -> None:
    program = program_of(llama(layers=3))
    batch = {**texts("input_ids", 4), "attention_mask": torch.ones(4, 12, dtype=torch.int64)}
    given = Context(load_target("host"), calibration=[batch], synthetic=False)
    for site in ("model.layers.0", "model.layers.2"):
        result = Drop(sites={site: {"unit": "block"}}).run(program, given)
        index = site.rpartition(".")[2]
        gone = {s.name for s in program.inputs} - {s.name for s in result.program.inputs}
        assert gone == {f"past_key_values.{index}.key", f"past_key_values.{index}.value"}
        lost = {s.name for s in program.outputs} - {s.name for s in result.program.outputs}
        assert lost == {f"present.{index}.key", f"present.{index}.value"}
        assert result.program.run(batch)["logits"].shape == program.run(batch)["logits"].shape
        verify("drop", program, result.program, batch, exact=False)


def test_a_decoder_as_it_is_captured_is_measured_and_dropped() -> None:
    program = program_of(llama(layers=4))
    batch = {**texts("input_ids", 4), "attention_mask": torch.ones(4, 12, dtype=torch.int64)}
    result = Drop().run(program, Context(load_target("host"), calibration=[batch], synthetic=False))
    assert len(result.settings) == 1
    assert len([spec for spec in result.program.inputs if spec.name.startswith("past_key_values.")]) == 6


def test_options_have_bytes_latency_and_damage() -> None:
    program = weakened(transformer(3), "layers.1.")
    given = context(program)
    options = {option.site: option for option in Drop().options(program, given)}
    assert set(options) == {f"layers.{n}{part}" for n in range(3) for part in ("", ".mixer", ".mlp")}
    whole = Roofline().predict(program, given.target).latency_ms
    assert all(option.latency_ms is not None and option.latency_ms < whole for option in options.values())
    damages = {site: option.damage for site, option in options.items() if site.count(".") == 1}
    assert min(damages, key=lambda site: damages[site] or 0.0) == "layers.1"


def test_the_real_minilm_misses_one_layer_less_than_a_random_one() -> None:
    program = minilm()
    ids = torch.randint(1000, 20000, (4, 16), generator=torch.Generator().manual_seed(0))
    batch = {s.name: torch.ones_like(ids) if "mask" in s.name else torch.zeros_like(ids) for s in program.inputs}
    given = Context(load_target("host"), calibration=[{**batch, "input_ids": ids}], synthetic=False)
    result = Drop(0.17, samples=4).run(program, given)
    assert len(result.settings) == 1
    assert [len(chain) for chain in found(result.program)] in ([5], [4, 1], [1, 4], [2, 3], [3, 2])


def test_what_is_to_be_kept_stays() -> None:
    program = weakened(transformer(4), "layers.1.", "layers.2.")
    result = Drop(0.5, keep=("layers.1*",)).run(program, context(program))
    assert "layers.1" not in result.settings
    assert [(skip.site, skip.reason) for skip in result.skipped] == [("layers.1", "you asked to keep it")]


class _Repeated(nn.Module):
    """The same layer, four times over."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            x = x + self.layer(x).tanh()
        result: Tensor = self.head(x)
        return result


def test_a_block_without_weights_of_its_own_is_told_of_and_can_be_kept() -> None:
    program = captured(_Repeated(), torch.randn(2, 6, 8))
    result = Drop(0.25, heal="none").run(program, context(program))
    assert result.changed == tuple(result.settings)  # not the weights, which are there as before
    assert len(result.settings) == 1
    assert result.program.unique_bytes() == program.unique_bytes()
    again = Drop(sites=result.settings).run(program, context(program))
    assert again.changed == result.changed
    kept = Drop(0.25, keep=("layer",)).run(program, context(program))
    assert not kept.changed
    assert {skip.reason for skip in kept.skipped} >= {"you asked to keep it"}


def test_a_block_that_an_output_looks_into_stays() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            inner = x
            for number, layer in enumerate(self.layers):
                y = layer(x).tanh()
                inner, x = (y if number == 1 else inner), x + y
            return x, inner

    program = captured(Net(), torch.randn(2, 6, 8))
    result = Drop(0.5).run(program, context(program))
    assert "layers.1" not in result.settings
    assert [skip.site for skip in result.skipped] == ["layers.1"]


def test_nothing_to_drop_is_said() -> None:
    program = captured(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(2, 4))
    result = Drop().run(program, context(program))
    assert not result.changed
    assert result.skipped[0].reason == "the graph has not two blocks that can go"
    result = Drop(0.1).run(transformer(4), Context(load_target("host")))
    assert [skip.reason for skip in result.skipped] == ["0.1 of 4 blocks is none"]
    assert result.skipped[0].whole
    result = Drop(0.05, unit="mlp").run(transformer(4), Context(load_target("host")))
    assert [skip.reason for skip in result.skipped] == ["0.05 of 4 MLPs is none"]


def test_without_data_the_last_but_one_goes_and_a_note_says_so() -> None:
    program = transformer(4)
    result = Drop().run(program, Context(load_target("host")))
    assert set(result.settings) == {"layers.2"}
    assert "no calibration data" in result.notes[0]
    assert result.notes[1] == "1 of 4 blocks went"
    with pytest.raises(RecipeError, match="no calibration data"):
        Drop(by="greedy").run(program, Context(load_target("host")))


def test_a_single_sample_folds_nothing() -> None:
    program = transformer(4)
    one = {name: value[:1] for name, value in context(program).calibration[0].items()}
    result = Drop().run(program, Context(load_target("host"), calibration=[one], synthetic=False))
    assert "nothing was folded: a single sample leaves none to judge it by" in result.notes
    assert not any(setting.get("heal") for setting in result.settings.values())


def test_random_is_the_seed_s() -> None:
    program = transformer(6)
    draws = [tuple(Drop(0.5, by="random").run(program, context(program, seed=seed)).settings) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_bad_options_are_refused() -> None:
    for options in ({"amount": 0.0}, {"amount": 1.0}, {"samples": 0}):
        with pytest.raises(RecipeError):
            Drop(**options)  # type: ignore[arg-type]
    program = transformer(2)
    for setting in ({"unit": "mlp"}, {"unit": "block", "heal": 3}):
        with pytest.raises(RecipeError, match="does not fit"):
            Drop(sites={"layers.0": setting}).run(program, context(program))  # type: ignore[dict-item]
    result = Drop(sites={"layers.9": {"unit": "block"}}).run(program, context(program))
    assert result.skipped[0].reason == "the graph has no such block"


def test_milder_drops_half_as_many() -> None:
    assert Drop(0.25).milder() == {"amount": 0.125}
    assert Drop(0.1).milder() is None
