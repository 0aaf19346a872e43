"""Where artifacts are timed: on the board of `--device`, else here where this machine is the target, else nowhere.

Artifacts that are compared run in turn, in rounds; what they are compared by is the median of the rounds' ratios.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.board import Board, Readings
from compressor.devices.local import Measurement, compare, load_ms
from compressor.graph.contract import Progress
from compressor.staging import staged
from compressor.targets.machine import this_machine

if TYPE_CHECKING:
    from compressor.judging import Artifact
    from compressor.prepare import Prepared

__all__ = ["Timing"]


@dataclass
class Timing:
    """Of a run. `folder` takes what a board is given. Measurements are by position ("0", "1", …); where nothing tells
    times, there are none."""

    prepared: Prepared
    folder: Path
    batch: int
    threads: int | None
    progress: Progress
    board: Board | None = None
    _bundles: dict[Path, Path] = field(default_factory=dict)
    _read: dict[tuple[Path, ...], Readings] = field(default_factory=dict)

    @property
    def here(self) -> bool:
        """Whether this process times them itself."""
        return self.board is None and self.prepared.target.is_host

    @property
    def where(self) -> str:
        """In words; "" where nothing tells times."""
        if self.board is not None:
            return self.board.where if self.board.description.timed else ""
        return f"this machine ({this_machine().cpu})" if self.here else ""

    @property
    def device(self) -> str:
        """The board's name; "" where there is none."""
        return "" if self.board is None else self.board.name

    @property
    def teaches(self) -> bool:
        """Whether its times can be held against what was predicted: of `host`, for this machine alone."""
        return self.here or (self.board is not None and (self.board.url == "local" or not self.prepared.target.is_host))

    def in_turn(self, artifacts: Sequence[Artifact], *, strict: bool = False) -> Mapping[str, Measurement]:
        """All of them side by side. A board's troubles are noted; with `strict`, what is an artifact's own fault there
        is raised: MismatchError, ExportError or UnsupportedError."""
        if self.board is not None:
            read = self.board.compare([self._bundle(artifact) for artifact in artifacts], strict=strict)
            self._read[tuple(artifact.path for artifact in artifacts)] = read
            return {str(index): each for index, each in enumerate(read.measurements)}
        times = self.beside_each_other([artifact.path for artifact in artifacts])
        return {str(index): times[artifact.path] for index, artifact in enumerate(artifacts)} if times else {}

    def beside_each_other(self, paths: Sequence[Path]) -> Mapping[Path, Measurement]:
        """Models with the same inputs side by side; nothing where this machine is not what is timed."""
        if not self.here:
            return {}
        self.progress.say("measuring on this machine")
        named = {str(path): path for path in paths}
        found = compare(named, self.prepared.timed_batch(self.batch), threads=self._threads)
        return {path: found[name] for name, path in named.items()}

    def first_token(self, artifacts: Sequence[Artifact]) -> Mapping[str, float]:
        """Milliseconds until a decoder's first token: of a board what it said when they were measured in turn."""
        if self.board is not None:
            answers = self._of(artifacts).answers
            return {str(index): answer for index, answer in enumerate(answers) if answer is not None}
        batch = self.prepared.first_batch(self.batch)
        if batch is None or not self.here:
            return {}
        paths = {str(index): artifact.path for index, artifact in enumerate(artifacts)}
        return {name: each.p50 for name, each in compare(paths, batch, threads=self._threads).items()}

    def steady(self, artifacts: Sequence[Artifact]) -> bool:
        """Whether the times that were measured of these can be believed."""
        return self.here or self._of(artifacts).steady

    def notes(self, artifacts: Sequence[Artifact]) -> tuple[str, ...]:
        """What the report should tell of a board: how it measured these, and what went wrong in the whole run."""
        return () if self.board is None else (*self._of(artifacts).notes, *self.board.troubles)

    def _of(self, artifacts: Sequence[Artifact]) -> Readings:
        return self._read.get(tuple(artifact.path for artifact in artifacts), Readings())

    def load_ms(self, artifact: Artifact) -> float | None:
        """Milliseconds to load here, where this machine is what is timed."""
        return load_ms(artifact.path) if self.here else None

    @property
    def _threads(self) -> int:
        return self.threads or self.prepared.target.threads

    def _bundle(self, artifact: Artifact) -> Path:
        if artifact.path not in self._bundles:
            name = "original" if artifact.program is self.prepared.program else "candidate"
            folder = self.folder / f"{name}-{len(self._bundles)}"
            self._bundles[artifact.path] = staged(artifact, self.prepared, folder)
        return self._bundles[artifact.path]
