"""Stretches of layers that become one layer when the activations between them are gone, and what that gains.

    gain(i, j) = cost(program) − cost(program with layers i … j as one)        cost: predicted ms, bytes, or MACs

What cannot be merged exactly, or costs more merged, is no stretch: its activations stay, with the reason. Of stretches
that overlap the one that gains more for an activation is offered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compressor.graph import edit
from compressor.graph.contract import Context, Skip
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.passes.folding.layers import layer_of
from compressor.passes.folding.parallel import Parallel
from compressor.passes.folding.rule import Bench
from compressor.passes.folding.runs import TOO_MANY, put, run_map
from compressor.passes.linearizing.activations import Link, find_links
from compressor.passes.linearizing.removal import removed

__all__ = ["Found", "Stretch", "cost_of", "find_stretches", "named"]

LONGEST = 4  # layers of a stretch


@dataclass(frozen=True)
class Stretch:
    """Consecutive links; `gain` is the share of the program's cost that merging it saves."""

    links: tuple[Link, ...]
    gain: float = 0.0

    @property
    def name(self) -> str:
        return self.links[0].first.name

    @property
    def through(self) -> str:
        return self.links[-1].second.name

    @property
    def activations(self) -> tuple[str, ...]:
        return tuple(link.activation.name for link in self.links if link.activation is not None)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The activations' names in the graph."""
        return tuple(link.activation.node.name for link in self.links if link.activation is not None)

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.name, *(link.second.name for link in self.links))


@dataclass(frozen=True)
class Found:
    """What a folded program offers: stretches that do not overlap, the others' reasons, how many activations it has."""

    stretches: tuple[Stretch, ...]
    skipped: tuple[Skip, ...]
    count: int


def find_stretches(program: Program, context: Context, keep: Sequence[str] = ()) -> Found:
    """The stretches of a folded program that are better merged; shapes and latency model alone are asked.

    Unweighed it is all that can be merged: those of which one layer has the fewest multiply–accumulates.
    """
    bench = Bench(program, tuple(keep))
    links, skipped = find_links(bench)
    gates = sum("gate" in skip.reason for skip in skipped)
    between = [link.activation.name for link in links if link.activation is not None]
    reasons: dict[str, str] = {}
    base, offered = cost_of(program, context), []
    for stretch in _segments(links):
        result = _gain(program, stretch, context, base, tuple(keep))
        if isinstance(result, str):
            reasons.update({name: reasons.get(name, result) for name in stretch.activations})
        else:
            offered.append(Stretch(stretch.links, result))
    chosen = _apart(offered)
    taken = {name for stretch in chosen for name in stretch.activations}
    stay = [Skip(name, reasons.get(name, "nothing merges without it")) for name in between if name not in taken]
    return Found(tuple(chosen), (*skipped, *stay), len(between) + len(skipped) - gates)


def named(program: Program, name: str, through: str, keep: Sequence[str] = ()) -> Stretch | None:
    """The stretch of a folded program from one layer through another, if it may be touched."""
    bench = Bench(program, tuple(keep))
    links, _ = find_links(bench)
    wanted = (s for s in _segments(links) if (s.name, s.through) == (name, through) and not _blocked(bench, s))
    return next(wanted, None)


def cost_of(program: Program, context: Context) -> float:
    """What the target counts: bytes where files are to be small, else predicted milliseconds, else MACs."""
    if context.unweighed:
        return float(Roofline().predict(program, context.target).macs)
    if context.target.objective == "size":
        return float(program.unique_bytes())
    if context.latency is not None:
        return context.latency.predict(program, context.target).latency_ms
    return float(Roofline().predict(program, context.target).macs)


def _segments(links: Sequence[Link]) -> Iterator[Stretch]:
    """All runs of up to `LONGEST` layers with an activation between some of them."""
    after = {link.first.node: link for link in links}
    for start in links:
        run = [start]
        while len(run) < LONGEST:
            if any(link.activation for link in run):
                yield Stretch(tuple(run))
            following = after.get(run[-1].second.node)
            if following is None:
                break
            run.append(following)


def _gain(program: Program, stretch: Stretch, context: Context, base: float, keep: tuple[str, ...]) -> float | str:
    """The share of the cost that is saved, or why nothing is."""
    if (reason := _unfit(Bench(program, keep), stretch)) is not None:
        return reason
    trial = edit.begin(program)
    twins = dict(zip(program.graph.nodes, trial.graph.nodes, strict=True))
    bench = Bench(trial, keep)
    nodes = [twins[stretch.links[0].first.node], *(twins[link.second.node] for link in stretch.links)]
    removed(bench, stretch.nodes)
    layers = [layer for node in nodes if (layer := layer_of(bench, node)) is not None]
    made = run_map(bench, layers, real=True)
    if isinstance(made, str):
        return made
    put(bench, made, layers, layers[-1].node, layers[0].source)
    _with_sum(bench)
    gain = 1 - cost_of(edit.finish(trial), context) / base
    if gain <= 0 and not context.unweighed:
        return f"{', '.join(stretch.layers)} as one layer would be no gain ({-100 * gain:+.1f}%)"
    return gain


def _unfit(bench: Bench, stretch: Stretch) -> str | None:
    """Why the layers are no one layer, or one that nothing runs faster, as far as their sizes tell."""
    if (reason := _blocked(bench, stretch)) is not None:
        return reason
    layers = [stretch.links[0].first, *(link.second for link in stretch.links)]
    made = run_map(bench, layers, real=False, biases=False)
    if isinstance(made, str):
        return made
    if made.weight.numel() > TOO_MANY * sum(layer.weight.meta["val"].numel() for layer in layers):
        return f"one layer in place of {', '.join(stretch.layers)} would have {made.weight.numel():,} weights"
    return None


def _blocked(bench: Bench, stretch: Stretch) -> str | None:
    layers = [stretch.links[0].first, *(link.second for link in stretch.links)]
    return next((reason for layer in layers if (reason := layer.blocked(bench)) is not None), None)


def _with_sum(bench: Bench) -> None:
    """Take residual sums into merged layers, as fold will."""
    rule = Parallel()
    for node in list(rule.matches(bench)):
        rule.apply(bench, node)


def _apart(offered: Sequence[Stretch]) -> list[Stretch]:
    """Those that share no layer, the most gain for an activation first; in the order of execution."""
    taken: set[str] = set()
    chosen = []
    for stretch in sorted(offered, key=lambda s: -s.gain / len(s.activations)):
        if taken.isdisjoint(stretch.layers):
            taken.update(stretch.layers)
            chosen.append(stretch)
    return sorted(chosen, key=lambda stretch: stretch.links[0].first.node)
