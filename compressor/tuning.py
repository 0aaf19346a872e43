"""`--tune`: what the kept program's library gains by schedules that are searched for, on this machine or a board.

    --tune 500trials | 20min   ─▶  the artifact's tasks searched, judged ─▶  compiled and checked again with what counts

Programs are chosen as they run untuned; what was kept is tuned. The database is kept by processor, beside the cache of
finished stages (in the folder of `--cache-dir`), and serves every model.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.cache import tuning_folder
from compressor.errors import InputError
from compressor.graph.program import Program
from compressor.targets.tvm import TVM

if TYPE_CHECKING:
    from compressor.devices.tuning.tuning import Budget, Tuned
    from compressor.export.tuning.schedules import Schedules
    from compressor.graph.contract import Batch, Progress
    from compressor.request import Request
    from compressor.targets import Target

__all__ = ["Tuner", "Tuning", "check_tune", "tune_budget"]

_TRIALS, _MINUTES = re.compile(r"([1-9]\d{0,6})\s*trials?"), re.compile(r"(\d{1,5}(?:\.\d+)?)\s*(s|min|h)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Tuning:
    """What tuning did: `improved` of `functions` have another schedule now, which takes `ratio` of the time that the
    default ones take in all functions together; `trials` in all, `fresh` of them in this run; `seconds` of this run."""

    budget: str
    functions: int
    improved: int
    ratio: float
    trials: int
    fresh: int
    seconds: float
    measured_on: str
    reasons: Mapping[str, str]

    def __str__(self) -> str:
        gain = f"{1 / self.ratio:.2f}× as fast in these functions" if self.improved else "nothing was faster"
        gain = self.reasons.get("", gain)  # of the library as a whole
        earlier = f", {self.trials - self.fresh} of them known from earlier runs" if self.fresh < self.trials else ""
        return (
            f"tuned ({self.budget}): {self.improved} of {self.functions} functions improved, {gain}; "
            f"{self.trials} trials{earlier}, {self.seconds / 60:.1f} minutes on {self.measured_on}"
        )


@dataclass(frozen=True)
class Tuner:
    """Finds schedules for a program's library. `database` is a folder, None to keep nothing."""

    target: Target
    budget: str
    device: str | None
    threads: int
    database: Path | None
    seed: int
    progress: Progress

    @classmethod
    def asked(cls, request: Request, target: Target, seed: int, progress: Progress) -> Tuner | None:
        """The one that a request asks for, if it does."""
        if request.tune is None:
            return None
        folder = None if request.no_cache else tuning_folder(request.cache_dir)
        threads = request.threads or target.threads
        return cls(target, request.tune, request.device, threads, folder, seed, progress)

    def schedules(self, program: Program, batch: Batch, folder: Path) -> tuple[Schedules, Tuning]:
        """What is found for sizes as in `batch`; `folder` takes what is made on the way. Raises DeviceError."""
        from compressor.devices.tuning.boards import open_boards
        from compressor.devices.tuning.database import Database
        from compressor.devices.tuning.measuring import Code
        from compressor.devices.tuning.tuning import tune
        from compressor.export.tuning.schedules import Schedules, by_default
        from compressor.export.tuning.tasks import tasks_of
        from compressor.export.tvm import default_loops, textbook
        from compressor.export.tvm_boards import compiler_of, llvm_of
        from compressor.export.tvm_linking import find_linker

        started, shapes = time.monotonic(), [tuple(batch[spec.name].shape) for spec in program.inputs]
        compiler = compiler_of(self.target)
        code = Code(llvm_of(compiler), find_linker(compiler).command, self.threads)
        tasks = tasks_of(textbook(program, self.target), shapes)
        self.progress.say(f"tuning {len(tasks)} functions ({self.budget})")
        with open_boards(self.device) as boards:
            found = tune(
                tasks, by_default(default_loops(self.target)), code, boards, Database(self._file(code)),
                tune_budget(self.budget), folder, seed=self.seed, progress=self.progress,
            )  # fmt: skip
        return Schedules(found.traces, shapes), self._told(found, time.monotonic() - started)

    def _file(self, code: Any) -> Path | None:
        """The database of this processor, threads and TVM."""
        if self.database is None:
            return None
        from compressor.export.tvm_boards import compiler_of, features_of

        return self.database / database_name(code.llvm, features_of(compiler_of(self.target)), self.threads)

    def _told(self, found: Tuned, seconds: float) -> Tuning:
        return Tuning(
            budget=self.budget,
            functions=len(found.verdicts),
            improved=sum(verdict.trace is not None for verdict in found.verdicts.values()),
            ratio=found.after / found.before if found.before else 1.0,
            trials=found.spent.trials,
            fresh=found.spent.fresh,
            seconds=seconds,
            measured_on=self.device or "this machine",
            reasons={name: each.reason for name, each in found.verdicts.items() if each.trace is None},
        )


def database_name(llvm: Mapping[str, Any], features: frozenset[str], threads: int) -> str:
    """The file's name: of what is measured on one processor, other features, threads or another TVM tell nothing."""
    from importlib import metadata

    about = json.dumps([dict(llvm), sorted(features), threads, metadata.version("apache-tvm")], sort_keys=True)
    return f"{llvm['mcpu']}-{hashlib.sha256(about.encode()).hexdigest()[:12]}.jsonl"


def tune_budget(text: str) -> Budget:
    """The budget that was given as --tune. Raises InputError."""
    from compressor.devices.tuning.tuning import Budget

    if match := _TRIALS.fullmatch(text.strip()):
        return Budget(trials=int(match[1]))
    match = _MINUTES.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise InputError(f"{text!r} is no budget", where="--tune", way_out="Write 500trials or 20min.")
    return Budget(seconds=float(match[1]) * _SECONDS[match[2]])


def check_tune(request: Request, target: Target) -> None:
    """Before anything slow. Raises InputError where nothing could be tuned, or nothing here could measure it,
    DeviceError for a device that cannot, ExportError where what the search takes is missing."""
    if request.tune is None:
        return
    if target.runtime.name != TVM:
        raise InputError("only what TVM compiles is tuned", where="--tune", way_out="Add --runtime tvm.")
    tune_budget(request.tune)
    from compressor.devices.tuning.boards import board_address
    from compressor.devices.tuning.search import check_learner
    from compressor.export.tvm_boards import compiler_of, lacking_here
    from compressor.export.tvm_linking import cross_compilers, find_linker

    check_learner()
    compiler = compiler_of(target)
    if compiler.cuda:
        raise InputError("schedules are searched for processors alone", where="--tune", way_out="Leave --tune out.")
    if board_address(request.device) is None and (reason := lacking_here(compiler)):
        raise InputError(
            f"code for {target.name} cannot be timed here: {reason}", where="--tune",
            way_out="Start rpc_server.py on the board, and give --device 'rpc://localhost:9090?via=ssh://user@board'.",
        )  # fmt: skip
    if not find_linker(compiler).command:
        raise InputError(
            f"nothing here links for {target.name}", where="--tune", way_out=f"{cross_compilers(compiler.triple)}."
        )  # fmt: skip
