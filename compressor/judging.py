"""Lowers candidates and judges them: placement, agreement with PyTorch, the metric of the artifact, times on the host.

Every answer about a candidate is given by its artifact in the target's runtime, not by the program it was lowered
from.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from compressor.board import Board
from compressor.devices.local import Measurement, load_ms
from compressor.devices.side_by_side import SideBySide, side_by_side
from compressor.devices.tvm_runtime import runtime_bytes
from compressor.errors import DeviceLostError, ExportError, MismatchError, UnsupportedError
from compressor.export.agreement import FP16, Agreement, tolerance_of
from compressor.export.check import check
from compressor.export.custom_op.library import packed_for, write_library
from compressor.export.custom_op.nodes import DOMAIN
from compressor.export.onnx import to_onnx
from compressor.export.operators import Placement, place
from compressor.export.pack import Part, pack_model, packed_parts
from compressor.export.session import OPERATORS, runner
from compressor.export.tvm import to_tvm
from compressor.export.tvm_boards import compiler_of, is_from_wheels
from compressor.gate import Gate
from compressor.generation import decoding
from compressor.graph.contract import Batch, Progress
from compressor.graph.kv_cache import answers, length_of, past_of
from compressor.graph.program import Program
from compressor.held import Held
from compressor.metrics import Drop
from compressor.pipeline import Pipeline, Stage
from compressor.prepare import Prepared
from compressor.report.model import Decoding, Library
from compressor.targets import Target
from compressor.targets.tvm import TVM
from compressor.timing import Timing
from compressor.trying import FEW, Trial, trial_of
from compressor.trying_operators import trial_of_model
from compressor.verify import relative_error

if TYPE_CHECKING:
    from compressor.export.tuning.schedules import Schedules
    from compressor.tuning import Tuner, Tuning

__all__ = ["Artifact", "Workshop"]


@dataclass(frozen=True)
class Artifact:
    """A program's ONNX file (external data beside it, and a library of `operators` that compute `own` of its nodes) or
    TVM's library, where its nodes run, and how far it is from PyTorch. `trial` says where TVM's library was tried."""

    program: Program
    path: Path
    files: tuple[Path, ...]
    placement: Placement
    agreement: Agreement
    x86: bool
    parts: tuple[Part, ...] = ()  # of the packed file, where `files` is one
    operators: Path | None = None
    own: int = 0
    elsewhere: bool = False  # the operators are for another processor: PyTorch answers for the artifact
    trial: Trial | None = None
    tuning: Tuning | None = None  # how its schedules were found, where they were searched for

    @cached_property
    def run(self) -> Callable[[Batch], dict[str, Tensor]]:
        """The artifact in its runtime. A target that is not x86 does not share the saturation of some x86 kernels.

        For a library of another processor its program answers, in PyTorch.
        """
        if self.elsewhere:
            return self.program.run
        if self.trial is not None:
            return self.trial.run if self.trial.is_here and self.trial.run is not None else self.program.run
        return runner(self.path, exact=not self.x86, approximate=True, operators=self.operators)

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)


@dataclass
class Workshop:
    """Builds each program once into `folder` and answers what selecting and the report ask."""

    prepared: Prepared
    pipeline: Pipeline
    folder: Path
    drop_limit: Drop
    batch: int
    threads: int | None
    progress: Progress = Progress()  # noqa: RUF009  it has no state
    pack: bool = False
    besides: Target | None = None  # with TVM, where a library is asked for beside the model
    own_kernels: bool = False
    board: Board | None = None
    apart: bool = False  # weights in a file beside the model's, which entries read, too
    _built: dict[int, Artifact] = field(default_factory=dict)
    _beside: dict[int, Artifact] = field(default_factory=dict)
    _metric: dict[Path, float] = field(default_factory=dict)
    _times: dict[tuple[int, tuple[Path, ...]], Mapping[str, Measurement]] = field(default_factory=dict)

    @cached_property
    def timing(self) -> Timing:
        """Where artifacts are timed."""
        shared = self.batch, self.threads, self.progress, self.board
        return Timing(self.prepared, Path(tempfile.mkdtemp(dir=self.folder)), *shared)

    def build(self, program: Program) -> Artifact:
        """Lower, place and check. Raises UnsupportedError, ExportError or MismatchError."""
        if id(program) not in self._built:
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            target = self.prepared.target
            compiled = target.runtime.name == TVM
            self._built[id(program)] = (
                self._compiled(program, folder, target) if compiled else self._whole(program, folder)
            )
        return self._built[id(program)]

    def _whole(self, program: Program, folder: Path) -> Artifact:
        self.progress.say(f"lowering to ONNX ({self._which(program)})")
        return self.lowered(program, folder, self.prepared.evaluation)

    def beside(self, program: Program) -> Artifact | None:
        """The library beside the model, where one is asked for. Raises as `build`."""
        if self.besides is None:
            return None
        if tolerance_of(program) is FP16:
            raise UnsupportedError(
                "TVM computes nothing in half precision", where="--runtime both",
                way_out="Write --passes fold, or leave --runtime out.",
            )  # fmt: skip
        if id(program) not in self._beside:
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            self._beside[id(program)] = self._compiled(program, folder, self.besides)
        return self._beside[id(program)]

    def lowered(self, program: Program, folder: Path, evaluation: Sequence[Batch]) -> Artifact:
        """As ONNX in the folder, held to PyTorch on these batches. Raises as `build`."""
        path = folder / "model.onnx"
        target = self.prepared.target
        packed = packed_for(program, target) if self.own_kernels else program
        lowered = to_onnx(packed, target)
        placement = place(lowered.model, target)
        files = lowered.save(path, limit=0) if self.apart else lowered.save(path)
        own = sum(node.domain == DOMAIN for node in lowered.model.graph)
        if packed is not program:
            self.progress.say("compiling kernels")
            operators = folder / OPERATORS
            write_library(packed, target, operators)
            files = (*files, operators)
            trial = trial_of_model(path, target)
            agreement = self._tried(program, operators, trial)
            made = (files, placement, agreement, target.arch == "x86_64")
            return Artifact(program, path, *made, operators=operators, own=own, elsewhere=not trial.is_here)
        agreement = check(program, path, evaluation)
        smaller = pack_model(path) if self.pack and len(files) == 1 else None
        files, parts = (files, ()) if smaller is None else ((smaller,), tuple(packed_parts(smaller)))
        return Artifact(program, path, files, placement, agreement, target.arch == "x86_64", parts)

    def _compiled(self, program: Program, folder: Path, target: Target) -> Artifact:
        self.progress.say(f"compiling with TVM ({self._which(program)})")
        return self._library(program, folder, target)

    def tuned(self, artifact: Artifact, tuner: Tuner) -> Artifact:
        """The same program with the schedules that are found for its library, or for the one beside it; as it was where
        none is, or where that is not compiled, or disagrees with PyTorch. Raises DeviceError."""
        beside = self.beside(artifact.program)
        if beside is None:
            return self._tuned(artifact, tuner)
        self._beside[id(artifact.program)] = self._tuned(beside, tuner)
        return artifact

    def _tuned(self, artifact: Artifact, tuner: Tuner) -> Artifact:
        program, folder = artifact.program, Path(tempfile.mkdtemp(dir=self.folder))
        schedules, tuning = tuner.schedules(program, self.prepared.timed_batch(self.batch), folder)
        if not tuning.improved:
            return replace(artifact, tuning=tuning)
        self.progress.say("compiling with TVM (tuned)")
        try:
            found = replace(self._library(program, folder, tuner.target, schedules), tuning=tuning)
            objection = self._slower_whole(artifact, found)
        except (ExportError, MismatchError) as error:
            objection = str(error)
        if not objection:
            return found
        return replace(artifact, tuning=replace(tuning, improved=0, ratio=1.0, reasons={"": objection}))

    def _slower_whole(self, before: Artifact, after: Artifact) -> str:
        """Functions that are faster one by one may not be so together: why the whole is not, or ""."""
        times = self.timing.in_turn([before, after])
        if not times or times["1"].p50 < times["0"].p50:
            return ""
        return f"the library as a whole takes {times['1'].p50:.4g} ms then, and {times['0'].p50:.4g} ms as it was"

    def _library(
        self, program: Program, folder: Path, target: Target, schedules: Schedules | None = None
    ) -> Artifact:  # fmt: skip
        files = to_tvm(program, target, folder / "model.so", schedules)
        placement = Placement({provider.name: len(list(program.nodes())) for provider in target.providers})
        trial = trial_of(program, target, files)
        return Artifact(
            program, files[0], files, placement, self._tried(program, files[0], trial), x86=True, trial=trial
        )

    def _tried(self, program: Program, path: Path, trial: Trial) -> Agreement:
        """How far a library is from PyTorch: on all that is judged, on a few samples, or unknown."""
        if trial.run is None:
            allowed = tolerance_of(program)
            return Agreement((), allowed.relative_rms, 0, notes=(f"{path.name}: {trial.where}",), reason=allowed.reason)
        if trial.is_here:
            return check(program, path, self.prepared.evaluation, run=trial.run)
        self.progress.say(f"running it {trial.where}")
        found = check(program, path, [self.prepared.shown_batch(FEW)], run=trial.run)
        note = f"metric and output error are those of the program in PyTorch; {path.name} ran {trial.where}"
        return replace(found, notes=(*found.notes, f"{note}, on {found.samples} samples"))

    def _which(self, program: Program) -> str:
        return "original" if program is self.prepared.program else "compressed"

    def metric(self, artifact: Artifact) -> float:
        """The metric of the artifact as its runtime runs it, against the original in PyTorch where it compares."""
        key = artifact.path
        if key not in self._metric:
            ticks = iter(self.progress.over(range(len(self.prepared.judged.evaluation)), "judging"))

            def run(batch: Batch) -> dict[str, Tensor]:
                next(ticks, None)
                return artifact.run(batch)

            self._metric[key] = self.prepared.metric.evaluate(run, self.prepared.judged, self.prepared.reference)
            next(ticks, None)
        return self._metric[key]

    def drop(self, candidate: Artifact) -> str | None:
        before, after = self.metric(self.build(self.prepared.program)), self.metric(candidate)
        metric = self.prepared.metric
        if not self.drop_limit.exceeded(metric, before, after):
            return None
        digits = next((n for n in range(4, 12) if f"{before:.{n}f}" != f"{after:.{n}f}"), 12)
        return (
            f"{metric.name} went from {before:.{digits}f} to {after:.{digits}f}, "
            f"more than --max-drop {self.drop_limit.text}"
        )

    def allowed(self, fallen: Artifact) -> float:
        """The share of an artifact's fall of the metric that `--max-drop` allows."""
        before, after = self.metric(self.build(self.prepared.program)), self.metric(fallen)
        metric, limit = self.prepared.metric, self.drop_limit
        fall = metric.decline(before, after) if limit.absolute else metric.drop(before, after)
        return limit.amount / fall if fall > 0 else 0.0

    def ease(self, before: Program, stage: Stage, reason: str) -> Stage | None:
        return self.pipeline.ease(before, stage, reason)

    def again(self, program: Program, stages: Sequence[Stage]) -> list[Stage]:
        return self.pipeline.again(program, stages)

    def times(self, before: Program, after: Artifact, attempt: int = 0) -> SideBySide | None:
        """Raises MismatchError, ExportError or UnsupportedError where it does not run on the board."""
        measured = self.measured(self.build(before), after, attempt=attempt, strict=True)
        if measured:
            return side_by_side(measured["0"], measured["1"])
        return None if self.board is None else self._predicted(before, after.program)

    def measured(self, *artifacts: Artifact, attempt: int = 0, strict: bool = False) -> Mapping[str, Measurement]:
        """Interleaved measurements by position ("0", "1"), as `Timing.in_turn`; the same ones only once an attempt."""
        key = (attempt, tuple(artifact.path for artifact in artifacts))
        if key not in self._times:
            self._times[key] = self.timing.in_turn(artifacts, strict=strict)
        return self._times[key]

    def try_board(self) -> None:
        """Measure the original on the board, if there is one: what cannot run there is told before anything slow.

        Raises DeviceLostError, and MismatchError, ExportError or UnsupportedError where it does not run.
        """
        if self.board is None:
            return
        self.measured(self.build(self.prepared.program), strict=True)
        if self.board.lost:
            raise DeviceLostError(self.board.lost, where=self.board.url, way_out="Look at it, and begin again.")

    def original_ms(self, gate: Gate) -> float | None:
        """What the original takes where it is timed, if a budget of time or energy asks for it."""
        if not {"latency", "energy"} & {budget.axis for budget in gate.budgets}:
            return None
        measured = self.measured(self.build(self.prepared.program))
        return measured["0"].p50 if measured else None

    def held(self, artifact: Artifact, measured: Measurement | None) -> Held | None:
        """Its prediction beside what was measured; None where either is not known, or is of other kernels."""
        context = self.pipeline.context
        if measured is None or context.latency is None or artifact.operators is not None:
            return None
        estimate = context.latency.predict(artifact.program, context.target, batch=self.batch, threads=self.threads)
        return Held.of(estimate, measured.p50, self.timing.where)

    def _predicted(self, *programs: Program) -> SideBySide | None:
        """In the place of what a board that no longer answers would have told."""
        context = self.pipeline.context
        if context.latency is None:
            return None
        before, after = (
            context.latency.predict(program, context.target, batch=self.batch, threads=self.threads).latency_ms
            for program in programs
        )
        return SideBySide(before, after, after / before, after / before, after / before, "predicted")

    def decoding(self, artifact: Artifact) -> Decoding | None:
        """What a decoder generates with its cache, held to PyTorch; None for other networks. Raises MismatchError."""
        prepared, batch = self.prepared, self.prepared.first_batch(self.batch)
        if batch is None:
            return None
        self.progress.say("generating with the cache")
        inputs = prepared.program.inputs
        read, past = length_of(inputs, batch), past_of(inputs, prepared.timed_batch(self.batch))
        text = prepared.evaluation[0]
        return decoding(
            artifact.program, prepared.original, artifact.run, text, artifact.agreement.tolerance, read=read, past=past
        )

    def library(self, kept: Artifact) -> Library | None:
        """What there is to say of machine code, the artifact's own or beside it; None where there is none.

        On the host a library beside the model is timed in turn with it.
        """
        artifact = kept if kept.trial is not None else self.beside(kept.program)
        if artifact is None or artifact.trial is None:
            return None
        trial, agreement, compiler = artifact.trial, artifact.agreement, compiler_of(self.prepared.target)
        times = self.timing.in_turn([kept, artifact]) if artifact is not kept else {}
        return Library(
            files=tuple(file.name for file in artifact.files),
            processor=compiler.cpu,
            triple=compiler.triple,
            emulated=compiler.emulated,
            features=compiler.features,
            cuda=compiler.cuda,
            bytes=artifact.bytes,
            runtime_bytes=runtime_bytes(self.prepared.target.arch)
            if is_from_wheels(compiler) and not compiler.cuda
            else None,
            load_ms=load_ms(artifact.path) if trial.is_here else None,
            latency_ms=times["1"].p50 if times else None,
            model_latency_ms=times["0"].p50 if times else None,
            checked=trial.where,
            error=agreement.error if trial.run is not None else None,
            tolerance=agreement.tolerance,
        )

    def output_error(self, artifact: Artifact) -> float:
        """Relative root-mean-square error of all float outputs but a cache against the original's, worst output."""
        return self._distance(artifact.run)

    def _distance(self, run: Callable[[Batch], dict[str, Tensor]]) -> float:
        worst = 0.0
        for batch in self.prepared.evaluation[:2]:
            ours, theirs = run(batch), self.prepared.program.run(batch)
            floats = [s.name for s in answers(self.prepared.program.outputs) if theirs[s.name].is_floating_point()]
            worst = max([worst, *(relative_error(ours[name], theirs[name]) for name in floats)])
        return worst
