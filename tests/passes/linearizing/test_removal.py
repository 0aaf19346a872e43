"""Activations go at once or blend away; a bias before a padded layer moves into that layer."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.folding.rule import Bench
from compressor.passes.linearizing.prepare import apart, functional, trainable
from compressor.passes.linearizing.removal import blended, removed, settled
from compressor.passes.linearizing.stretches import find_stretches
from tests.classics import MobileNetV2
from tests.per_kernel import context, trained


@pytest.fixture(scope="module")
def folded() -> Program:
    return apart(functional(trained()), context())


@functools.cache
def _nodes(folded: Program) -> list[str]:
    return [name for stretch in find_stretches(folded, context()).stretches for name in stretch.nodes]


def _without(folded: Program) -> Program:
    copy = edit.begin(folded)
    removed(Bench(copy), _nodes(folded))
    return edit.finish(copy)


def test_without_them_fold_merges_to_the_last_layer_and_exactly(folded: Program) -> None:
    plain = _without(folded)
    assert not plain.get("one.expand.bias").any(), "it moved into the depthwise layer"
    merged = Fold().run(plain, context())
    ops = [str(node.target) for node in merged.program.nodes()]
    assert sum("conv" in op for op in ops) == 4, "stem, one block, the gate, the other block"
    assert sum("linear" in op for op in ops) == 1, "the feed-forward block, its sum and the head"
    x = torch.randn(3, 1, 8, 8)
    [ours], [theirs] = merged.program.run([x]).values(), plain.run([x]).values()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_blend_is_the_original_at_its_start_and_without_activations_at_its_end(folded: Program, share: float) -> None:
    base = trainable(functional(trained()), folded, _nodes(folded), context())
    copy = edit.begin(base)
    first = next(node for node in copy.graph.nodes if node.op == "call_function")
    ramp = edit.add_tensor(copy, "ramp", torch.tensor(share), first, buffer=True)
    bench, names = Bench(copy), set(_nodes(folded))
    blends = [blended(bench, node, ramp) for node in list(copy.graph.nodes) if node.name in names]
    blend = edit.finish(copy)
    expected = _without(folded) if share else trained()
    x = torch.randn(3, 1, 8, 8)
    for candidate in (blend, settled(blend, blends)) if share else (blend,):
        [ours], [theirs] = candidate.run([x]).values(), expected.run([x]).values()
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert {b.moved is not None for b in blends} == {True, False}
    assert "ramp" not in settled(blend, blends).tensors()


def test_a_real_network_merges_bit_close() -> None:
    torch.manual_seed(0)
    model = MobileNetV2()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    x, told = torch.randn(2, 3, 32, 32), replace(context(), latency=None)
    copy = edit.begin(apart(functional(capture(model.eval(), (x,)).program), told))
    removed(Bench(copy), [node.name for node in copy.nodes() if "hardtanh" in str(node.target)])
    plain = edit.finish(copy)
    merged = Fold().run(plain, told).program
    convs = [sum("conv2d" in str(node.target) for node in program.nodes()) for program in (plain, merged)]
    assert convs[0] == 52
    assert convs[1] < 30
    [ours], [theirs] = merged.run([x]).values(), plain.run([x]).values()
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5
