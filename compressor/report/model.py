"""What a run found, as plain frozen dataclasses; `to_json` and `from_json` are inverse on finite numbers.

    Report
    ├── verdict: Verdict                       what was kept, and why
    ├── before, after: Figures                 every cost and quality, side by side
    ├── passes: PassReport …                   what each pass changed, skipped, or had to give back
    ├── layers: LayerError …                   error added by layer
    └── layer_latency: LayerLatency …          predicted time by layer

Units are in the names: `_ms` milliseconds, `_bytes` bytes. None always means "not known", never zero. This module
imports neither torch nor the graph, so that a report can be read where neither is installed.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal

from compressor.devices.energy import BreakEven, Carbon, InferenceEnergy, Making
from compressor.errors import InputError

__all__ = [
    "SCHEMA", "Agreement", "Cost", "Decoding", "Figures", "Latency", "LayerError", "LayerLatency", "Library",
    "PassReport", "Report", "SkippedSite", "Verdict",
]  # fmt: skip

SCHEMA = 1  # raised when a field changes its meaning
Value = str | int | float | bool


@dataclass(frozen=True)
class Latency:
    """One batch, in milliseconds: what the latency model said and what a device showed (p50). `interval` holds nine of
    ten networks of which the model says what it predicted; None of a model that states none."""

    predicted: float | None = None
    measured: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Figures:
    """All costs and qualities of one program. They often disagree, so all of them are shown.

    `latency_detail` is how `latency_ms.measured` was taken: `p50`, `p90`, `p99`, `min`, `first` (ms), `runs`,
    `threads`. Of a decoder with a key–value cache `latency_ms` is of one token behind others, `first_token_ms` until
    the first token of an answer. `output_error` is the relative root-mean-square error of the outputs against the
    original's.
    """

    parameters: int
    unique_bytes: int
    file_bytes: int | None = None
    macs: int | None = None
    peak_activation_bytes: int | None = None
    load_ms: float | None = None
    latency_ms: Latency = field(default_factory=Latency)
    first_token_ms: Latency | None = None
    latency_detail: Mapping[str, float] | None = None
    energy: InferenceEnergy | None = None
    metric: float | None = None
    output_error: float | None = None


@dataclass(frozen=True)
class Cost:
    """Where a program stood before or after one pass: predicted milliseconds and unique bytes."""

    latency_ms: float | None
    bytes: int


@dataclass(frozen=True)
class SkippedSite:
    """Where a pass declined, or did otherwise than asked, and why. `whole`: it is said of the pass as a whole. `bytes`
    are those of the weights at the site."""

    site: str
    reason: str
    whole: bool = False
    bytes: int = 0


@dataclass(frozen=True)
class PassReport:
    """What one pass did. `reverted` is the reason it was taken back, `warning` why it should be looked at.

    `notes` are what the pass says about its result as a whole. `dry`: it was not run; `changed` are sites that it may.
    """

    name: str
    before: Cost
    after: Cost
    options: Mapping[str, Value] = field(default_factory=dict)
    chosen_by: Literal["default", "user", "recipe", "planner"] = "default"
    changed: tuple[str, ...] = ()
    skipped: tuple[SkippedSite, ...] = ()
    reverted: str | None = None
    warning: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    dry: bool = False

    @property
    def total(self) -> int:
        """Sites considered: the M of "changed N of M". What is said of a site that was changed, or of the pass as a
        whole, is none."""
        return len(self.changed) + len({skip.site for skip in self.skipped if self.declined(skip)})

    def declined(self, skip: SkippedSite) -> bool:
        """Whether it is a site that stayed as it was. What was changed is named as the site is, or by a parameter of
        it."""
        return not skip.whole and not any(skip.site in (name, name.rpartition(".")[0]) for name in self.changed)

    @property
    def state(self) -> str:
        """What it did, in a few words."""
        if self.dry:
            return f"may change {len(self.changed)} sites" if self.changed else "not run: it names no sites beforehand"
        return f"changed {len(self.changed)} of {self.total}" if self.total else "changed nothing"


@dataclass(frozen=True)
class LayerError:
    """Relative root-mean-square error at one layer's output, original against compressed."""

    layer: str
    error: float


@dataclass(frozen=True)
class LayerLatency:
    """Predicted milliseconds of one layer; None on the side where the layer does not exist."""

    layer: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Agreement:
    """How far the artifact, run in `runtime`, is from the PyTorch program it was lowered from (relative).

    `tolerance` is how far it may be, `reason` why it may be off at all.
    """

    runtime: str
    error: float
    tolerance: float
    reason: str = ""


@dataclass(frozen=True)
class Decoding:
    """A decoder with a key–value cache: what was timed, and what the artifact generates.

    `read` tokens come before the first one, `past` are kept where a further one is timed (the prediction is for 128).
    `tokens` were generated behind each of `texts` texts: `equal` is the share that the original in PyTorch chooses too,
    `error` the relative error of the artifact's scores against the original's, `own` the share that the artifact's own
    program chooses in PyTorch; where that is below 1, scores were tied.
    """

    read: int
    past: int
    tokens: int
    texts: int
    equal: float
    error: float
    own: float

    @property
    def timed(self) -> str:
        """What the two latencies are of."""
        return f"first token: after reading {self.read} tokens at once; a token: one more behind {self.past} kept"

    def __str__(self) -> str:
        shown = "the same tokens" if self.equal == 1 else f"{self.equal:.1%} the same tokens"
        return (
            f"{self.tokens} tokens generated with the cache behind {self.texts} texts: {shown} as the original in "
            f"PyTorch, scores within {self.error:.1e}"
        )


