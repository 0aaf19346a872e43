"""Checks of training thin layers, from scratch and after a cut, on the GPT: figures are perplexities, unless they say
otherwise."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from models.gpt import Gpt
from timing import timed
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context, Setting
from compressor.graph.edit import finish
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.factorize import Factorize
from compressor.passes.factorizing.butterfly import BLOCK, butterfly
from compressor.passes.factorizing.ranks import flat_twin, pair_rank
from compressor.passes.factorizing.rewrite import rewrite
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import Site, find_sites
from compressor.passes.factorizing.svd import decompose
from compressor.passes.recover import Settings, recover

from . import language
from .claim import Claim, Figures, Goal

__all__ = ["CLAIMS"]

RATE = 3e-3  # from scratch


def fresh(seed: int) -> Program:
    """The GPT as it is before training."""
    subject = language.subject()
    [ids] = subject.batches(2, 0)[0].values()
    torch.manual_seed(seed)
    return capture(Gpt().eval(), (ids[:2],)).program


def trained(program: Program, seed: int, steps: int) -> Program:
    """On the next byte alone; the trained GPT, which the engine asks for, teaches nothing."""
    held = language.subject().batches(32, 99)
    return recover(
        program, language.subject().program, language.lessons(seed, steps), f"{steps}steps", losses="task", held=held,
        settings=Settings(rate=RATE), seed=seed,
    ).program  # fmt: skip


def mlps(program: Program) -> list[Site]:
    return [site for site in find_sites(functional_copy(program)[0])[0] if ".mlp." in site.name]


# ------------------------------------------------------------------------------------------- self-guided training

FFN = 0.32  # of the parameters
LONGER = 240  # steps of thin layers alone
GUIDED = 160  # as many operations: dense layers, three times the thin ones', go along for the first half


def thin_settings(program: Program, share: float = FFN) -> Mapping[str, Setting]:
    return {site.name: {"rank": pair_rank(site.shape, share, 1), "method": "svd"} for site in mlps(program)}


def alone(seed: int) -> Figures:
    """MLPs of low rank from the start."""
    program = fresh(seed)
    cut = Factorize(sites=thin_settings(program)).run(program, language.context(seed)).program
    return {"perplexity": language.subject().metric(trained(cut, seed, LONGER))}


def guided(seed: int) -> Figures:
    """The same, led by dense layers that fade out."""
    program = fresh(seed)
    lesson: Setting = {"train": f"{GUIDED}steps", "losses": "task", "rate": RATE}
    given = language.context(seed, training=language.lessons(seed, GUIDED), teacher=language.subject().program)
    done = Factorize(sites={**thin_settings(program), "program": lesson}).run(program, given)
    return {"perplexity": language.subject().metric(done.program)}


def one_row(width: int, seed: int) -> Figures:
    """A feed-forward layer of low rank on one row, in ONNX Runtime."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)).eval()
    program = capture(net, (torch.randn(1, width),)).program
    sites = {site.name: {"rank": pair_rank(site.shape, FFN, 8)} for site in find_sites(functional_copy(program)[0])[0]}
    given = language.context(seed)
    cut = Factorize(sites=sites).run(program, given).program
    found = timed(program, cut, given, {program.inputs[0].name: torch.randn(1, width)})
    return {**found, "times": found["ms"] / found["dense_ms"]}


