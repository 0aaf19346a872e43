"""Which ranks are taken, and what is declined: no saving, no time saved, on targets for latency and for size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from boards import board
from every_layer import every, functional

from compressor.graph.contract import Batch, Context
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.passes.factorizing.choose import IN_FLOAT, Chosen, Wish, choose, surveyed
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import Site, find_sites
from compressor.targets.target import Figure

WISH: dict[str, Any] = {"amount": 0.5, "rank": "ratio", "energy": 0.9, "form": "auto", "slower": False}
FREE = board(node_overhead=Figure(0.0, "test"))
SIZE = board(objective="size")


@pytest.fixture(scope="module")
def program() -> Program:
    return functional(every())


@pytest.fixture(scope="module")
def batches(program: Program) -> list[Batch]:
    return [{program.inputs[0].name: torch.randint(0, 60, (16, 6), generator=torch.Generator().manual_seed(1))}]


def chosen(program: Program, batches: list[Batch], target: Any = SIZE, **changes: Any) -> Chosen:
    usual = Choice(1, method="activation" if batches else "svd")
    wish = Wish(**{**WISH, "usual": usual, **changes})
    context = Context(target, Roofline(), batches, synthetic=False)
    return choose(program, find_sites(program)[0], wish, batches, context)


def by_name(program: Program) -> dict[str, Site]:
    return {site.name: site for site in find_sites(program)[0]}


def test_the_ratio_holds_in_every_layer(program: Program) -> None:
    found, sites = chosen(program, []), by_name(program)
    assert found.choices.keys() == sites.keys()
    for name, [first, *others] in found.choices.items():
        shape = sites[name].shape
        assert shape.weights(first) <= 0.5 * shape.dense
        assert not first.inner
        assert bool(others) == (name == "wide")  # `stem` has one channel
        assert all(other.inner and shape.weights(other) <= shape.weights(first) for other in others)


def test_the_form(program: Program) -> None:
    assert [c.inner for c in chosen(program, [], form="pair").choices["wide"]] == [0]
    assert [c.inner > 0 for c in chosen(program, [], form="tucker").choices["wide"]] == [True]
    assert [c.inner for c in chosen(program, [], form="tucker").choices["hidden"]] == [0]


def test_ranks_by_energy(program: Program, batches: list[Batch]) -> None:
    context = Context(SIZE, None, batches, synthetic=False)
    spectra = {site.name: spectrum for site, spectrum in surveyed(program, find_sites(program)[0], batches, context)}
    found, sites = chosen(program, batches, rank="energy", energy=0.8), by_name(program)
    for name, [first, *_] in found.choices.items():
        assert spectra[name].error(first.rank) ** 2 <= 0.2 + 1e-9
        assert first.rank % 8 == 0 or first.rank < 8
    tight = chosen(program, batches, rank="energy", energy=0.9999)
    assert tight.skipped
    for skip in tight.skipped:
        assert "would hold as many weights: two layers save up to rank" in skip.reason
        assert f"{sites[skip.site].shape.break_even}" in skip.reason
        assert skip.site not in tight.choices


def test_what_saves_no_time_is_declined(program: Program) -> None:
    slow = chosen(program, [], board(node_overhead=Figure(1e-3, "test")))
    assert not slow.choices
    assert slow.notes == (IN_FLOAT,)
    assert chosen(program, []).notes == (), "bytes decided"
    assert {skip.site for skip in slow.skipped} == set(by_name(program))
    assert all("is predicted to take no less time: 2" in skip.reason for skip in slow.skipped if skip.site == "hidden")
    assert (
        chosen(program, [], board(node_overhead=Figure(1e-3, "test")), slower=True).choices.keys()
        == by_name(program).keys()
    )
    assert chosen(program, [], FREE).choices.keys() >= {"wide", "hidden", "plain"}
    assert chosen(program, [], board(objective="size", node_overhead=Figure(1e-3, "test"))).choices


def test_ranks_by_latency_reach_the_share(program: Program, batches: list[Batch]) -> None:
    found, sites = chosen(program, batches, FREE, rank="latency"), by_name(program)
    left = sum(
        sites[name].shape.weights(found.choices[name][0]) if name in found.choices else sites[name].shape.dense
        for name in sites
    )
    assert left <= 0.5 * sum(site.shape.dense for site in sites.values())
    for name, [first, *_] in found.choices.items():
        assert first.rank <= sites[name].shape.break_even


def test_where_bytes_decide_ranks_by_latency_count_weights(program: Program, batches: list[Batch]) -> None:
    found = chosen(program, batches, SIZE, rank="latency", amount=0.2)
    assert found.choices
    assert {skip.reason for skip in found.skipped} <= {"no rank is worth what it would save"}
