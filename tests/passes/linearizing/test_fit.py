"""A fit brings the outputs back toward the original's."""

from __future__ import annotations

import torch
from torch import nn

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.passes.folding.rule import Bench
from compressor.passes.linearizing.fit import refit
from compressor.passes.linearizing.importance import calls, damage
from compressor.passes.linearizing.prepare import apart, functional
from compressor.passes.linearizing.removal import removed
from compressor.passes.linearizing.stretches import named
from tests.per_kernel import context, images, trained


def test_the_layers_behind_are_fitted_and_nothing_else_changes() -> None:
    folded = apart(functional(trained()), context())
    stretch = named(folded, "two.expand", "two.project")
    assert stretch is not None
    copy = edit.begin(folded)
    removed(Bench(copy), stretch.nodes)
    bare, batch = edit.finish(copy), {"x": torch.cat([x for x, _ in images(16, 5)])}
    better = refit(bare, folded, calls(stretch), batch)
    held = {"x": torch.cat([x for x, _ in images(8, 6)])}
    assert damage(folded, better, held) < 0.5 * damage(folded, bare, held)
    changed = {name for name, t in bare.tensors().items() if not torch.equal(t, better.get(name))}
    assert changed == {"two.project.weight", "two.project.bias"}, "the depthwise layer is grouped"


def test_a_layer_without_bias_is_given_one_where_it_helps() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 12, bias=False), nn.ReLU(), nn.Linear(12, 4, bias=False), nn.Tanh()).eval()
    batch = {"input": torch.randn(256, 6)}
    dense = capture(net, (batch["input"][:2],)).program
    copy = edit.begin(dense)
    [relu] = [node for node in copy.graph.nodes if "relu" in node.name]
    edit.substitute(copy, relu, relu.all_input_nodes[0])
    bare = edit.finish(copy)
    names = {node.name for node in bare.nodes() if "linear" in node.name}
    better = refit(bare, dense, {max(names)}, batch)
    assert len(better.tensors()) == len(bare.tensors()) + 1
    assert damage(dense, better, batch) < 0.8 * damage(dense, bare, batch)
