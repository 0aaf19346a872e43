"""Checks of low rank: what a cut loses and gains (Greenformers), what features bring back (PELA), where it is borne
(LASER)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

from subjects import SUBJECTS, Subject
from timing import timed

from compressor.devices.latency.lookup import latency_model
from compressor.graph.contract import Context, Setting
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.factorize import Factorize
from compressor.passes.factorizing.probe import measure_ranks
from compressor.passes.factorizing.sites import Site, find_sites
from compressor.passes.recover import Settings, recover
from compressor.targets.loader import load_target

from . import language, vision
from .claim import Claim, Figures, Goal

__all__ = ["CLAIMS", "encoder", "ranks"]

MINILM_TESTS, SAMPLES = 2048, 128


@functools.cache
def minilm() -> Subject:
    return SUBJECTS["minilm"](MINILM_TESTS)


def context(given: Subject, seed: int, samples: int = SAMPLES) -> Context:
    target = load_target("host")
    batches = given.batches(samples, seed)
    return Context(target, latency=latency_model(target), calibration=batches, synthetic=False, seed=seed)


def encoder(program: Program) -> list[Site]:
    """The linear layers of blocks: no embedding, no pooler, no head."""
    inside = (site for site in find_sites(functional_copy(program)[0])[0] if site.kind == "linear")
    return [site for site in inside if any(part.isdigit() for part in site.name.split("."))]


def ranks(program: Program, share: float, method: str) -> Mapping[str, Setting]:
    """This share of the full rank in every layer of the encoder."""
    setting = {site.name: max(int(share * site.shape.full), 1) for site in encoder(program)}
    return {name: {"rank": rank, "method": method} for name, rank in setting.items()}


# ---------------------------------------------------------------------------------------------------- Greenformers


def full_rank(seed: int) -> Figures:
    """The largest difference of any output of MiniLM at full rank."""
    program, batch = minilm().program, minilm().batches(32, seed)[0]
    cut = Factorize(sites=ranks(program, 1.0, "svd")).run(program, context(minilm(), seed)).program
    pairs = zip(program.run(batch).values(), cut.run(batch).values(), strict=True)
    return {"difference": max(float((a - b).abs().max()) for a, b in pairs)}


def quarter(method: str, seed: int) -> Figures:
    """MiniLM at a quarter of the full rank: the encoder's bytes, the time of a sentence, and what the outputs lose."""
    subject = minilm()
    given, program = context(subject, seed), subject.program
    cut = Factorize(sites=ranks(program, 0.25, method)).run(program, given).program
    dense = 4 * sum(site.shape.dense for site in encoder(program))
    batches = subject.batches(64, 1000 + seed)
    error = size = 0.0
    for batch in batches:
        exact, ours = (next(v for v in each.run(batch).values() if v.dim() == 3) for each in (program, cut))
        error, size = error + float((ours - exact).square().sum()), size + float(exact.square().sum())
    times = timed(program, cut, given, batches[0]) if method == "svd" else {}
    share = 1 - (program.unique_bytes() - cut.unique_bytes()) / dense
    return {"share": share, "error": math.sqrt(error / size), "cosine": subject.metric(cut), **times}


def planned(seed: int) -> Figures:
    """What the pass takes and declines by itself where 5% of the weights go, and where 60% go; how fast both are."""
    subject = minilm()
    given, program = context(subject, seed), subject.program
    found = {amount: Factorize(amount=amount, method="svd").run(program, given) for amount in (0.05, 0.6)}
    names = {site.name for site in encoder(program)}
    taken = {amount: len(names & set(result.settings)) / len(names) for amount, result in found.items()}
    batch = subject.batches(32, 1000 + seed)[0]
    near, times = (timed(program, found[amount].program, given, batch) for amount in (0.05, 0.6))
    return {
        "taken near break-even": taken[0.05], "speedup near break-even": near["speedup"], "taken at 0.6": taken[0.6],
        **times,
    }  # fmt: skip


