"""Runs passes one after the other: build, run (or take from the cache), verify, gate.

A stage is cached under everything that decides its result, so a run that was interrupted resumes after its last
finished pass.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from compressor.cache import Cache, Shelf, write_json
from compressor.crew import Announce
from compressor.errors import CompressError, PassError, RecipeError
from compressor.gate import Gate
from compressor.graph import storage
from compressor.graph.contract import Batch, Context, Pass, PassResult, Skip, Value
from compressor.graph.cost import LatencyModel
from compressor.graph.entries import Entry
from compressor.graph.program import Program
from compressor.holding import skipped_sites
from compressor.making import Ledger, Spent
from compressor.passlist import PassSpec
from compressor.recipe import with_sites
from compressor.report.compare import NOTHING
from compressor.report.model import Cost, PassReport
from compressor.verify import verify

__all__ = ["Pipeline", "Stage", "cost_of", "is_transparent", "prepares", "take_back"]

_KEPT = "; kept because you named this pass"
_ENTRY = "entry-{}.pt2"


@dataclass(frozen=True)
class Stage:
    """The program after a pass, what the pass said, and the pass pinned to what it did."""

    program: Program
    report: PassReport
    spec: PassSpec
    eased: Mapping[str, Value] | None = None  # options that `Pipeline.ease` chose
    rescaled: Mapping[str, Tensor] = field(default_factory=dict)  # as the pass's result says it
    entries: Mapping[str, Entry] = field(default_factory=dict)  # the same

    @property
    def kept(self) -> bool:
        return self.report.reverted is None


@dataclass(frozen=True)
class Pipeline:
    """What every pass of a run shares. `fingerprint` stands for target, data, seed and versions in the cache's keys,
    `weighed` for the same without the target."""

    context: Context
    gate: Gate
    cache: Cache
    fingerprint: str
    keep: tuple[str, ...] = ()
    announce: Announce | None = None  # tells other processes of a pass that all run together
    ledger: Ledger | None = None  # counts what stages take
    weighed: str = ""

    def priced_by(self, latency: LatencyModel, identity: str) -> Pipeline:
        """The same with another latency model, which `identity` stands for in the cache's keys."""
        context = replace(self.context, latency=latency)
        return replace(self, context=context, fingerprint=self.cache.key(self.fingerprint, identity))

    def run(self, program: Program, specs: Sequence[PassSpec]) -> list[Stage]:
        """One stage a pass, in order; a reverted one carries the program from before it.

        Raises PassError when a pass that the user named breaks the program; one that the defaults chose is reverted,
        with the reason; RecipeError for one behind a pass that has to be the last.
        """
        _check_order(specs)
        stages: list[Stage] = []
        digest = program.hash()
        prepared: _Prepared | None = None
        for spec in specs:
            since = None if prepared is None else prepared.cost
            stage, key = self._stage(program, digest, spec, [s.spec.name for s in stages], since)
            prepared = (
                _Prepared(len(stages), program, digest, stage.report.before) if _begins(prepared, spec) else prepared
            )
            stages.append(stage)
            if stage.kept:
                program, digest = stage.program, self.cache.key(key, "done")
            elif prepared is not None and not is_transparent(spec):
                program, digest = prepared.program, prepared.digest
                _take_back_all(stages, prepared.first, f"it prepares for {spec.name}, which was taken back")
            prepared = prepared if is_transparent(spec) else None
        return stages

    def again(self, program: Program, stages: Sequence[Stage]) -> list[Stage]:
        """The same passes on another program."""
        specs = (stage.spec for stage in stages)
        return self.run(program, [spec if spec.is_pinned else replace(spec, sites={}) for spec in specs])

    def ease(self, program: Program, stage: Stage, reason: str) -> Stage | None:
        """The same pass once more, on the program from before it, doing less damage.

        None where it cannot do less, did nothing, or where the user chose its options.
        """
        if stage.spec.is_pinned:
            return None
        ours, spec = stage.eased or {}, replace(stage.spec, sites={})
        done = spec.build(self.keep)
        chosen = set(spec.options) - set(ours) - {done.main}
        milder = None if chosen else done.milder()
        if milder is None:
            return None
        spec = replace(spec, options={**spec.options, **milder})
        tried, _ = self._stage(program, program.hash(), spec, [])
        text = f"{reason}; {', '.join(f'{name}={value}' for name, value in milder.items())} was tried next"
        warnings = [stage.report.warning] if ours and stage.report.warning else []
        report = replace(tried.report, warning="; ".join([*warnings, text]))
        return replace(tried, report=report, eased={**ours, **milder}) if tried.kept else None

    def _stage(
        self, program: Program, digest: str, spec: PassSpec, earlier: Sequence[str], since: Cost | None = None
    ) -> tuple[Stage, str]:
        self.context.progress.say(f"{spec}")
        key = self.cache.key(digest, spec, sorted(spec.sites.items()), self.keep, self.fingerprint)
        shelf = Shelf(self.cache, self.fingerprint)
        context = replace(self.context, checkpoint=self.cache.work(key), shelf=shelf)
        announce = None if self.announce is None else partial(self.announce, spec, self.keep, program)
        shared = self.gate, self.cache, key, self.keep, earlier, announce, self.ledger, since
        return _run_one(program, spec, context, *shared), key


