"""The machine that this process runs on, described like any other board.

    rate(format) = cores × MACs a clock(instruction set, format) × clock        an estimate, and labelled as one

Nothing is timed, so two runs on one machine see the same target and finished stages are found again. The runtime's
opset is found by asking it: a one-node model is offered in newer and newer opsets until it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compressor.errors import TargetError
from compressor.targets.machine import Machine, this_machine
from compressor.targets.operators import OPERATORS
from compressor.targets.power import host_power
from compressor.targets.target import Figure, Provider, Runtime, Target

__all__ = ["host_target", "newest_opset"]

_INSTALL = "pip install onnxruntime"
_FIRST_OPSET, _LAST_OPSET = 7, 99


@dataclass(frozen=True)
class _Arithmetic:
    """What an instruction set does: MACs a clock and core, and the integer instruction that does the int8 ones."""

    fp32: int
    int8: int
    name: str


def host_target(*, threads: int | None = None) -> Target:
    """This machine as a target; `threads` instead of all that this process may use.

    Raises TargetError where ONNX Runtime is not installed.
    """
    here = this_machine()
    runtime, provider_names = _runtime()
    arm = here.arch in ("aarch64", "armv7l")
    activations = "int8" if arm else "uint8"
    count = threads or here.threads
    return Target(
        name="host",
        title=f"This machine: {here.cpu}, {here.threads} threads",
        objective="latency",
        runtime=runtime,
        providers=(_cpu_provider(here, activations),),
        passes="fold",
        passes_with_data="fold,int8",
        rates=_rates(here, count),
        bandwidth=_bandwidth(here, count),
        node_overhead=Figure(4e-6, "estimate: dispatch of one ONNX Runtime node and waking its threads"),
        memory=Figure(float(here.memory), here.memory_source),
        threads=count,
        width_multiple=4 if arm else 8,
        arch=here.arch,
        notes=(f"Instruction set: {_arithmetic(here).name}.",),
        is_host=True,
        optional_providers=tuple(_OPTIONAL[name] for name in provider_names if name in _OPTIONAL),
        power=host_power(here, count),
        sources={
            "threads": here.threads_source if threads is None else "asked for",
            "width_multiple": "fp32 lanes of a vector register: 4 in NEON, 8 in AVX2, which ONNX Runtime blocks by",
        },
    )


def newest_opset() -> int:
    """The newest opset of the ai.onnx domain that the installed ONNX Runtime accepts.

    Its operator table will not do: it lists operators of opsets that are not released, which the loader refuses.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the refusal that ends the search is no news to the user
    newest = _FIRST_OPSET
    for opset in range(_FIRST_OPSET + 1, _LAST_OPSET + 1):
        try:
            onnxruntime.InferenceSession(_identity_model(opset), options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001  onnxruntime raises types of its own that share no base but Exception
            break
        newest = opset
    return newest


def _identity_model(opset: int) -> bytes:
    """y = Identity(x) as ONNX protobuf, written by hand: importing onnx for it would double the time."""

    def field(number: int, payload: bytes) -> bytes:
        return bytes([number << 3 | 2, len(payload)]) + payload

    def value(name: bytes) -> bytes:
        return field(1, name) + field(2, field(1, b"\x08\x01"))  # float, of unknown shape

    node = field(1, b"x") + field(2, b"y") + field(4, b"Identity")
    graph = field(1, node) + field(2, b"g") + field(11, value(b"x")) + field(12, value(b"y"))
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10" + bytes([opset]))  # IR version 8


def _runtime() -> tuple[Runtime, list[str]]:
    try:
        import onnxruntime
    except ImportError as error:
        raise TargetError(
            f"ONNX Runtime cannot be imported: {error}",
            where="target 'host'",
            way_out=f"{_INSTALL}; `compress doctor` tells more.",
        ) from error
    opset, version = newest_opset(), str(onnxruntime.__version__)
    source = f"installed here: accepts ONNX opset {opset} and refuses {opset + 1}, tried"
    return Runtime("onnxruntime", version, opset, source, _INSTALL), list(onnxruntime.get_available_providers())


def _cpu_provider(here: Machine, activations: str) -> Provider:
    exact = here.arch != "x86_64" or not {"avx512_vnni", "avx_vnni"}.isdisjoint(here.features)
    return Provider(
        "CPUExecutionProvider", ("fp32", "int8"), ("*",), activations,
        "onnxruntime docs/OperatorKernels.md, CPU section; unsigned activations on x86, signed ones on Arm",
        saturates=not exact,
    )  # fmt: skip


# What else a build of the runtime may offer. The rates here are the CPU's, so these are named and not predicted.
_OPTIONAL = {
    name: Provider(name, formats, OPERATORS[operators], activations, "onnxruntime.get_available_providers() here")
    for name, formats, operators, activations in (
        ("TensorrtExecutionProvider", ("fp32", "fp16", "int8"), "tensorrt-10.3", "int8"),
        ("CUDAExecutionProvider", ("fp32", "fp16"), "cuda", ""),
        ("CoreMLExecutionProvider", ("fp32", "fp16"), "coreml", ""),
        ("QNNExecutionProvider", ("fp16", "int8"), "qnn", "uint8"),
        ("XnnpackExecutionProvider", ("fp32", "int8"), "xnnpack", "int8"),
        ("WebGpuExecutionProvider", ("fp32", "fp16"), "webgpu", ""),
    )
}


def _rates(here: Machine, threads: int) -> dict[str, Figure]:
    cores, arithmetic = min(threads, here.cores), _arithmetic(here)
    clock = f"{here.clock / 1e9:.1f} GHz ({here.clock_source})"

    def rate(macs: int) -> Figure:
        source = f"estimate: {cores} cores × {macs} MACs a clock ({arithmetic.name}) × {clock}"
        return Figure(cores * macs * here.clock, source)

    return {"fp32": rate(arithmetic.fp32), "int8": rate(arithmetic.int8)}


def _bandwidth(here: Machine, threads: int) -> Figure:
    each, most = (10e9, 50e9) if here.arch == "x86_64" else (8e9, 50e9)
    cores = min(threads, here.cores)
    source = f"estimate: {cores} cores × {each / 1e9:.0f} GB/s, at most {most / 1e9:.0f} GB/s; the system does not tell"
    return Figure(min(cores * each, most), source)


def _arithmetic(here: Machine) -> _Arithmetic:
    """MACs a clock of one core by instruction set; two vector units of the widest kind unless it is known otherwise."""
    tables = {"aarch64": _arm_table, "x86_64": _x86_table}
    table = tables[here.arch](here) if here.arch in tables else iter(())
    return next((row for known, row in table if known), _Arithmetic(1, 1, "no vector instructions assumed"))


def _x86_table(here: Machine) -> Iterator[tuple[bool, _Arithmetic]]:
    has = here.features.__contains__
    wide = 2 if has("avx512f") and here.vendor == "GenuineIntel" else 1  # AMD's first pair two 256-bit units instead
    yield has("avx512_vnni"), _Arithmetic(16 * wide, 64 * wide, "AVX-512 VNNI")
    yield has("avx_vnni"), _Arithmetic(16 * wide, 64 * wide, "AVX-VNNI")
    yield has("avx512f"), _Arithmetic(16 * wide, 32 * wide, "AVX-512")
    yield has("avx2") and has("fma"), _Arithmetic(16, 32, "AVX2 and FMA")
    yield has("avx"), _Arithmetic(8, 8, "AVX")
    yield True, _Arithmetic(4, 4, "SSE2")


def _arm_table(here: Machine) -> Iterator[tuple[bool, _Arithmetic]]:
    has = here.features.__contains__
    # Cortex-A53, A55, A57 and A72 finish one 128-bit multiply–add a clock, later big cores two, Apple's four.
    units = 4 if here.vendor == "Apple" else 1 if here.part in ("0xd03", "0xd05", "0xd07", "0xd08") else 2
    yield has("i8mm"), _Arithmetic(4 * units, 32 * units, "NEON with i8mm")
    yield has("asimddp"), _Arithmetic(4 * units, 16 * units, "NEON with dotprod")
    yield True, _Arithmetic(4 * units, 4 * units, "NEON")
