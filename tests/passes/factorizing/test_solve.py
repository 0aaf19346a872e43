"""What is solved: full rank is exact, data lower the error, biases take on the mean, a refit follows what changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from every_layer import every, functional
from torch import Tensor

from compressor.graph.contract import Batch, Progress
from compressor.graph.program import Program
from compressor.passes.factorizing.ranks import pair_rank, twin
from compressor.passes.factorizing.read import Seen
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import Site, find_sites
from compressor.passes.factorizing.solve import WIDEST, Made, made, solve, spectrum_of

SVD, ACTIVATION, REFIT = Choice(1), Choice(1, method="activation"), Choice(1, method="activation", refit=True)


@pytest.fixture(scope="module")
def program() -> Program:
    return functional(every())


@pytest.fixture(scope="module")
def batches(program: Program) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    name = program.inputs[0].name
    return [{name: torch.randint(0, 60, (32, 6), generator=generator)} for _ in range(2)]


def solved(program: Program, batches: list[Batch], usual: Choice, keep: float = 0.5) -> dict[str, Made]:
    sites = find_sites(program)[0]
    choices = {site.name: [replace(usual, rank=pair_rank(site.shape, keep, 1))] for site in sites}
    return {site.name: one for site, one in solve(program, sites, choices, batches, Progress())}


def test_full_rank_is_the_layer(program: Program, batches: list[Batch]) -> None:
    sites = find_sites(program)[0]
    for usual in (SVD, ACTIVATION, REFIT):
        choices = {site.name: [replace(usual, rank=site.shape.full)] for site in sites}
        for site, one in solve(program, sites, choices, batches, Progress()):
            weight = site.matrix(program)
            assert float((one.parts.product - weight).norm() / weight.norm()) < 1e-4
            assert one.error < 1e-4
            if one.bias is not None and site.bias:
                assert torch.allclose(one.bias, program.get(site.bias), atol=1e-3)


def test_data_lower_the_error_at_equal_rank(program: Program, batches: list[Batch]) -> None:
    plain = solved(program, batches, SVD)
    for name, one in solved(program, batches, ACTIVATION).items():
        assert one.error < one.plain, name
        assert one.choice.rank == plain[name].choice.rank


def test_a_refit_lowers_what_the_layers_before_lost(program: Program, batches: list[Batch]) -> None:
    alone, fitted = solved(program, batches, ACTIVATION, 0.3), solved(program, batches, REFIT, 0.3)
    assert fitted["stem"].error == pytest.approx(alone["stem"].error)  # nothing before it has changed
    assert fitted["wide"].error < alone["wide"].error
    assert sum(one.error for one in fitted.values()) < sum(one.error for one in alone.values())


def test_biases_take_on_the_mean(program: Program, batches: list[Batch]) -> None:
    found = solved(program, batches, ACTIVATION)
    with_bias = {name for name, one in found.items() if one.bias is not None}
    assert with_bias == {"stem", "wide", "point", "hidden", "twice"}  # `wide` had none, which costs nothing to add
    rows = torch.randn(4000, 20) + 3
    [site] = [site for site in find_sites(program)[0] if site.name == "hidden"]
    seen = Seen(torch.cat([rows, rows[:, :12]], 1))
    one = made(program, site, [Choice(6, method="activation")], seen)
    assert seen.rows is not None
    assert one.bias is not None
    before = seen.rows @ site.matrix(program).float().T + program.get("hidden.bias")
    after = seen.rows @ one.parts.product.float().T + one.bias
    assert torch.allclose(before.mean(0), after.mean(0), atol=1e-3)


def test_without_data_it_is_plain(program: Program) -> None:
    for one in solved(program, [], SVD).values():
        assert one.bias is None
        assert one.error == one.plain > 0


def test_the_form_with_the_least_error_is_made(program: Program, batches: list[Batch]) -> None:
    sites = [site for site in find_sites(program)[0] if site.name == "wide"]
    pair = Choice(pair_rank(sites[0].shape, 0.5, 1), method="activation")
    other = twin(sites[0].shape, pair, 1)
    assert other is not None
    errors = {}
    for offered in ([pair], [other], [pair, other]):
        [(_, one)] = solve(program, sites, {"wide": offered}, batches, Progress())
        errors[len(offered), one.choice] = one.error
    assert errors[2, next(choice for count, choice in errors if count == 2)] == min(errors.values())


def test_an_embedding_is_cut_for_the_rows_that_are_read() -> None:
    class Words(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(60, 32)

        def forward(self, ids: Tensor) -> Tensor:
            return self.words(ids).mean(1)

    from compressor.graph.capture import capture

    program = functional(capture(Words(), (torch.randint(0, 60, (2, 9)),)).program)
    [site] = find_sites(program)[0]
    seen = Seen(counts=torch.bincount(torch.arange(10).repeat(50), minlength=60))
    table = site.matrix(program)
    lost = {}
    for choice in (Choice(12), Choice(12, method="activation")):
        lost[choice.method] = (table - made(program, site, [choice], seen).parts.product)[:10].norm()
    assert float(lost["activation"]) < 0.3 * float(lost["svd"])


def test_inputs_that_cannot_weigh(program: Program, batches: list[Batch]) -> None:
    [site] = [site for site in find_sites(program)[0] if site.name == "hidden"]
    choice = Choice(4, method="activation")
    for seen, note in ((Seen(torch.zeros(9, 32)), "not finite, or all zero"), (None, "never reaches it")):
        one = made(program, site, [choice], seen)
        assert note in one.note
        assert torch.allclose(one.parts.product, made(program, site, [Choice(4)], None).parts.product)
    wide = replace(site, shape=replace(site.shape, channels=WIDEST + 1))
    assert "are more than the 8192" in made(program, wide, [Choice(4)], Seen(torch.ones(9, 32))).note


def test_the_spectrum_tells_the_error(program: Program) -> None:
    def site_of(name: str) -> Site:
        return next(site for site in find_sites(program)[0] if site.name == name)

    rows = torch.randn(3000, 48) * torch.logspace(0, -2, 48)
    plain = site_of("plain")
    one = made(program, plain, [Choice(9, method="activation")], Seen(rows))
    assert spectrum_of(program, plain, Seen(rows)).error(9) == pytest.approx(one.error, rel=0.05)
    assert spectrum_of(program, plain, None).error(9) > 1.5 * one.error