TRAINING = Claim(
    "low-rank-training", "GPT from scratch with 32% of the MLPs' weights; 240 steps, or 160 of as many operations",
    {"alone": alone, "guided": guided, "row": functools.partial(one_row, 512)},
    [
        Goal("self-guided against low rank alone", "guided.perplexity", "alone.perplexity", "ratio", 0.99),
        Goal("no faster on one row at width 512: times the dense layer's", "row.times", "1", "points", 0.0),
    ],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------------- Butterfly

BUDGET = 0.25  # of the MLPs' weights
Pattern = Literal["butterfly", "random", "none"]


def blocked(kind: Pattern, seed: int) -> Program:
    """The trained GPT with MLPs of a pattern of blocks and low rank, or of low rank alone, by weights."""
    copy, _ = functional_copy(language.subject().program)
    generator = torch.Generator().manual_seed(seed)
    for site in [site for site in find_sites(copy)[0] if ".mlp." in site.name]:
        pair = Choice(pair_rank(site.shape, BUDGET, 1))
        matrix, other = site.matrix(copy), flat_twin(site.shape, pair, 1)
        if kind == "none" or other is None:
            rewrite(copy, site, decompose(matrix).cut(pair.rank))
            continue
        shuffled = _shuffled(site, other.blocks, generator) if kind == "random" else None
        rewrite(copy, site, butterfly(matrix, other.rank, other.blocks, columns=shuffled))
    return finish(copy)


def _shuffled(site: Site, count: int, generator: torch.Generator) -> Tensor:
    """As many blocks in each row, by chance."""
    columns = site.shape.inputs // BLOCK
    rows = [torch.randperm(columns, generator=generator)[:count] for _ in range(site.shape.outputs // BLOCK)]
    return torch.stack(rows)


def patterned(kind: Pattern) -> Callable[[int], Figures]:
    def arm(seed: int) -> Figures:
        cut = blocked(kind, seed)
        return {"before": language.subject().metric(cut), "after": language.recovered(cut, seed)}

    return arm


def speed(width: int, seed: int) -> Figures:
    """A linear layer with a quarter of the weights as a butterfly, on 16 rows, in ONNX Runtime."""
    torch.manual_seed(seed)
    program = capture(nn.Linear(width, width).eval(), (torch.randn(1, 16, width),)).program
    given: Context = language.context(seed)
    cut = Factorize(amount=1 - BUDGET, form="butterfly", method="svd", slower=True).run(program, given).program
    times = timed(program, cut, given, {program.inputs[0].name: torch.randn(1, 16, width)})
    return {**times, "weights": cut.parameters() / program.parameters()}


BUTTERFLY = Claim(
    "pixelated-butterfly", "GPT of 1.9M, MLPs with a quarter of their weights, 80 steps of recovery; a layer of 1,024",
    {
        "butterfly": patterned("butterfly"), "random": patterned("random"), "low-rank": patterned("none"),
        "speed": functools.partial(speed, 1024),
    },
    [
        Goal("against low rank alone", "butterfly.after", "low-rank.after", "ratio", 0.98),
        Goal("against random blocks", "butterfly.after", "random.after", "ratio", 0.98),
        Goal("times as fast as dense at width 1,024", "speed.speedup", "2", "points", 0.0),
    ],
)  # fmt: skip

# ------------------------------------------------------------------------------------------- Subformer's embedding

EMBEDDING_STEPS = 160


def embedded(thin: bool, seed: int) -> Figures:
    """The GPT from scratch, its embedding (tied to the head) whole or as two matrices of a quarter of its width."""
    program = fresh(seed)
    width = Gpt().words.embedding_dim
    if thin:
        [table] = [site.name for site in find_sites(functional_copy(program)[0])[0] if site.kind == "tied"]
        sites: dict[str, Setting] = {table: {"rank": width // 4, "method": "svd"}}
        program = Factorize(sites=sites).run(program, language.context(seed)).program
    whole = language.subject().program.unique_bytes()
    saved = (whole - program.unique_bytes()) / (4 * Gpt().words.weight.numel())
    return {"perplexity": language.subject().metric(trained(program, seed, EMBEDDING_STEPS)), "share": 1 - saved}


EMBEDDING = Claim(
    "subformer-embedding", "GPT from scratch, 160 steps; the embedding tied to the head at a quarter of its width",
    {"whole": functools.partial(embedded, False), "thin": functools.partial(embedded, True)},
    [
        Goal("perplexity of the factorized one", "thin.perplexity", "whole.perplexity", "ratio", 1.02),
        Goal("bytes of the embedding", "thin.share", "0.34", "ratio", 1.0),
    ],
)  # fmt: skip

CLAIMS = (TRAINING, BUTTERFLY, EMBEDDING)
