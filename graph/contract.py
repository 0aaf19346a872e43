"""The contract of a pass: a frozen dataclass whose fields are its options, on the command line and in recipes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from torch import Tensor

from compressor.graph.program import Program

if TYPE_CHECKING:
    from compressor.graph.cost import LatencyModel
    from compressor.graph.entries import Entry
    from compressor.targets import Target

__all__ = ["Batch", "Context", "Option", "Pass", "PassResult", "Progress", "Setting", "Shelf", "Skip", "Value"]

Value = str | int | float | bool
Setting = Mapping[str, Value]
Batch = Mapping[str, Tensor]
T = TypeVar("T")


class Progress:
    """Where long work tells how far it is; this one keeps silent."""

    def say(self, text: str) -> None:
        """Name what begins."""

    def over(self, items: Sequence[T], what: str) -> Iterable[T]:
        """The items, counted as they are taken."""
        return items

    def figures(self, what: str, done: float, figures: Mapping[str, float]) -> None:
        """The latest figures of something under way, and the share of it that is done."""


class Shelf(Protocol):
    """Where a pass keeps finished work that it can use again with other options, by keys of its own."""

    def find(self, key: str) -> Path | None:
        """The folder that was filled under a key in an earlier run."""

    def store(self, key: str, fill: Callable[[Path], None]) -> None:
        """Let `fill` write into a fresh folder, which is there afterwards whole or not at all."""


@dataclass(frozen=True)
class Skip:
    """Where a pass declined, or did otherwise than asked, and why, in a sentence for the user. `whole`: it is said of
    the pass as a whole, and `site` is no place in the program."""

    site: str
    reason: str
    whole: bool = False


@dataclass(frozen=True)
class Option:
    """One thing that could be done at one site, with what the pass knows of it by itself (None: not known).

    `level` names what is done in a few words, the same at every site where it is the same: "int8", "−25%". The planner
    measures every option alike, by swapping it in (`compressor/plan/`). `wish` asks for the same of a program that
    other passes have changed since: a share in place of a rank, ranges yet to be calibrated.
    """

    site: str
    setting: Setting
    bytes: int
    latency_ms: float | None = None
    damage: float | None = None
    level: str = ""
    wish: Setting | None = None


@dataclass(frozen=True)
class Context:
    """What a pass may ask for. `calibration` and `training` are empty where there is no data.

    `training` is all that is not evaluated on, with `labels` in a batch where the user gave some. `checkpoint` is a
    file that a long pass may write its state to and continue from, `shelf` keeps what other options use, too. Where
    options are asked for `unweighed`, they need not say what they cost: whoever asks finds out by itself.
    """

    target: Target
    latency: LatencyModel | None = None
    calibration: Sequence[Batch] = ()
    training: Sequence[Batch] = ()
    synthetic: bool = True
    teacher: Program | None = None
    train: Callable[..., object] | None = None
    seed: int = 0
    unweighed: bool = False
    checkpoint: Path | None = None
    shelf: Shelf | None = None
    progress: Progress = Progress()  # noqa: RUF009  it has no state


@dataclass(frozen=True)
class PassResult:
    """The rewritten program; `changed` and `skipped` together are all the sites that were considered.

    `settings` are the site-by-site settings which, given as `sites`, do exactly the same again. `notes` are sentences
    that the user should read about the result as a whole. `missed` says of a goal that was given and cannot be
    reached by how much; it is shown as a warning. `rescaled` are the layers whose outputs are now held in other
    units than before, which those that read them take back: by layer, what the new values are multiplied with to be in
    the old units, with one element along each dimension that it does not depend on. `entries` are smaller programs over
    rows of this one's tensors, by name, which the bundle ships, too.
    """

    program: Program
    changed: tuple[str, ...] = ()
    skipped: tuple[Skip, ...] = ()
    settings: Mapping[str, Setting] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    rescaled: Mapping[str, Tensor] = field(default_factory=dict)
    missed: str = ""
    entries: Mapping[str, Entry] = field(default_factory=dict)


@dataclass(frozen=True)
class Pass(ABC):
    """A named rewrite of a program. `exact` passes claim equivalence, and the pipeline holds them to it.

    With `sites`, exactly those settings run and the scalar options are ignored. `main` names the field that
    `name=value` sets. A pass never writes into a tensor of the program it was given.
    """

    name: ClassVar[str]
    main: ClassVar[str] = ""
    exact: ClassVar[bool] = False
    structural: ClassVar[bool] = False  # takes something away that recovery brings back
    prepares: ClassVar[bool] = False  # pays only with the pass after it, and is judged with it
    trains: ClassVar[bool] = False  # all processes of a torchrun run it together
    last: ClassVar[bool] = False  # nothing can run after it: what it leaves is more than one program
    order: ClassVar[int] = 50  # where the planner runs it: what takes structure away first, bits last
    together: ClassVar[bool] = False  # an option saves time only beside others of its level: neighbours share work
    sites: Mapping[str, Setting] = field(default_factory=dict, kw_only=True)
    keep: tuple[str, ...] = field(default=(), kw_only=True)  # globs of parameter names to leave alone

    def options(self, program: Program, context: Context) -> Iterable[Option]:
        """What it could do, and where."""
        return ()

    @classmethod
    def planned(cls, context: Context, axes: Collection[str]) -> Iterable[Pass]:
        """The passes whose options the planner weighs against each other, where these axes (of "latency", "size",
        "memory") are what is to shrink; none where nothing here shrinks them."""
        return ()

    @classmethod
    def reads(cls, target: Target) -> tuple[object, ...]:
        """All of a target that decides what is offered unweighed, and what a setting does: what was found for one
        target holds for every other of which this is the same."""
        return ()

    def learns(self) -> bool:
        """Whether, with these options, it wants training data."""
        return self.trains

    def takes_function(self) -> bool:
        """Whether, with these options, it runs the user's own training function."""
        return False

    def milder(self) -> Mapping[str, Value] | None:
        """Options with which it does less damage, for when the metric fell too far; None where there are none."""
        return None

    @abstractmethod
    def run(self, program: Program, context: Context) -> PassResult: ...