def _run_one(
    program: Program, spec: PassSpec, context: Context, gate: Gate, cache: Cache, key: str,
    keep: tuple[str, ...], earlier: Sequence[str], announce: Callable[[], None] | None = None,
    ledger: Ledger | None = None, since: Cost | None = None,
) -> Stage:  # fmt: skip
    """`since` is the cost from before what prepared for this pass: both are judged together."""
    objection: str | None
    started = time.perf_counter()
    done, before = spec.build(keep), cost_of(program, context)
    try:
        with cache.hold(key, partial(context.progress.say, f"{spec}: another run makes the same; waiting for it")):
            result = _cached(cache, key, ledger) or _fresh(
                done, program, context, cache, key, earlier, announce, ledger
            )
        if not result.changed:  # a recipe leaves the pass out: what it only wrote otherwise has to go, too
            result = replace(result, program=program)
        after = cost_of(result.program, context)
        later = spec.build().prepares or (since is not None and is_transparent(spec))
        unjudged = later or spec.chosen_by == "planner" or _will_be_measured(context, gate)
        objection = None if unjudged else gate.objection(since or before, after)
    except CompressError as error:
        if not spec.is_ours:
            raise
        result, after, objection = PassResult(program), before, str(error)
    revert = objection is not None and (spec.chosen_by == "default" or gate.strict)
    report = PassReport(
        name=spec.name,
        before=before,
        after=after,
        options=dict(spec.options),
        chosen_by=spec.chosen_by,
        changed=result.changed,
        skipped=skipped_sites(program, result.skipped),
        reverted=objection if revert else None,
        warning=_warning(result, None if revert else objection),
        notes=result.notes,
        seconds=time.perf_counter() - started,
    )
    kept = program if revert else result.program
    return Stage(kept, report, with_sites(spec, result.settings), rescaled=result.rescaled, entries=result.entries)


def _check_order(specs: Sequence[PassSpec]) -> None:
    for spec, after in itertools.pairwise(specs):
        if spec.build().last:
            raise RecipeError(
                f"{after.name} would change the network and not its entries", where=f"{spec.name},{after.name}",
                way_out=f"Write {spec.name} last.",
            )  # fmt: skip


@dataclass(frozen=True)
class _Prepared:
    """What was there before the first pass that only prepares for the next one."""

    first: int
    program: Program
    digest: str
    cost: Cost


def _begins(prepared: _Prepared | None, spec: PassSpec) -> bool:
    return prepared is None and spec.build().prepares


def is_transparent(spec: PassSpec) -> bool:
    """Whether a pass pays only with the one after it: it prepares for that, or trains what was prepared."""
    kind = spec.build()
    return kind.prepares or kind.trains


def _take_back_all(stages: list[Stage], first: int, reason: str) -> None:
    for index in range(first, len(stages) - 1):
        if stages[index].kept:
            stages[index] = take_back(stages[index], reason)


def _will_be_measured(context: Context, gate: Gate) -> bool:
    """Where times are measured when selecting, here or on a board, a prediction has no say."""
    return (context.target.is_host or gate.measured) and gate.axes == ("latency",)


def _warning(result: PassResult, objection: str | None) -> str | None:
    told = [result.missed] if result.missed else []
    if objection is not None:
        return "; ".join([*told, f"{objection}{_KEPT}"])
    return "; ".join(told) or (None if result.changed else NOTHING)


