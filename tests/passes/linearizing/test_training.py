"""Activations fade while the network learns; the result has none of what faded them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compressor.passes.linearizing.prepare import apart, functional, trainable
from compressor.passes.linearizing.stretches import named
from compressor.passes.linearizing.training import RAMP, Lesson, fade
from tests.per_kernel import context, images, trained


def test_the_network_learns_to_do_without() -> None:
    plain = functional(trained())
    folded = apart(plain, context())
    stretch = named(folded, "two.expand", "two.project")
    assert stretch is not None
    told = replace(context(), training=[{"x": x} for x, _ in images(16, 3)])
    base = trainable(plain, folded, stretch.nodes, told)
    found = fade(base, stretch.nodes, told, Lesson("40steps"), keep=("stem.*",))
    assert found.done.after < 0.3 * found.done.before
    assert not {node.name for node in found.program.nodes()} & set(stretch.nodes)
    assert RAMP not in found.program.tensors()
    assert not found.program.get("two.expand.bias").any()
    assert found.program.get("stem.weight").equal(trained().get("stem.weight")), "kept"
    [scores] = found.program.run().values()
    assert scores.shape == (2, 4)
    assert found.done.metric[1] == pytest.approx(1.0, abs=0.1)
