"""The main job, for the command line and for Python alike.

request ─ prepare ─ passes ─ select ─ assemble ─▶ bundle, report, exit status
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from compressor.assemble import write
from compressor.cache import Cache, default_folder
from compressor.crew import announcing, help_out
from compressor.devices.latency.lookup import identity, latency_model
from compressor.entries import check_shared, makes_entries
from compressor.errors import InputError, did_you_mean
from compressor.export.custom_op.library import check_tools
from compressor.fronting import Front, find_front
from compressor.graph.contract import Context, Progress
from compressor.grouping import Groups, inspect_groups
from compressor.inspecting import Inspection, inspect_program
from compressor.judging import Workshop
from compressor.keeping import check_keep
from compressor.making import Ledger
from compressor.metrics import parse_drop
from compressor.outcome import Outcome
from compressor.passlist import PassSpec
from compressor.pipeline import Pipeline
from compressor.planning import dry_plan, planned, start
from compressor.prepare import Prepared, prepare
from compressor.ranking import Ranks, inspect_ranks
from compressor.recipe import Recipe
from compressor.recovering import NONE, trains
from compressor.reporting import dry_report
from compressor.request import Request
from compressor.selecting import select
from compressor.sensing import Sensitivities, inspect_sensitivity
from compressor.targets import load_target
from compressor.targets.kernels import CUSTOM_OP, check_kernels
from compressor.targets.tvm import BOTH, TVM, with_runtime
from compressor.tuning import Tuner, check_tune
from compressor.unpacking import check_pack
from compressor.versions import versions
from compressor.workplace import workplace

__all__ = [
    "compress", "front", "front_request", "groups_request", "help_request", "inspect_request", "ranks_request",
    "run_request", "sensitivity_request",
]  # fmt: skip


def compress(model: Any, target: str | None = None, **options: Any) -> Outcome:
    """Compress a model for a target; the same job, options and result as `compress MODEL --target T`.

    `model` is a path or an `nn.Module`. Options are those of the command line with underscores (`max_drop="1%"`,
    `inputs=["1x3x224x224"]`, `out=…`, `say=print` for progress); `data` may also be an iterable of batches and `metric`
    a function of outputs and labels. Raises the errors of `compressor.errors`; the outcome's `exit_code` is 3 when the
    metric fell too far or a budget was missed.
    """
    request, progress = _asked(model, target, options)
    return run_request(request, progress=progress)


def run_request(request: Request, *, progress: Progress | None = None) -> Outcome:
    """Do what was asked. Cheap checks come first; nothing is written before the artifact is verified."""
    with Ledger() as ledger:
        found = _run(replace(request, front=False), progress or Progress(), ledger)
    assert isinstance(found, Outcome)
    return found


def front_request(request: Request, *, progress: Progress | None = None) -> Front:
    """All plans that are worth a thought, in a folder of their recipes; nothing is trained or lowered."""
    if request.passes is not None or request.recipe is not None:
        raise InputError("--front plans by itself", way_out="Leave --passes and --recipe out.")
    with Ledger() as ledger:
        found = _run(replace(request, front=True), progress or Progress(), ledger)
    assert isinstance(found, Front)
    return found


def front(model: Any, target: str | None = None, **options: Any) -> Front:
    """What `compress MODEL --target T --front` finds; options are those of `compress`."""
    request, progress = _asked(model, target, options)
    return front_request(request, progress=progress)


def _run(request: Request, progress: Progress, ledger: Ledger) -> Outcome | Front:
    recipe = request.loaded_recipe()
    request = request if recipe is None else replace(request, keep=recipe.keep)
    named = load_target(request.target_name(recipe))
    target = with_runtime(named, request.runtime)
    beside = with_runtime(named, TVM) if request.runtime == BOTH else None
    specs = request.pass_specs(target, recipe, has_data=request.data is not None)
    if request.train is not None and not any(spec.build().takes_function() for spec in specs):
        raise InputError("no pass runs it", where="--train", way_out="Write --passes prune=0.5:how=dhspg.")
    check_pack(request, target)
    check_kernels(target, request.kernels)
    if request.kernels == CUSTOM_OP:
        check_tools(target)
    check_tune(request, beside or target)
    check_shared(request, specs, target)
    request.carbon_intensity()  # refused before anything slow
    request.check_planning()
    gate, drop_limit, train = request.gate_for(target), parse_drop(request.max_drop), request.training_function()
    out = None if request.dry_run else request.out_folder(target.name)
    seed = request.seed if request.seed is not None else (recipe.seed if recipe else 0)
    learns = _trains(recipe, specs) or (request.plans and request.data is not None and request.recover != NONE)
    prepared = prepare(request, target, seed, progress, train=learns)
    check_keep(prepared.program, request.keep)
    if recipe is not None:
        recipe.check_teacher(None if prepared.teacher is None else prepared.teacher.hash())
    context = replace(_context(prepared, progress), train=train)
    if out is None and not request.plans:
        return Outcome(dry_report(request, prepared, specs, context), None)
    cache = Cache(None if request.no_cache else request.cache_dir or default_folder())
    pipeline = Pipeline(
        context, gate, cache, _fingerprint(cache, prepared, request), tuple(request.keep), ledger=ledger
    )
    begun = start(request, prepared, pipeline, gate) if request.plans else None
    if begun is not None and request.front:
        return find_front(out, request, prepared, begun)
    if begun is not None and out is None:
        return Outcome(dry_plan(begun, request, prepared, context), None)
    assert out is not None
    with announcing() as announce:
        stages = [] if begun else replace(pipeline, announce=announce).run(prepared.program, specs)
    with workplace() as folder:
        workshop = Workshop(
            prepared, pipeline, folder, drop_limit, request.batch, request.threads, progress, request.pack,
            beside, request.kernels == CUSTOM_OP, makes_entries(specs),
        )  # fmt: skip
        if begun is not None:
            found = planned(begun, request, prepared, pipeline, workshop, gate)
            selection, prepared = found.selection, replace(prepared, notes=(*prepared.notes, *found.notes))
        else:
            selection = select(prepared.program, stages, workshop, gate)
        if (tuner := Tuner.asked(request, beside or target, seed, progress)) is not None:
            selection = replace(selection, kept=workshop.tuned(selection.kept, tuner))
        return write(out, request, prepared, selection, workshop, context, gate, ledger)


def _asked(model: Any, target: str | None, options: dict[str, Any]) -> tuple[Request, Progress]:
    """Raises InputError for an option that there is not."""
    say = options.pop("say", None)
    progress = Progress() if say is None else _Said(say)
    known = {field.name for field in fields(Request)}
    for name in options:
        if name not in known:
            raise InputError(f"compress() has no option {name!r}", way_out=did_you_mean(name, sorted(known)))
    for name in ("inputs", "keep"):
        if isinstance(options.get(name), str):
            options[name] = (options[name],)
    return Request(model=model, target=target, **options), progress


def help_request(request: Request) -> None:
    """The part of a process that `torchrun` started beside the first: it trains along and writes nothing."""
    recipe = request.loaded_recipe()
    target = with_runtime(load_target(request.target_name(recipe)), request.runtime)
    specs = request.pass_specs(target, recipe, has_data=request.data is not None)
    seed = request.seed if request.seed is not None else (recipe.seed if recipe else 0)
    prepared = prepare(request, target, seed, Progress(), train=_trains(recipe, specs))
    help_out(_context(prepared, Progress()))


def _trains(recipe: Recipe | None, specs: Sequence[PassSpec]) -> bool:
    """Whether the data are split for training: a recipe's are as they were when it was made."""
    return trains(specs) or (recipe is not None and recipe.halved)


