"""The rank probe: its errors are those of a network with that matrix cut, and rank by how much a layer matters."""

from __future__ import annotations

import pytest
import torch
from narrow_nets import linear_net, net_batches

from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.factorizing.probe import RankDamage, measure_ranks, rank_choices, ranked
from compressor.passes.factorizing.sites import find_sites


@pytest.fixture(scope="module")
def program() -> Program:
    return functional_copy(linear_net())[0]


@pytest.fixture(scope="module")
def plain(program: Program) -> list[RankDamage]:
    return measure_ranks(program, find_sites(program)[0], net_batches(32))


def test_the_error_is_that_of_the_network_with_the_cut_matrix(program: Program, plain: list[RankDamage]) -> None:
    row = next(each for each in plain if (each.site, each.share) == ("up", 0.1))
    assert (row.rank, row.shape.full) == (12, 128)
    copy, weight = program.copy(), program.get("up.weight").detach()
    u, s, v = torch.linalg.svd(weight)
    cut = (u[:, :12] * s[:12]) @ v[:12]
    copy.module.get_submodule("up").weight = torch.nn.Parameter(cut)
    [batch] = net_batches(32)
    [ours], [exact] = (list(each.run(batch).values()) for each in (copy, program))
    assert row.damage.error == pytest.approx(float((ours - exact).norm() / exact.norm()), rel=1e-3)
    assert row.bytes == 4 * 12 * (256 + 128)
    assert row.saved == 4 * 256 * 128 - row.bytes


def test_a_lower_rank_hurts_more_and_what_is_wide_costs_bytes(plain: list[RankDamage]) -> None:
    for name in ("first", "second", "up", "down"):
        rows = sorted((each for each in plain if each.site == name), key=lambda each: each.rank)
        assert len(rows) == 4
        assert [each.damage.error for each in rows] == sorted((each.damage.error for each in rows), reverse=True)
    square = {each.share: each.saved for each in plain if each.site == "second"}
    assert square[0.75] < 0 == square[0.5] < square[0.25]


def test_the_table_is_ranked(plain: list[RankDamage]) -> None:
    errors = [each.damage.error for each in ranked(plain)]
    assert errors == sorted(errors, reverse=True)
    assert len(errors) == len(plain)


def test_weighed_by_inputs_the_outputs_are_nearer(program: Program, plain: list[RankDamage]) -> None:
    weighed = measure_ranks(
        program, find_sites(program)[0], net_batches(32), method="activation", calibration=net_batches(512)
    )
    pairs = {(each.site, each.share): each.damage.error for each in weighed}
    quarter = [(pairs[each.site, each.share], each.damage.error) for each in plain if each.share == 0.25]
    assert sum(ours < theirs for ours, theirs in quarter) >= 3


def test_a_judge_is_asked_for_every_rank(program: Program) -> None:
    sites = [site for site in find_sites(program)[0] if site.name == "up"]
    found = measure_ranks(program, sites, net_batches(32), shares=(0.5, 0.1), judge=lambda outputs: len(outputs[0][0]))
    assert [(each.share, each.metric) for each in found] == [(0.1, 32), (0.5, 32)]


def test_without_data_the_error_is_that_of_the_weights(program: Program) -> None:
    sites = [site for site in find_sites(program)[0] if site.name == "up"]
    [row] = measure_ranks(program, sites, shares=(0.5,))
    values = torch.linalg.svdvals(program.get("up.weight").detach())
    assert row.damage.error == pytest.approx(float(values[64:].norm() / values.norm()), rel=1e-4)
    assert row.metric is None


def test_small_shares_are_rank_one_once(program: Program) -> None:
    site = next(site for site in find_sites(program)[0] if site.name == "up")
    assert [choice.rank for choice in rank_choices(site, (0.005, 0.01, 0.5), "svd").values()] == [1, 64]
