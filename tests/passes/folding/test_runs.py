"""Runs of layers, what one layer in their place costs, and under whose names it goes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.passes.folding.layers import layer_of
from compressor.passes.folding.rule import Bench
from compressor.passes.folding.runs import costs_more, put, run_map, runs
from compressor.targets.loader import load_target
from tests.per_kernel import PerKernel

MODEL = nn.Sequential(
    nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 3)
)


def _bench() -> Bench:
    torch.manual_seed(0)
    return Bench(edit.begin(capture(MODEL.eval(), (torch.randn(2, 4, 9, 9),)).program))


def test_a_run_ends_at_what_is_no_layer() -> None:
    bench = _bench()
    nodes = [node for node in bench.program.nodes() if layer_of(bench, node)]
    assert [[layer.name for layer in run.layers] for run in runs(bench, nodes[-1])] == [[], ["4"], ["3", "4"]]
    kept = replace(bench, keep=("3.*",))
    assert [len(run.layers) for run in runs(kept, nodes[-1])] == [0, 1]


def test_the_one_layer_takes_the_names_of_the_largest_kernel() -> None:
    bench = _bench()
    before = bench.program.run()
    node = [node for node in bench.program.nodes() if layer_of(bench, node)][1]
    run = runs(bench, node)[2]
    sizes, made = (run_map(bench, run.layers, real=real) for real in (False, True))
    assert not isinstance(made, str)
    assert not isinstance(sizes, str)
    assert sizes.geometry == made.geometry
    put(bench, made, run.layers, node, run.source)
    merged = edit.finish(bench.program)
    assert tuple(merged.get("1.weight").shape) == (8, 4, 3, 3)
    assert "0.weight" not in merged.tensors()
    for name, value in merged.run().items():
        torch.testing.assert_close(value, before[name], atol=1e-5, rtol=1e-5)


def test_costs() -> None:
    bench = _bench()
    node = [node for node in bench.program.nodes() if layer_of(bench, node)][1]
    run = runs(bench, node)[2]
    made = run_map(bench, run.layers, real=False)
    assert not isinstance(made, str)
    arguments = (made, run.layers, node, run.source)
    assert "multiply–accumulates" in str(costs_more(bench, *arguments))
    known = replace(bench, latency=PerKernel(), target=load_target("x86-64"))
    assert costs_more(known, *arguments) is None
    dear = replace(known, latency=PerKernel(1e9))
    assert "is predicted to take" in str(costs_more(dear, *arguments))
