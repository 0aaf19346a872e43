"""How long functions take on a board, wherever their schedules come from: searched for, written by hand, or none.

    function ─ LLVM, in a worker ─▶ library ─ a worker's process, or a session on the board ─▶ seconds a run

Before each run all but the first argument is taken out of the caches: in a network, weights were last read a run ago.
Compiling goes on as many cores as there are; timing, on a board, is one function after the other, or several in turn
where they are compared. What does not compile, crashes or hangs has a fault in place of times.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from compressor.devices.tuning.boards import Boards
from compressor.devices.tuning.workers import Workers
from compressor.targets.machine import this_machine

__all__ = ["Arrays", "Bench", "Code", "Timing"]

Arrays = list[np.ndarray[Any, Any]]

_BUILD = 60.0  # seconds for a function to compile
_RUN = 20.0  # seconds for its runs, and the way to the board and back


@dataclass(frozen=True)
class Code:
    """What code is made for: LLVM's target as TVM takes it, the words that link objects, threads that run it."""

    llvm: Mapping[str, Any]
    link: Sequence[str]
    threads: int = 1


@dataclass(frozen=True)
class Timing:
    """Seconds a run, by round; none where there is a `fault`."""

    times: tuple[float, ...] = ()
    fault: str = ""

    @property
    def least(self) -> float:
        """Infinite where nothing was timed."""
        return min(self.times, default=math.inf)

    @property
    def median(self) -> float:
        return statistics.median(self.times) if self.times else math.inf


class Bench:
    """Compiles into `folder` and times on `boards`. Use it in a `with`: its processes end with it."""

    def __init__(self, code: Code, boards: Boards, folder: Path) -> None:
        self.code, self._boards, self._folder = code, boards, folder
        self._builders = Workers(this_machine().cores)
        self._runners = Workers(boards.count, threads=code.threads)
        self._libraries: dict[str, str] = {}  # by what they were made of

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def processes(self) -> list[int]:
        """The numbers of those that run."""
        return [*self._builders.processes, *self._runners.processes]

    def close(self) -> None:
        """End the processes."""
        self._builders.close()
        self._runners.close()

    def seconds(
        self, functions: Sequence[Any], *, rounds: int = 3, least: float = 0.01, limit: float = math.inf
    ) -> list[Timing]:
        """Each function's times: `rounds` of at least `least` seconds, or its first run alone where that takes longer
        than `limit` seconds. A function is a PrimFunc with numbers for its sizes, or a module whose main is one.

        Raises DeviceError where no board is free.
        """
        wanted = {"rounds": rounds, "seconds": least, "limit": limit}
        libraries = self._built(functions)
        return self._timed(
            [([library], _main(each)) for library, each in zip(libraries, functions, strict=True)], wanted
        )

    def side_by_side(self, functions: Sequence[Any], *, rounds: int = 15, least: float = 0.005) -> list[Timing]:
        """The same of functions that compute the same, in turn on one board: what disturbs it, disturbs all."""
        libraries = self._built(functions)
        return self._timed([(libraries, _main(functions[0]))], {"rounds": rounds, "seconds": least})

    def arrays(self, functions: Sequence[Any], seed: int) -> list[Arrays | str]:
        """What each function leaves in its arguments, which are drawn from `seed` before it runs, or its fault."""
        found: list[Arrays | str] = []
        for library, function in zip(self._built(functions), functions, strict=True):
            answer = self._asked([([library], _main(function))], {"seed": seed})[0]
            found.append(str(answer["error"]) if "error" in answer else answer["arrays"][0])
        return found

    def _timed(self, groups: Sequence[tuple[Sequence[str], Any]], wanted: Mapping[str, Any]) -> list[Timing]:
        found: list[Timing] = []
        for (paths, _), answer in zip(groups, self._asked(groups, wanted), strict=True):
            if "error" in answer:
                found += [Timing(fault=str(answer["error"]))] * len(paths)
            else:
                found += [Timing(tuple(times)) for times in answer["times"]]
        return found

    def _asked(self, groups: Sequence[tuple[Sequence[str], Any]], wanted: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Answers about libraries that run together, or why they were not built."""
        faults = [next((path for path in paths if not path.startswith("/")), None) for paths, _ in groups]
        makers = [
            partial(self._request, paths, function, wanted)
            for (paths, function), fault in zip(groups, faults, strict=True) if fault is None
        ]  # fmt: skip
        answers = iter(self._runners.ask(makers, _RUN))
        return [next(answers) if fault is None else {"error": fault} for fault in faults]

    def _request(self, paths: Sequence[str], function: Any, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        arguments = [([int(size) for size in each.shape], str(each.dtype)) for each in function.params]
        return {
            "do": "run", "paths": list(paths), "arguments": arguments, "where": self._boards.place(),
            "threads": self.code.threads, "timeout": _RUN, **wanted,
        }  # fmt: skip

    def _built(self, functions: Sequence[Any]) -> list[str]:
        """The libraries' absolute paths; a fault, which never begins with a slash, for what does not compile."""
        texts = [_text(function) for function in functions]
        missing = [text for text in dict.fromkeys(texts) if text not in self._libraries]
        answers = self._builders.ask([partial(self._build_request, text) for text in missing], _BUILD)
        for text, answer in zip(missing, answers, strict=True):
            self._libraries[text] = str(answer.get("path") or f"not built: {answer['error']}")
        return [self._libraries[text] for text in texts]

    def _build_request(self, text: str) -> Mapping[str, Any]:
        name = hashlib.sha256(text.encode()).hexdigest()[:24]
        path = str((self._folder / f"{name}.so").resolve())
        return {
            "do": "build", "module": text, "target": dict(self.code.llvm), "path": path, "link": list(self.code.link)
        }  # fmt: skip


def _text(function: Any) -> str:
    import tvm

    return str(tvm.ir.save_json(tvm.IRModule({"main": _main(function).with_attr("global_symbol", "main")})))


def _main(function: Any) -> Any:
    import tvm

    return function["main"] if isinstance(function, tvm.IRModule) else function
