"""Share on trained and random networks: bytes fall, time does not, norms stay, recipes repeat, bad options are told."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from boards import board
from decoders import llama, program_of
from sharing_nets import context, deep_gpt, residual_cnn
from tiny import next_byte_loss, text_batches
from torch import nn

from compressor.errors import RecipeError
from compressor.graph.capture import capture
from compressor.graph.contract import Context, PassResult, Value
from compressor.graph.cost import Roofline
from compressor.passes import find_pass
from compressor.passes.share import Share
from compressor.passlist import parse_passes

BLOCK = 4 * 12 * 32 * 32  # bytes of a block's matrices


def predicted(program: object) -> float:
    return Roofline().predict(program, board()).latency_ms  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ({}, 2 * BLOCK),
        ({"blocks": "all"}, 3 * BLOCK),
        ({"groups": "sandwich"}, BLOCK),
        ({"groups": "cka", "weights": "central"}, 2 * BLOCK),
        ({"blocks": "all", "part": "mlp", "weights": "mean"}, 3 * BLOCK * 2 // 3),
        ({"part": "mixer", "weights": "merged"}, 2 * BLOCK // 3),
        ({"blocks": "1", "tie": "ffn", "weights": "mean"}, 4 * BLOCK // 3),
        ({"blocks": "2", "tie": "ffn", "weights": "central"}, 2 * BLOCK + 2 * BLOCK // 3),
    ],
)
def test_bytes_fall_and_no_time_is_saved(options: dict[str, str], gone: int) -> None:
    program = deep_gpt()
    done = Share(**options).run(program, context(calibration=text_batches(1, 8)))  # type: ignore[arg-type]
    assert program.unique_bytes() - done.program.unique_bytes() == gone
    assert predicted(done.program) == pytest.approx(predicted(program), rel=1e-9), "every block still runs"
    assert any("no time" in note for note in done.notes)
    assert all(f"blocks.{i}.norm1.weight" in done.program.tensors() for i in range(4))
    assert torch.isfinite(next(iter(done.program.run().values()))).all()
    again = Share(sites=done.settings).run(program, context(calibration=text_batches(1, 8)))
    assert again.program.hash() == done.program.hash()
    assert again.settings == done.settings


def test_without_repeat_blocks_go_and_time_is_saved() -> None:
    program = deep_gpt()
    done = Share(repeat=False).run(program, context(calibration=()))
    assert {name.split(".")[1] for name in done.program.tensors() if name.startswith("blocks.")} == {"0", "2"}
    assert predicted(done.program) < 0.7 * predicted(program)
    assert done.notes == ("dropped blocks.1, blocks.3; blocks.0, blocks.2 stay for their groups",)
    assert Share(sites=done.settings).run(program, context(calibration=())).program.hash() == done.program.hash()


def test_fitted_weights_do_the_least_damage_and_the_mean_of_trained_blocks_much() -> None:
    losses = {rule: next_byte_loss(share(weights=rule).program) for rule in ("fitted", "central", "mean")}
    assert next_byte_loss(deep_gpt()) < losses["fitted"] <= losses["central"] + 0.02
    assert losses["fitted"] < losses["mean"]


def share(**options: Value) -> PassResult:
    return Share(**options).run(deep_gpt(), context())  # type: ignore[arg-type]


def test_weights_in_slots() -> None:
    program = residual_cnn()
    done = Share("4", "random").run(program, Context(board(), seed=5))
    assert done.settings == {"slots": {"weights_a_slot": 4.0, "seed": 5}}
    assert done.program.unique_bytes() < 0.3 * program.unique_bytes()
    assert predicted(done.program) == pytest.approx(predicted(program), rel=1e-9)
    assert Share(sites=done.settings).run(program, Context(board())).program.hash() == done.program.hash()


def test_kept_blocks_stay_alone() -> None:
    done = Share(weights="central", keep=("blocks.0.q.*",)).run(deep_gpt(), context(calibration=()))
    assert list(done.settings) == ["blocks.1"]
    assert {skip.site for skip in done.skipped} == {"blocks.0", "blocks.3"}


def test_options_save_bytes_and_no_milliseconds() -> None:
    program, where = deep_gpt(), context(calibration=text_batches(1, 8))
    options = list(Share(weights="central").options(program, where))
    assert {str(option.setting["part"]) for option in options} == {"block", "mlp"}
    assert len(options) == 4
    for option in options:
        assert option.bytes in (program.unique_bytes() - BLOCK, program.unique_bytes() - BLOCK * 2 // 3)
        assert option.latency_ms == pytest.approx(predicted(program), rel=1e-9)
        assert option.damage is not None
        assert option.damage > 0
        done = Share(sites={option.site: option.setting}).run(program, where)
        assert done.program.unique_bytes() == option.bytes


def test_tied_matrices_are_offered_pair_by_pair() -> None:
    program, where = deep_gpt(), context(calibration=())
    options = list(Share(blocks="1", tie="ffn").options(program, where))
    assert len(options) == 4
    assert all(option.setting["tied"] and option.bytes == program.unique_bytes() - BLOCK // 3 for option in options)


def test_what_shares_already_and_what_cannot_be_so_many_is_said() -> None:
    where = context(calibration=())
    once = Share().run(deep_gpt(), where)
    again = Share().run(once.program, where)
    assert not again.changed
    assert {skip.reason for skip in again.skipped} == {"its group has one set of weights already"}
    assert not list(Share().options(once.program, where))
    assert Share(repeat=False).run(once.program, where).changed, "what shares may still go"
    every = Share(blocks="9").run(deep_gpt(), where)
    assert "there are no 9 blocks alike in a row: groups have 4 at most" in every.notes


def test_it_is_a_structural_pass_and_gives_way_in_steps() -> None:
    assert find_pass("share") is Share
    assert Share.structural
    assert Share("all").milder() == {"blocks": "2", "groups": "pairs"}
    assert Share("5").milder() == {"blocks": "2"}
    assert Share().milder() == {"part": "mlp"}
    assert Share(part="mlp").milder() is None
    assert Share("10", "random").milder() == {"blocks": "5"}
    assert Share("2", "random").milder() is None
    assert Share("1", "random").groups == "random"  # a slot for every weight


def test_spelling() -> None:
    [spec] = parse_passes("share=all:part=mlp:weights=mean")
    assert spec.build() == Share("all", part="mlp", weights="mean")
    [spec] = parse_passes("share=10:groups=random")
    assert spec.build() == Share("10", "random")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"blocks": "0"}, "blocks is '0'"), ({"blocks": "many"}, "blocks is 'many'"), ({"samples": 0}, "samples is 0"),
        ({"repeat": False, "part": "mlp"}, "without repeat"), ({"blocks": "0.5", "groups": "random"}, "weights_a_slot"),
        ({"groups": "random", "tie": "ffn"}, "notice of tie"), ({"groups": "random", "part": "mlp"}, "notice of part"),
        ({"blocks": "1"}, "shares none"), ({"blocks": "01", "groups": "cka"}, "shares none"),
        ({"sites": {"blocks.0": {"units": "x"}}}, "missing key"), ({"sites": {"slots": {}}}, "no setting"),
    ],
)  # fmt: skip
def test_bad_options(options: dict[str, object], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        Share(**options)  # type: ignore[arg-type]


def test_a_network_without_blocks_is_left_alone() -> None:
    program = capture(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), (torch.randn(2, 4),)).program
    done = Share().run(program, replace(context(), calibration=()))
    assert done.program is program
    assert done.skipped


@pytest.mark.parametrize("options", [{}, {"blocks": "1", "tie": "ffn"}])
def test_what_capture_lifted_is_no_hindrance(options: dict[str, str]) -> None:
    """A decoder's capture holds constants that are gone once it is free of in-place operators."""
    program = program_of(llama())
    batches = [{spec.name: value for spec, value in zip(program.inputs, program.example, strict=True)}]
    done = Share(**options).run(program, context(calibration=batches))  # type: ignore[arg-type]
    assert done.changed
    assert all(torch.isfinite(value).all() for value in done.program.run().values())