@dataclass(frozen=True)
class Library:
    """The network as machine code for one `processor`: its files, and where it was tried.

    `triple` is "" where the processor is the machine's that compiled it; `features` are what LLVM is told besides of
    the processor ("-avx512bw": hidden by a hypervisor); `emulated` is the core of `qemu://` that has its instructions,
    or ""; `cuda` is the GPU that computes ("sm_87"), or "". `bytes` holds the weights; the board needs `runtime_bytes`
    of TVM's runtime besides. `load_ms` is on this machine, where the code runs here.
    `latency_ms` is p50 of a library beside a model, `model_latency_ms` that of the model itself, timed in turn where
    the target is this machine. `checked` says where it ran, or why not; then `error`, that against PyTorch, is None.
    """

    files: tuple[str, ...]
    processor: str
    bytes: int
    checked: str
    tolerance: float
    triple: str = ""
    emulated: str = ""
    features: tuple[str, ...] = ()
    cuda: str = ""
    runtime_bytes: int | None = None
    load_ms: float | None = None
    latency_ms: float | None = None
    model_latency_ms: float | None = None
    error: float | None = None

    def __str__(self) -> str:
        beside = "" if self.runtime_bytes is None else f", beside TVM's runtime of {self.runtime_bytes / 1e6:.1f} MB"
        loads = "" if self.load_ms is None else f", loads in {self.load_ms:.1f} ms here"
        agrees = "" if self.error is None else f", agrees with PyTorch to {self.error:.1e}"
        if self.latency_ms is not None and self.model_latency_ms is not None:
            loads += f", runs in {self.latency_ms:.3g} ms where the model takes {self.model_latency_ms:.3g}"
        size = f"{self.bytes / 1e6:.2f} MB{beside}{loads}"
        where = f"{self.cuda} beside {self.processor}" if self.cuda else self.processor
        return f"{self.files[0]} for {where}: {size}; {self.checked}{agrees}"


@dataclass(frozen=True)
class Verdict:
    """`compressed`; `unchanged` when no pass survived; where `--max-drop` was missed, `best-kept` if some pass stands,
    else `original-kept`."""

    outcome: Literal["compressed", "unchanged", "best-kept", "original-kept"]
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """One run. `synthetic`: inputs were made up, so error and metric say little about real data.

    `calibrated`: predicted latencies come from a model fitted to measurements on such a board; `predicted_from` says
    what they rest on, `past` how far earlier ones were off, "" where none was measured. `placement` counts
    graph nodes by execution provider. `making` is what this run took, `break_even` when the artifact has
    paid for it.
    """

    model: str
    target: str
    objective: Literal["latency", "size"]
    verdict: Verdict
    before: Figures
    after: Figures
    synthetic: bool
    calibrated: bool = False
    predicted_from: str = ""
    past: str = ""
    measured_on: str = ""
    passes: tuple[PassReport, ...] = ()
    layers: tuple[LayerError, ...] = ()
    layer_latency: tuple[LayerLatency, ...] = ()
    placement: Mapping[str, int] = field(default_factory=dict)
    agreement: Agreement | None = None
    decoding: Decoding | None = None
    library: Library | None = None
    metric: str | None = None
    metric_better: Literal["higher", "lower"] = "higher"
    notes: tuple[str, ...] = ()
    seed: int = 0
    batch: int = 1
    threads: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    carbon: Carbon | None = None
    making: Making | None = None
    break_even: BreakEven | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and finite numbers; a number that is not finite becomes null."""
        data: dict[str, Any] = {"schema": SCHEMA, **_plain(asdict(self))}
        for entry, done in zip(data["passes"], self.passes, strict=True):
            entry["total"] = done.total
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Raises InputError when the data is not a report of this schema."""
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            raise InputError(
                f"not a report of schema {SCHEMA}", way_out="Read it with the version of compress that wrote it."
            )
        report: Report = _build(cls, data, "report")
        return report


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _build(kind: Any, value: Any, where: str) -> Any:
    """`value` from JSON as the annotated type `kind`."""
    if is_dataclass(kind) and isinstance(value, Mapping):
        hints = typing.get_type_hints(kind)
        names = [f.name for f in fields(kind) if f.name in value]
        known = {name: _build(hints[name], value[name], f"{where}.{name}") for name in names}
        try:
            return kind(**known)  # type: ignore[operator]
        except TypeError as error:
            raise InputError(f"a field is missing: {error}", where=where) from error
        except ValueError as error:
            raise InputError(str(error), where=where) from error
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal and value in arguments:
        return value
    if origin in (typing.Union, types.UnionType):
        return _build_any(arguments, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_build(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _build(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and (value is None or type(value) is int):
        return math.nan if value is None else float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise InputError(f"{value!r:.60} is not {kind}", where=where)


def _build_any(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """`value` as the first member of a union that takes it: the exact type before one it converts to."""
    for kind in sorted(kinds, key=lambda kind: type(value) is not kind):
        try:
            return _build(kind, value, where)
        except InputError:
            continue
    raise InputError(f"{value!r:.60} is not {' or '.join(map(str, kinds))}", where=where)
