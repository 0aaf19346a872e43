"""The search for one task's schedules: TVM's MetaSchedule, asked for some at a time.

    textbook loops ─ rules ─▶ sketches with open choices ─ evolution under a learned cost model ─▶ some to measure

(Shao et al. 2022, arXiv:2205.13603; the cost model is boosted trees over features of each store, as in Zheng et al.
2020, arXiv:2006.06762.) What was measured in earlier runs is where it starts from: the evolution's first parents, and
what the cost model has learned.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import Any

from compressor.devices.tuning.database import Trial, digest
from compressor.devices.tuning.measuring import Code, Timing
from compressor.errors import ExportError
from compressor.export.tuning.schedules import trace_of
from compressor.export.tuning.tasks import Task
from compressor.graph.quiet import quiet
from compressor.targets.machine import this_machine

__all__ = ["AT_A_TIME", "Candidate", "Learner", "Search", "check_learner"]

AT_A_TIME = 16  # schedules

_INTRINSICS = "tvm.s_tir.tensor_intrin"
_RULES = "llvm"  # loops and vectors; not tensor instructions, which integers have
_POPULATION, _UNMEASURED, _GENERATIONS = 64, 24, 3  # an eighth of what TVM has for four times as many trials
_WARM_UP = 64  # trials before the cost model is believed
_MANY = 1 << 20
_INSTALL = 'pip install "edge-compressor[tune]"'
_FFI, _FATAL = "apache-tvm-ffi", "0.1.15"
_TRIES = 5  # to find what was not tried, before there is nothing


@dataclass(frozen=True)
class Candidate:
    """A schedule to measure: the function after it, its trace, and what MetaSchedule knows it as."""

    function: Any
    trace: Any
    handle: Any


class Learner:
    """The cost model, which all tasks of a run teach. Raises ExportError where MetaSchedule cannot learn here."""

    def __init__(self) -> None:
        from tvm.s_tir import meta_schedule

        check_learner()
        self.model = meta_schedule.cost_model.XGBModel(
            num_warmup_samples=_WARM_UP, num_tuning_cores=this_machine().cores
        )


def check_learner() -> None:
    """Raises ExportError where MetaSchedule cannot learn here: xgboost, which TVM imports only when it learns, is
    missing, or apache-tvm-ffi is a version that ends the process in the search (by a fault in its ToJSONGraph)."""
    try:
        import xgboost  # noqa: F401
    except ImportError as error:
        raise ExportError("tuning needs xgboost", where="--tune", way_out=_INSTALL) from error
    if (found := metadata.version(_FFI)).startswith(_FATAL):
        raise ExportError(f"MetaSchedule crashes with {_FFI} {found}", where="--tune", way_out=_INSTALL)


class Search:
    """One task's search, by a cost model that others teach, too. `seed` is what TVM draws from; on several threads it
    draws in no fixed order."""

    def __init__(self, task: Task, code: Code, learner: Learner, seed: int) -> None:
        self.task, self._code, self._learner, self._seed = task, code, learner, seed
        self._earlier: list[Trial] = []
        self._known: dict[str, Sequence[float] | None] = {}  # times by traces' digests
        self.begun = False

    def begin_with(self, trials: Sequence[Trial]) -> None:
        """Trials of earlier runs, before the first question."""
        self._earlier = [trial for trial in trials if trial.trace is not None]
        self._known = {digest(trial.trace): trial.seconds for trial in self._earlier}
        self.begun = True

    def candidates(self, count: int) -> list[Candidate]:
        """So many schedules (`AT_A_TIME` at most) to measure next, none where there are no others."""
        for _ in range(_TRIES):
            found = [] if self._state is None else self._state.candidates()
            new = [each for each in found if digest(each.trace) not in self._known]
            if self._state is None or new or not found:
                return new[:count]
            self._state.go_on([each.handle for each in found], [self._known[digest(each.trace)] for each in found])
        return []

    def learn(self, candidates: Sequence[Candidate], timings: Sequence[Timing]) -> None:
        """What came of them, before the next question."""
        if self._state is not None and candidates:
            handles, times = [each.handle for each in candidates], [timing.times or None for timing in timings]
            self._known |= {digest(each.trace): known for each, known in zip(candidates, times, strict=True)}
            self._state.learn(handles, times)
            self._state.go_on(handles, times)

    @cached_property
    def _state(self) -> _State | None:
        """None where no rule has anything for this function."""
        return _State.begun(self)


@dataclass(frozen=True)
class _State:
    context: Any
    database: Any
    workload: Any
    target: Any
    model: Any

    @classmethod
    def begun(cls, search: Search) -> _State | None:
        import tvm
        from tvm.s_tir import meta_schedule

        target = tvm.target.Target({**search._code.llvm, "num-cores": search._code.threads})
        model = search._learner.model
        space = meta_schedule.space_generator.PostOrderApply(sch_rules=_RULES, postprocs=_RULES, mutator_probs=_RULES)
        evolution = meta_schedule.search_strategy.EvolutionarySearch(
            population_size=_POPULATION, init_min_unmeasured=_UNMEASURED, genetic_num_iters=_GENERATIONS
        )
        with _without_intrinsics():
            context = meta_schedule.TuneContext(
                mod=search.task.module, target=target, space_generator=space, search_strategy=evolution,
                task_name=search.task.name, num_threads=this_machine().cores, rand_state=search._seed + 1,
            )  # fmt: skip
        try:
            spaces = context.generate_design_space()
        except Exception:  # noqa: BLE001  loops that no rule can take apart: TVM raises what it likes
            return None
        database = meta_schedule.database.MemoryDatabase()
        state = cls(context, database, database.commit_workload(context.mod), target, model)
        state.learn(*_replayed(search.task, search._earlier))
        context.pre_tuning(_MANY, AT_A_TIME, spaces, database, model)
        return state

    def candidates(self) -> list[Candidate]:
        found = list(self.context.generate_measure_candidates() or [])
        return [Candidate(each.sch.mod["main"], trace_of(each.sch), each) for each in found]

    def go_on(self, handles: Sequence[Any], times: Sequence[Sequence[float] | None]) -> None:
        """These candidates are done with."""
        self.context.notify_runner_results(list(handles), _results(times))

    def learn(self, handles: Sequence[Any], times: Sequence[Sequence[float] | None]) -> None:
        from tvm.s_tir.meta_schedule.database import TuningRecord

        with quiet():
            self.model.update(self.context, list(handles), _results(times))
        for handle, each in zip(handles, times, strict=True):
            record = TuningRecord(handle.sch.trace, self.workload, [min(each or [1e10])], self.target, handle.args_info)
            self.database.commit_tuning_record(record)


def _results(times: Sequence[Sequence[float] | None]) -> list[Any]:
    from tvm.s_tir.meta_schedule.runner import RunnerResult

    return [RunnerResult([min(each)] if each else None, None if each else "failed") for each in times]


def _replayed(task: Task, trials: Sequence[Trial]) -> tuple[list[Any], list[Sequence[float] | None]]:
    """Trials of earlier runs as MetaSchedule has candidates, and their times; those that fit no more are left out."""
    import tvm
    from tvm.s_tir import Schedule, Trace
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo
    from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate

    handles: list[Any] = []
    times: list[Sequence[float] | None] = []
    for trial in trials:
        schedule = Schedule(tvm.IRModule({"main": task.function}))
        with contextlib.suppress(Exception):  # as in `replayed`
            Trace.apply_json_to_schedule(trial.trace, schedule)
            handles.append(MeasureCandidate(schedule, ArgInfo.from_entry_func(schedule.mod, remove_preproc=True)))
            times.append(trial.seconds)
    return handles, times


@contextlib.contextmanager
def _without_intrinsics() -> Iterator[None]:
    """TVM's contexts load its tensor instructions, 15 s of those of GPUs, which the rules here do not use."""
    missing = _INTRINSICS not in sys.modules
    if missing:
        sys.modules[_INTRINSICS] = types.ModuleType(_INTRINSICS)
    try:
        yield
    finally:
        if missing:
            del sys.modules[_INTRINSICS]