GREENFORMERS = Claim(
    "greenformers", "MiniLM's encoder; rank a quarter of the full one where nothing else is said",
    {
        "full": full_rank, "svd": functools.partial(quarter, "svd"),
        "activation": functools.partial(quarter, "activation"), "planned": planned,
    },
    [
        Goal("largest difference at full rank", "full.difference", "0.0001", "ratio", 1.0),
        Goal("bytes of the encoder", "svd.share", "0.55", "ratio", 1.0),
        Goal("times as fast", "svd.speedup", "1", "points", 0.0),
        Goal("what is taken near break-even runs no slower", "planned.speedup near break-even", "1", "points", 0.0),
        Goal("times as fast where the pass chooses", "planned.speedup", "1", "points", 0.0),
        Goal("outputs' error by inputs against plain", "activation.error", "svd.error", "ratio", 0.8),
    ],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------------------ PELA

IMAGES, EPOCHS, FEW = 6000, 3, 0.1
FEATURES, BOUND = "task+1*hidden", "task+1*hidden+1*bound"
SENTENCES = 1024


def compressed(subject: Subject, times: int, seed: int) -> Program:
    """All layers by plain SVD at one ratio: `times` fewer weights."""
    cut = Factorize(amount=1 - 1 / times, method="svd", refit=False, form="pair", slower=True)
    return cut.run(subject.program, context(subject, seed)).program


def taught(times: int, losses: str, share: float, seed: int) -> Figures:
    """ViT: the accuracy after the cut and after distilling features, and the share of the drop that came back."""
    subject = vision.vit()
    cut = compressed(subject, times, seed)
    batches = vision.lessons(cut, int(IMAGES * share), 1000 + seed, True)
    held = vision.lessons(cut, 256, 7, True)
    done = recover(
        cut, subject.program, batches, f"{EPOCHS}epochs", losses=losses, held=held, settings=Settings(rate=1e-3),
        seed=seed,
    )  # fmt: skip
    dense, before, after = (vision.accuracy(each) for each in (subject.program, cut, done.program))
    return {"before": before, "accuracy": after, "back": (after - before) / max(dense - before, 1e-6)}


def sentences(seed: int) -> Figures:
    """MiniLM with a third of the weights: the cosine with the original's embeddings, before and after."""
    subject = minilm()
    cut = compressed(subject, 3, seed)
    lessons, held = subject.batches(SENTENCES, 1000 + seed), subject.batches(64, 99)
    done = recover(cut, subject.program, lessons, "2epochs", losses="1*hidden+1*mse", held=held, seed=seed)
    return {"before": subject.metric(cut), "cosine": subject.metric(done.program)}


def _taught(times: int, losses: str, share: float = 1.0) -> Callable[[int], Figures]:
    return functools.partial(taught, times, losses, share)


PELA = Claim(
    "pela", "ViT with a half and a third of the weights, 3 epochs of 6,000 images; MiniLM with a third",
    {
        "half": _taught(2, FEATURES), "third": _taught(3, FEATURES), "half-bound": _taught(2, BOUND),
        "third-bound": _taught(3, BOUND), "few": _taught(3, FEATURES, FEW), "few-bound": _taught(3, BOUND, FEW),
        "minilm": sentences,
    },
    [
        Goal("share of the drop that came back, half", "half.back", "0.7", "points", 0.0),
        Goal("share of the drop that came back, a third", "third.back", "0.7", "points", 0.0),
        Goal("the bound does not hurt, half", "half-bound.accuracy", "half.accuracy", "points", -0.002),
        Goal("the bound does not hurt, a third", "third-bound.accuracy", "third.accuracy", "points", -0.002),
        Goal("the bound helps with a tenth of the data", "few-bound.accuracy", "few.accuracy", "points", 0.001),
        Goal("MiniLM's cosine over SVD alone", "minilm.cosine", "minilm.before", "points", 0.05),
    ],
)  # fmt: skip

# ----------------------------------------------------------------------------------------------------------- LASER

RHO = 0.1


def probed(seed: int) -> Figures:
    """How far the GPT's scores go with one matrix at a tenth of its rank: the MLPs of the later half, and others."""
    subject = language.subject()
    program, _ = functional_copy(subject.program)
    sites = [site for site in find_sites(program)[0] if "blocks." in site.name]
    found = measure_ranks(program, sites, subject.batches(16, 1000 + seed), shares=(RHO,))
    damage = {each.site: each.damage.additive for each in found}
    late = [n for n in damage if ".mlp." in n and max(language.blocks_of(n)) >= 3]
    rest = [value for name, value in damage.items() if name not in late]
    early = [v for n, v in damage.items() if ".mlp." in n and n not in late]
    mean = {"late": [damage[n] for n in late], "others": rest, "early MLPs": early}
    return {name: sum(values) / len(values) for name, values in mean.items()}


LASER = Claim(
    "laser", "GPT of 1.9M, one matrix at a time at a tenth of its rank, by plain SVD: divergence of the scores",
    {"probe": probed},
    [Goal("MLPs of the later half against all other matrices", "probe.late", "probe.others", "ratio", 0.5)],
)  # fmt: skip

CLAIMS = (GREENFORMERS, PELA, LASER)
