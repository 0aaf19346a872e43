"""What a board is, as plain data: runtime, providers, formats, rates; each number with its source.

One TOML file a board in this folder; the loader is `targets/loader.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Compiler", "Figure", "Objective", "Provider", "Runtime", "Sparsity", "Target"]

Objective = Literal["latency", "size"]


@dataclass(frozen=True)
class Figure:
    """A number and where it comes from (a data sheet, a measurement, an estimate that says so)."""

    value: float
    source: str


@dataclass(frozen=True)
class Runtime:
    """The newest runtime that the board can install."""

    name: str  # "onnxruntime", "onnxruntime-web", …
    version: str
    opset: int  # newest ONNX opset that version accepts
    source: str
    install: str = ""  # how to get it onto the board, in a sentence or a command


@dataclass(frozen=True)
class Sparsity:
    """Weights of which at most `kept` of every `group` along the summed axis are not zero run faster.

    In `formats`, by `speedup` at most, where a layer has `width` inputs and outputs at least.
    """

    kept: int
    group: int
    formats: tuple[str, ...]
    speedup: float
    width: int
    source: str

    @property
    def pattern(self) -> str:
        return f"{self.kept}of{self.group}"


@dataclass(frozen=True)
class Provider:
    """One execution provider: what it runs, and in which formats.

    `operators` are ONNX operator types, or ("*",) for all that its runtime knows. `activations` is the integer
    format that its int8 kernels want for activations ("int8" symmetric or "uint8"), or "" where it has none.
    `saturates` says that they add two products of bytes in 16 bits (VPMADDUBSW): weights of 7 bits are safe there.
    `sparsity` are the patterns of zeros in weights that it makes use of.
    """

    name: str  # "TensorrtExecutionProvider", …
    formats: tuple[str, ...]  # "fp32", "fp16", "int8"
    operators: tuple[str, ...]
    activations: str
    source: str
    sparsity: tuple[Sparsity, ...] = ()
    saturates: bool = False

    def runs(self, operator: str) -> bool:
        """Whether it has a kernel for this ONNX operator type."""
        return self.operators == ("*",) or operator in self.operators


@dataclass(frozen=True)
class Compiler:
    """What a compiler is told of the board's processor, so that `--runtime tvm` makes machine code for it.

    `triple`, `cpu` and `features` ("+dotprod") are LLVM's words, `cuda` is the GPU's ("sm_87"), or "" where the
    processor computes. `formats` are those that the compiled code computes in. `glibc` is the oldest C library that
    the code has to load with. `emulated` is the core of `qemu://` that has the processor's instructions, or "".
    """

    triple: str
    cpu: str
    formats: tuple[str, ...]
    source: str
    features: tuple[str, ...] = ()
    cuda: str = ""
    glibc: str = ""
    emulated: str = ""


@dataclass(frozen=True)
class Target:
    """A kind of board. Rates are peaks for all cores together, of the preferred provider.

    Units: `rates` multiply–accumulates a second by format; `bandwidth` bytes a second; `node_overhead` seconds a
    kernel; `memory` bytes; `power` watts of the board or module while it computes (None: no energy is estimated).
    `providers` are in order of preference; `optional_providers` an application has to ask for,
    so nothing is predicted or lowered for them. `sources` tells where `threads` and `width_multiple` are from.
    """

    name: str
    title: str
    objective: Objective
    runtime: Runtime
    providers: tuple[Provider, ...]
    passes: str  # default pass list, in the command line's spelling
    passes_with_data: str  # the same where calibration data is given
    rates: Mapping[str, Figure]
    bandwidth: Figure
    node_overhead: Figure
    memory: Figure
    threads: int
    width_multiple: int  # channel counts that it runs well are multiples of this
    arch: str  # "aarch64", "x86_64", "wasm32"
    aliases: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_host: bool = False  # true when it describes the machine this process runs on
    optional_providers: tuple[Provider, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    power: Figure | None = None
    compiler: Compiler | None = None  # None: a compiler is told nothing, or the board is this machine

    @property
    def activations(self) -> str:
        """The activation format of the first provider that runs int8, or ""."""
        return self._integer.activations if self._integer else ""

    @property
    def saturates(self) -> bool:
        """Whether the int8 kernels of that provider add products in 16 bits."""
        return self._integer is not None and self._integer.saturates

    @property
    def _integer(self) -> Provider | None:
        return next((provider for provider in self.providers if provider.activations), None)

    @property
    def sparsity(self) -> tuple[Sparsity, ...]:
        """The patterns of zeros that the preferred provider makes use of."""
        return self.providers[0].sparsity if self.providers else ()

    @property
    def on_cpu(self) -> bool:
        """Whether the preferred provider computes on the CPU, as XNNPACK and WebAssembly do."""
        name = self.providers[0].name.lower() if self.providers else "cpu"
        return any(word in name for word in ("cpu", "wasm", "xnnpack"))

    def computes_in(self, format_name: str) -> bool:
        """Whether the preferred provider runs this format."""
        return any(format_name in provider.formats for provider in self.providers[:1])

    def rate(self, format_name: str) -> float:
        """Multiply–accumulates a second in this format; fp32's where the format has no rate of its own."""
        return self.rates.get(format_name, self.rates["fp32"]).value

    def provider_of(self, operator: str) -> Provider | None:
        """The first provider that runs this ONNX operator type, or None where no provider does."""
        return next((provider for provider in self.providers if provider.runs(operator)), None)
