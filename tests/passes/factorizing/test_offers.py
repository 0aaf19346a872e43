"""Options: less damage with more bytes, times of the whole program, and settings that run."""

from __future__ import annotations

import itertools

import torch
from boards import board
from every_layer import every, functional

from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
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