def _fresh(
    done: Pass, program: Program, context: Context, cache: Cache, key: str, earlier: Sequence[str],
    announce: Callable[[], None] | None = None, ledger: Ledger | None = None,
) -> PassResult:  # fmt: skip
    note = None if context.checkpoint is None else context.checkpoint.with_name("spent.json")
    with contextlib.nullcontext() if ledger is None else ledger.stage(key, note):
        result = _made(done, program, context, earlier, announce)
    spent = None if ledger is None else ledger.last_stage
    cache.store(key, lambda folder: _write(folder, result, spent))
    return result


def _made(
    done: Pass, program: Program, context: Context, earlier: Sequence[str], announce: Callable[[], None] | None
) -> PassResult:  # fmt: skip
    try:
        if done.trains and announce is not None:
            announce()
        result = done.run(program, context)
    except CompressError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise PassError(f"failed: {type(error).__name__}: {line}", where=f"pass {done.name}") from error
    if result.changed:
        batch = _verification_batch(program, context)
        verify(done.name, program, result.program, batch, exact=done.exact, earlier=earlier)
    return result


def _verification_batch(program: Program, context: Context) -> Batch:
    if context.calibration:
        return context.calibration[0]
    return {spec.name: tensor for spec, tensor in zip(program.inputs, program.example, strict=True)}


def _write(folder: Path, result: PassResult, spent: Spent | None) -> None:
    storage.save(result.program, folder / "program.pt2")
    for number, entry in enumerate(result.entries.values()):
        storage.save(entry.program, folder / _ENTRY.format(number))
    write_json(
        folder / "result.json",
        {
            "changed": result.changed,
            "skipped": [(skip.site, skip.reason, skip.whole) for skip in result.skipped],
            "settings": [(site, list(setting.items())) for site, setting in result.settings.items()],  # in their order
            "notes": result.notes,
            "missed": result.missed,
            "entries": [(name, list(entry.rows.items())) for name, entry in result.entries.items()],
            "rescaled": {layer: factors.tolist() for layer, factors in result.rescaled.items()},
            "spent": None if spent is None else spent.to_json(),
        },
    )


def _cached(cache: Cache, key: str, ledger: Ledger | None) -> PassResult | None:
    folder = cache.find(key)
    if folder is None:
        return None
    try:
        said = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        program = storage.load(folder / "program.pt2")
        skipped = tuple(Skip(site, reason, whole) for site, reason, whole in said["skipped"])
        settings = {site: dict(setting) for site, setting in said["settings"]}
        rescaled = {layer: torch.tensor(factors) for layer, factors in said["rescaled"].items()}
        changed, notes = tuple(said["changed"]), tuple(said["notes"])
        entries = {name: _entry(folder, number, rows) for number, (name, rows) in enumerate(said["entries"])}
        result = PassResult(program, changed, skipped, settings, notes, rescaled, str(said["missed"]), entries)
        if ledger is not None and said.get("spent") is not None:
            ledger.take(key, Spent.from_json(said["spent"]))
    except (OSError, ValueError, KeyError, TypeError, CompressError):
        cache.forget(key)  # a damaged entry costs a recomputation, never the run
        return None
    return result


def _entry(folder: Path, number: int, rows: Sequence[tuple[str, Sequence[Sequence[int] | None]]]) -> Entry:
    kept = {name: tuple(None if one is None else tuple(one) for one in axes) for name, axes in rows}
    return Entry(storage.load(folder / _ENTRY.format(number)), kept)


def cost_of(program: Program, context: Context) -> Cost:
    """Predicted latency (None without a model) and unique bytes."""
    estimate = context.latency.predict(program, context.target) if context.latency else None
    return Cost(estimate.latency_ms if estimate else None, program.unique_bytes())


def prepares(stage: Stage) -> bool:
    """Whether a stage pays only with the pass after it."""
    return stage.spec.build().prepares


def take_back(stage: Stage, reason: str) -> Stage:
    """The same stage, reverted after the fact (the metric or a measurement objected)."""
    warning = (stage.report.warning or "").removesuffix(_KEPT) or None
    return replace(stage, report=replace(stage.report, reverted=reason, warning=warning))
