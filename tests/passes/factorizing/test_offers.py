"""Options: less damage with more bytes, times of the whole program, and settings that run."""

from __future__ import annotations

import itertools

import pytest
import torch
from boards import board
from every_layer import every, functional
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.passes.factorize import Factorize
from compressor.passes.factorizing.offers import offers
from compressor.passes.factorizing.settings import Choice, parse_choice
from compressor.passes.factorizing.sites import find_sites


def test_several_ranks_a_site() -> None:
    program = functional(every())
    sites = find_sites(program)[0]
    batches = [{program.inputs[0].name: torch.randint(0, 60, (16, 6))}]
    context = Context(board(), Roofline(), batches, synthetic=False)
    usual = Choice(1, method="activation", refit=True)
    found = list(offers(program, sites, usual, batches, context))
    groups = {name: list(group) for name, group in itertools.groupby(found, key=lambda option: option.site)}
    assert groups.keys() == {site.name for site in sites}
    for site in sites:
        options = groups[site.name]
        assert len(options) >= 4
        for one, other in itertools.pairwise(options):
            assert one.bytes < other.bytes < 4 * site.shape.dense
            assert one.damage is not None
            assert other.damage is not None
            assert one.damage >= other.damage
        for option in options:
            choice = parse_choice(option.site, option.setting, context)
            assert choice.refit
            assert option.bytes == 4 * site.shape.weights(choice)
            assert option.latency_ms is not None


def test_without_a_latency_model_or_data() -> None:
    program = functional(every())
    found = list(offers(program, find_sites(program)[0][:2], Choice(1), [], Context(board())))
    assert found
    assert all(option.latency_ms is None and option.damage is not None for option in found)


def test_butterflies_are_offered_to_linear_layers_of_whole_blocks() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(128, 96), nn.GELU(), nn.Linear(96, 40))
    program = functional(capture(net.eval(), (torch.randn(2, 128),)).program)
    batches = [{program.inputs[0].name: torch.randn(256, 128)}]
    context = Context(board(), Roofline(), batches, synthetic=False)
    for usual in (Choice(1), Choice(1, method="activation", refit=True)):
        found = list(offers(program, find_sites(program)[0], usual, batches, context))
        flat = [option for option in found if "blocks" in option.setting]
        assert len(flat) == 2  # at a quarter of the weights no rank is left beside the blocks
        assert {option.site for option in flat} == {"0"}
        damages = [option.damage or 0 for option in flat]
        assert damages == sorted(damages, reverse=True)
        assert all(option.latency_ms and option.bytes < 4 * 128 * 96 for option in flat)
    option = flat[1]
    done = Factorize(sites={"0": option.setting}).run(program, context)
    assert done.settings == {"0": option.setting}
    weights = sum(done.program.get(f"0.{role}.weight").numel() for role in ("first", "second", "blocks"))
    assert option.bytes == 4 * weights
    [given] = program.run(batches[0]).values()
    [thin] = done.program.run(batches[0]).values()
    assert float((given - thin).detach().norm() / given.norm()) == pytest.approx(option.damage, rel=0.5)
