"""Layers in slots: exact with a slot for every weight, smaller otherwise, the same from the same seed, trainable."""

from __future__ import annotations

import pytest
import torch
from sharing_nets import deep_gpt, residual_cnn
from tiny import next_byte_loss, text_batches

from compressor.errors import RecipeError
from compressor.passes.recover.engine import recover
from compressor.passes.sharing.slots import SITE, in_slots, parse_slots


def test_nothing_is_lost_with_a_slot_for_every_weight() -> None:
    done = in_slots(deep_gpt(), 1.0, 0, ())
    [ours], [theirs] = done.program.run().values(), deep_gpt().run().values()
    assert torch.equal(ours, theirs)
    assert done.program.parameters() < deep_gpt().parameters() + 300, "a few slots fill the grid"


@pytest.mark.parametrize("ratio", [3.0, 10.0])
def test_bytes_fall_by_the_ratio_and_the_variance_stays(ratio: float) -> None:
    program = residual_cnn()
    done = in_slots(program, ratio, 0, ())
    layers = 4 * sum(program.get(name).numel() for name in done.changed)
    saved = program.unique_bytes() - done.program.unique_bytes()
    assert saved == pytest.approx(layers * (1 - 1 / ratio), rel=0.01)
    assert in_slots(program, ratio, 0, ()).program.hash() == done.program.hash()
    assert in_slots(program, ratio, 1, ()).program.hash() != done.program.hash()
    values: dict[str, torch.Tensor] = {}
    for node in done.program.nodes():
        if str(node.target) == "aten.conv2d.default":
            values[node.name] = torch.zeros(1)
    assert len(values) == 9
    assert not any(name in done.program.tensors() for name in done.changed)


def test_a_map_that_takes_more_than_it_saves_is_not_made() -> None:
    done = in_slots(residual_cnn(), 1e6, 0, ())
    assert not done.changed
    assert "the map to so few slots takes" in done.skipped[-1].reason


def test_kept_layers_and_tables_stay() -> None:
    done = in_slots(deep_gpt(), 4.0, 0, ("blocks.0.*",))
    reasons = {skip.site: skip.reason for skip in done.skipped}
    assert reasons["blocks.0.q"] == "kept, as asked"
    assert "blocks.0.q.weight" in done.program.tensors()
    assert any("embedding" in reason for reason in reasons.values())


def test_recovery_trains_the_slots() -> None:
    start = in_slots(deep_gpt(), 4.0, 0, ()).program
    done = recover(start, deep_gpt(), text_batches(4, 16), "12steps", losses="kl")
    assert done.improved
    assert "shared.slots" in done.changed
    assert done.program.unique_bytes() == start.unique_bytes()
    assert next_byte_loss(done.program) < next_byte_loss(start)


@pytest.mark.parametrize("setting", [{}, {"weights_a_slot": 0.5, "seed": 0}, {"weights_a_slot": "many", "seed": 0}])
def test_settings(setting: dict[str, object]) -> None:
    assert parse_slots({"weights_a_slot": 10, "seed": 3}) == (10.0, 3)
    with pytest.raises(RecipeError, match=SITE):
        parse_slots(setting)  # type: ignore[arg-type]