def inspect_request(request: Request) -> Inspection:
    """The per-layer table of the model as it is."""
    target = load_target(request.target_name(None))
    prepared = prepare(request, target, request.seed or 0, Progress())
    return inspect_program(prepared.program, target, request.batch, request.threads)


def groups_request(request: Request) -> Groups:
    """The groups of slices that live and die together in the model as it is. No target is needed."""
    target = load_target(request.target or "host")
    return inspect_groups(prepare(request, target, request.seed or 0, Progress()).program)


def sensitivity_request(request: Request) -> Sensitivities:
    """What every number format that the target runs does in each layer of the model, on the data."""
    target = load_target(request.target_name(None))
    prepared = prepare(request, target, request.seed or 0, Progress())
    return inspect_sensitivity(prepared, _context(prepared, Progress()))


def ranks_request(request: Request) -> Ranks:
    """What low rank does in each matrix of the model, on the data."""
    target = load_target(request.target_name(None))
    prepared = prepare(request, target, request.seed or 0, Progress())
    return inspect_ranks(prepared, _context(prepared, Progress()))


class _Said(Progress):
    """Progress through a function of the caller's, a line at a time."""

    def __init__(self, function: Callable[[str], None]) -> None:
        self.function = function

    def say(self, text: str) -> None:
        self.function(text)


def _context(prepared: Prepared, progress: Progress) -> Context:
    return Context(
        target=prepared.target,
        latency=latency_model(prepared.target),
        calibration=prepared.calibration,
        training=prepared.training,
        teacher=prepared.teacher or prepared.program,
        synthetic=prepared.synthetic,
        seed=prepared.seed,
        progress=progress,
    )


def _fingerprint(cache: Cache, prepared: Prepared, request: Request) -> str:
    """One key for what decides a stage besides the program and the pass."""
    data = prepared.calibration_digest(), prepared.training_digest(), request.training_identity()
    target = replace(prepared.target, power=None)  # no stage depends on it
    return cache.key(target, *data, identity(target), prepared.seed, sorted(versions().items()))
