"""Layer folding: exact rewrites of neighbouring layers into fewer, until none applies.

The equations are in `folding/`, one file each; layers become one only where that costs less (`folding/runs.py`). A rule
acts at sites named `rule:layer`; in-place operators are first rewritten out of place, because no equation holds where a
value changes after it was computed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import fx

from compressor.errors import RecipeError, did_you_mean
from compressor.graph import edit, shapes
from compressor.graph.contract import Context, Option, Pass, PassResult, Setting, Skip
from compressor.graph.functional import functionalize, mutated
from compressor.graph.program import Program
from compressor.passes.folding import RULES
from compressor.passes.folding.rule import Bench, Rule
from compressor.passes.recover.factors import thinned_from

__all__ = ["Fold"]

_ALLOWANCE = (1 << 16, 1 << 20)  # bytes that folded constants may add in all: 1% of the model's, within these


@dataclass(frozen=True)
class Fold(Pass):
    """Exact. Every site's setting is `{"rule": NAME}`; with `sites`, only those are folded."""

    name: ClassVar[str] = "fold"
    exact: ClassVar[bool] = True

    def options(self, program: Program, context: Context) -> Iterable[Option]:
        """Each site that folds, with the bytes of the tensors that it leaves in place of those it replaces."""
        done = _Folding(program, self, context, measure=True).run()
        return [Option(site, _setting(site), size, damage=0.0) for site, size in done.changed.items()]

    def run(self, program: Program, context: Context) -> PassResult:
        """Raises RecipeError when a site's setting names no rule."""
        for site, setting in self.sites.items():
            _check(site, setting)
        done = _Folding(program, self, context).run()
        skipped = tuple(done.skipped())
        if not done.changed:
            return PassResult(program, (), skipped)
        settings = {site: _setting(site) for site in done.changed}
        return PassResult(edit.finish(done.bench.program), tuple(done.changed), skipped, settings)


class _Folding:
    """One run to the fixed point. `changed` maps each site to the bytes of the tensors it wrote, if measured."""

    def __init__(self, program: Program, request: Fold, context: Context, *, measure: bool = False) -> None:
        self.request, self.measure = request, measure
        self.changed: dict[str, int] = {}
        self.declined: dict[str, str] = {}
        low, high = _ALLOWANCE
        allowance = min(max(program.unique_bytes() // 100, low), high)
        thin = {} if context.teacher is None else thinned_from(program, context.teacher)
        self.bench = Bench(edit.begin(program), request.keep, allowance, context.latency, context.target, thin=thin)
        edit.delete_unused(self.bench.program)  # what nothing needs would count as a reader
        self.left = functionalize(self.bench.program)
        self.changing = mutated(self.bench.program)

    def run(self) -> _Folding:
        while sum(map(self._try, RULES)):  # every rule in every round
            edit.delete_unused(self.bench.program)
            shapes.infer(self.bench.program)
        return self

    def skipped(self) -> list[Skip]:
        """What was considered and left alone, and the sites asked for that do not exist."""
        declined = [Skip(site, reason) for site, reason in self.declined.items() if site not in self.changed]
        known = {*self.changed, *self.declined}
        missing = [Skip(site, "the model has no such site") for site in self.request.sites if site not in known]
        return [*self.left, *declined, *missing]

    def _try(self, rule: Rule) -> bool:
        """One rule at every site; whether it changed anything."""
        progress = False
        for node in rule.matches(self.bench):
            site = f"{rule.name}:{edit.layer_name(node)}"
            if node._erased or (self.request.sites and site not in self.request.sites):
                continue
            before = self._stored()
            reason = self._forbidden(node, site) or rule.apply(self.bench, node)
            if reason is None:
                progress = True
                after = self._stored()
                self.changed[site] = self.changed.get(site, 0) + sum(after[key] for key in after.keys() - before.keys())
            else:
                self.declined[site] = reason
        return progress

    def _forbidden(self, node: fx.Node, site: str) -> str | None:
        if edit.is_kept(site.partition(":")[2], self.request.keep):
            return "kept as asked"
        near = {node, *node.users, *node.all_input_nodes}
        near |= {source for inner in node.all_input_nodes for source in inner.all_input_nodes}
        return None if near.isdisjoint(self.changing) else "a tensor beside it is changed in place"

    def _stored(self) -> dict[int, int]:
        """Bytes of each storage that the graph reads; empty unless measured."""
        program = self.bench.program
        read = [n for n in program.graph.find_nodes(op="get_attr") if n.users] if self.measure else []
        tensors = [t for node in read if (t := edit.tensor_of(program, node)) is not None]
        return {t.untyped_storage()._cdata: t.numel() * t.element_size() for t in tensors}


def _setting(site: str) -> Setting:
    return {"rule": site.partition(":")[0]}


def _check(site: str, setting: Setting) -> None:
    known = [rule.name for rule in RULES]
    rule = str(setting.get("rule", ""))
    if rule not in known:
        raise RecipeError(f"fold has no rule {rule!r}", where=f"site {site!r}", way_out=did_you_mean(rule, known))
    if not site.startswith(f"{rule}:"):
        raise RecipeError(f"site {site!r} is not one of rule {rule!r}", way_out=f"Name it {rule}:LAYER.")
