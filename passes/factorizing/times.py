"""What layers take as they are and as thinner ones, as the latency model predicts.

    faster  ⇔  t(the thin layers' kernels) < t(the layer's kernel)        each with what fuses into it

Both programs are predicted whole, the second with weights of the right sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from compressor.graph.contract import Context
from compressor.graph.cost import Estimate
from compressor.graph.edit import finish
from compressor.graph.program import Program
from compressor.passes.factorizing.rewrite import blank, rewrite
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import Site, find_sites

__all__ = ["Times", "predict_times"]


@dataclass(frozen=True)
class Times:
    """Milliseconds by site before and after, and of the whole program; `calibrated` where they are measured ones."""

    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    all: tuple[float, float] = (0.0, 0.0)
    calibrated: bool = False

    def whole(self, name: str) -> float | None:
        """The program's time with that site alone thinner; None where it is not known."""
        known = name in self.before and name in self.after
        return self.all[0] - self.before[name] + self.after[name] if known else None

    def faster(self, name: str) -> bool:
        """Whether the thin layers take less time; so, too, where nothing is known."""
        return name not in self.before or name not in self.after or self.after[name] < self.before[name]

    def told(self, name: str) -> str:
        """Both numbers in words."""
        origin = "" if self.calibrated else " (uncalibrated)"
        return f"{self.after[name]:.3g} ms, the layer as it is {self.before[name]:.3g} ms{origin}"


def predict_times(program: Program, choices: Mapping[str, Choice], context: Context) -> Times:
    """Times of the sites of a functional program with these choices; nothing without a latency model."""
    if context.latency is None or not choices:
        return Times()
    copy = program.copy()
    sites = [site for site in find_sites(copy)[0] if site.name in choices]
    old = {site.name: {node.name for node in site.nodes} for site in sites}
    new = {site.name: _rewritten(copy, site, choices[site.name]) for site in sites}
    changed = finish(copy)
    before, after = (context.latency.predict(each, context.target) for each in (program, changed))
    totals = before.latency_ms, after.latency_ms
    kept = {name: new[name] | _fused(before, mine) for name, mine in old.items()}
    return Times(before.times(old), after.times(kept), totals, after.calibrated)


def _rewritten(program: Program, site: Site, choice: Choice) -> set[str]:
    """Rewrites the site; the names of the new nodes."""
    known = {node.name for node in program.graph.nodes}
    rewrite(program, site, blank(site, choice))
    return {node.name for node in program.graph.nodes} - known


def _fused(estimate: Estimate, mine: set[str]) -> set[str]:
    """What is in the same kernels as these nodes: thin layers that it does not fuse with pay for it."""
    return {node for kernel in estimate.kernels if mine.intersection(kernel.nodes) for node in kernel.nodes} - mine
