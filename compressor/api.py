"""The main job, for the command line and for Python alike.

request ─ prepare ─ passes ─ select ─ assemble ─▶ bundle, report, exit status
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from compressor.assemble import write
from compressor.board import reach
from compressor.cache import Cache, default_folder
from compressor.checking import Checked, checked
from compressor.clocking import clocks_of
from compressor.crew import announcing, help_out
from compressor.devices.latency.lookup import identity, latency_model
from compressor.entries import makes_entries
from compressor.errors import DeviceError, DeviceLostError, InputError, did_you_mean
from compressor.fronting import Front, find_front
from compressor.gate import Gate
from compressor.graph.contract import Context, Progress
from compressor.grouping import Groups, inspect_groups
from compressor.inspecting import Inspection, inspect_program
from compressor.jobs.running import Asked, run_list
from compressor.jobs.summary import Jobs
from compressor.judging import Workshop
from compressor.keeping import check_keep
from compressor.making import Ledger
from compressor.outcome import Outcome
from compressor.passlist import PassSpec
from compressor.pipeline import Pipeline
from compressor.planning import dry_plan, planned
from compressor.prepare import Prepared, prepare
from compressor.ranking import Ranks, inspect_ranks
from compressor.recipe import Recipe
from compressor.recovering import NONE, trains
from compressor.reporting import dry_report
from compressor.request import Request
from compressor.selecting import select
from compressor.sensing import Sensitivities, inspect_sensitivity
from compressor.starting import start
from compressor.targets import load_target
from compressor.targets.kernels import CUSTOM_OP
from compressor.targets.tvm import with_runtime
from compressor.tuning import Tuner
from compressor.versions import versions
from compressor.workplace import workplace

__all__ = [
    "compress", "compress_all", "front", "front_request", "groups_request", "help_request", "inspect_request",
    "jobs_request", "ranks_request", "run_request", "sensitivity_request",
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


def compress_all(
    jobs: str | Path | Sequence[Mapping[str, Any]], *, out: str | Path | None = None, shard: str | None = None,
    engine: Literal["here", "ray"] = "here", force: bool = False, dry_run: bool = False,
    say: Callable[[str], None] | None = None, **options: Any,
) -> Jobs:  # fmt: skip
    """Many models for many targets; the same as `compress jobs.toml`. `jobs` is that file, or its `[[job]]` tables.

    `options` are of all jobs that do not say otherwise. What goes wrong in one job is in its record, and in the
    `exit_code`; raises the errors of `compressor.errors` for what can be told before anything runs.
    """
    asked, progress = _asked(None, None, {**options, "say": say})
    given = {name: getattr(asked, name) for name in options}
    listed = Path(jobs) if isinstance(jobs, str | Path) else jobs
    folder = None if out is None else Path(out)
    return jobs_request(Asked(listed, given, folder, force, dry_run, shard, engine), progress=progress)


def jobs_request(asked: Asked, *, progress: Progress | None = None) -> Jobs:
    """Do a list of jobs, and say what became of all of them."""
    shown = None if asked.engine == "ray" else progress  # Ray's workers are other processes
    return run_list(asked, partial(_one_of_many, progress=shown), progress or Progress())


def _one_of_many(request: Request, progress: Progress | None) -> Outcome | Front:
    return (front_request if request.front else run_request)(request, progress=progress)


def _run(request: Request, progress: Progress, ledger: Ledger) -> Outcome | Front:
    asked = checked(request)
    request, recipe, target = asked.request, asked.recipe, asked.target
    out = None if request.dry_run else request.out_folder(target.name)
    with workplace() as folder:
        board = None
        if request.device is not None and out is not None:
            board = reach(
                request.device, target, folder / "board", batch=request.batch, threads=request.threads,
                progress=progress,
            )  # fmt: skip
        gate = replace(asked.gate, measured=board is not None and board.times)
        learns = _trains(recipe, asked.specs) or (
            request.plans and request.data is not None and request.recover != NONE
        )
        prepared = prepare(request, target, asked.seed, progress, train=learns)
        check_keep(prepared.program, request.keep)
        if recipe is not None:
            recipe.check_teacher(None if prepared.teacher is None else prepared.teacher.hash())
        context = replace(_context(prepared, progress), train=asked.train)
        if out is None and not request.plans:
            return Outcome(dry_report(request, prepared, asked.specs, context), None)
        cache = Cache(None if request.no_cache else request.cache_dir or default_folder())
        aim = replace(prepared.target, power=None), identity(prepared.target)  # no stage depends on the power
        pipeline = Pipeline(
            context, gate, cache, _fingerprint(cache, prepared, request, *aim), tuple(request.keep), ledger=ledger,
            weighed=_fingerprint(cache, prepared, request),
        )  # fmt: skip
        workshop = Workshop(
            prepared, pipeline, folder, asked.drop_limit, request.batch, request.threads, progress, request.pack,
            asked.beside, request.kernels == CUSTOM_OP, board, makes_entries(asked.specs),
        )  # fmt: skip
        workshop.try_board()
        return _made(asked, out, prepared, pipeline, workshop, gate, ledger)


def _made(
    asked: Checked, out: Path | None, prepared: Prepared, pipeline: Pipeline, workshop: Workshop, gate: Gate,
    ledger: Ledger,
) -> Outcome | Front:  # fmt: skip
    """Plan or run the passes, select, and write; `out` is None of a plan that is only shown."""
    request, context = asked.request, pipeline.context
    only_predicted = out is None or request.front
    original_ms = None if only_predicted or not request.plans else workshop.original_ms(gate)
    clocks = clocks_of(workshop, only_kept=only_predicted) if request.plans else None
    begun = start(request, prepared, pipeline, gate, clocks, original_ms) if request.plans else None
    if begun is not None and begun.bent is not None:
        pipeline = workshop.pipeline = pipeline.priced_by(begun.bent, str(begun.bent.calibration))
        context = pipeline.context
    if begun is not None and request.front:
        return find_front(out, request, prepared, begun)
    if begun is not None and out is None:
        return Outcome(dry_plan(begun, request, prepared, context), None)
    assert out is not None
    with announcing() as announce:
        stages = [] if begun else replace(pipeline, announce=announce).run(prepared.program, asked.specs)
    if begun is not None:
        found = planned(begun, request, prepared, pipeline, workshop, gate)
        selection, prepared = found.selection, replace(prepared, notes=(*prepared.notes, *found.notes))
    else:
        selection = select(prepared.program, stages, workshop, gate)
    tuner = Tuner.asked(request, asked.beside or asked.target, asked.seed, context.progress)
    if tuner is not None:
        try:
            selection = replace(selection, kept=workshop.tuned(selection.kept, tuner))
        except (DeviceError, DeviceLostError) as error:  # what was chosen is there; the same command goes on tuning
            prepared = replace(prepared, notes=(*prepared.notes, f"not tuned: {error}"))
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
    for name in ("out", "recipe", "cache_dir"):
        if isinstance(options.get(name), str):
            options[name] = Path(options[name])
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


def _fingerprint(cache: Cache, prepared: Prepared, request: Request, *aim: object) -> str:
    """One key for what decides a stage besides the program and the pass; `aim` is what of the target does."""
    data = prepared.calibration_digest(), prepared.training_digest(), request.training_identity()
    return cache.key(*aim, *data, prepared.seed, sorted(versions().items()))
