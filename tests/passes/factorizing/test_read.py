"""What layers read: rows of each call, the original's outputs, counts of embeddings, and what the caller changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from every_layer import every, functional
from torch import Tensor

from compressor.graph.contract import Batch, Progress
from compressor.graph.program import Program
from compressor.graph.stepping import Stepper
from compressor.passes.factorizing.read import Seen, read
from compressor.passes.factorizing.sites import find_sites


def batches(program: Program, count: int = 2) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    return [{program.inputs[0].name: torch.randint(0, 60, (4, 6), generator=generator)} for _ in range(count)]


def test_rows_targets_and_counts() -> None:
    program = functional(every())
    sites, given = find_sites(program)[0], batches(program)
    found = {site.name: seen for site, seen in read(program, sites, given, Progress(), {})}
    assert [*found][-1] == "output"  # its last call is the last of all
    for site in sites:
        seen = found[site.name]
        assert seen is not None
        assert seen.usable
        assert seen.rows is not None
        assert seen.targets is not None
        assert seen.rows.shape == (len(seen.targets), site.shape.inputs)
        assert torch.allclose(seen.targets, seen.rows @ site.matrix(program).float().T, atol=1e-4)
    ids = torch.cat([batch[program.inputs[0].name].flatten() for batch in given])
    tied, twice = found["output"], found["twice"]
    assert tied is not None
    assert tied.counts is not None
    assert torch.equal(tied.counts, torch.bincount(ids, minlength=60))
    assert twice is not None
    assert len(twice.rows) == 2 * 2 * 4  # type: ignore[arg-type]  two batches, two calls


def test_nothing_runs_after_the_last_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    program, ran = functional(every()), list[str]()
    step = Stepper.step
    monkeypatch.setattr(Stepper, "step", lambda self: ran.append(self.order[self.place].name) or step(self))
    site = next(site for site in find_sites(program)[0] if site.name == "hidden")
    [(_, seen)] = read(program, [site], batches(program), Progress(), {})
    assert seen is not None
    assert seen.targets is not None
    [call], names = site.nodes, [node.name for node in program.graph.nodes if node.op != "output"]
    before = names[: names.index(call.name)]
    assert ran == [name for name in before for _ in range(2)] + [call.name] * 2  # two batches; the original's outputs


def test_later_layers_read_what_earlier_ones_give_by_now() -> None:
    program = functional(every())
    sites, given = find_sites(program)[0], batches(program)
    instead: dict[torch.fx.Node, Any] = {}
    plain = {site.name: seen for site, seen in read(program, sites, given, Progress(), {})}
    changed: dict[str, Seen | None] = {}
    for site, seen in read(program, sites, given, Progress(), instead):
        changed[site.name] = seen
        if site.name == "hidden":
            instead |= {node: lambda *args: 2 * torch.nn.functional.linear(*args) for node in site.nodes}
    for name, doubled in (("wide", False), ("plain", True), ("twice", True)):
        before, after = plain[name], changed[name]
        assert before is not None
        assert after is not None
        assert torch.allclose(before.targets, after.targets)  # type: ignore[arg-type]  those are the original's
        assert torch.allclose(before.rows, after.rows) != doubled  # type: ignore[arg-type]


def test_without_changes_there_are_no_targets() -> None:
    program = functional(every())
    sites = find_sites(program)[0]
    for _, seen in read(program, sites, batches(program), Progress()):
        assert seen is not None
        assert seen.targets is None
    assert all(seen is None for _, seen in read(program, sites, (), Progress()))


def test_what_says_nothing() -> None:
    assert not Seen(torch.zeros(3, 4)).usable
    assert not Seen(torch.ones(3, 4), torch.full((3, 2), float("nan"))).usable
    assert not Seen().usable
    assert Seen(torch.ones(3, 4)).usable
    assert Seen(counts=torch.zeros(3)).usable


def test_many_positions_are_sampled() -> None:
    program = functional(every())
    [stem] = [site for site in find_sites(program)[0] if site.name == "stem"]
    name = program.inputs[0].name
    given: list[Batch] = [{name: torch.randint(0, 60, (64, 6))}]
    [(_, seen)] = read(program, [stem], given, Progress(), {})
    rows: Tensor = seen.rows  # type: ignore[union-attr,assignment]
    assert 8000 < len(rows) < 9000 < 64 * 6 * 24


def test_what_overflows_when_squared_is_not_usable() -> None:
    assert Seen(torch.full((2, 3), 1e4)).usable
    for rows in (torch.full((2, 3), 1e30), torch.tensor([[torch.nan]]), torch.zeros(2, 3)):
        assert not Seen(rows).usable
