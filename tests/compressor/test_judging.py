"""Artifacts are judged as their own runtime runs them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from compressor.cache import Cache
from compressor.devices.tvm_emulated import lacking
from compressor.errors import UnsupportedError
from compressor.export import tvm_linking
from compressor.gate import Gate
from compressor.graph.contract import Context, Progress
from compressor.judging import Workshop
from compressor.metrics import parse_drop
from compressor.passes.quantize import Quantize
from compressor.pipeline import Pipeline
from compressor.prepare import prepare
from compressor.request import Request
from compressor.targets import load_target
from compressor.targets.tvm import with_runtime


@pytest.fixture(scope="module")
def workshop(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    request = Request(digits / "model.pt", data=digits / "data.npz")
    prepared = prepare(request, load_target("host"), 0, Progress())
    pipeline = Pipeline(Context(prepared.target), Gate("latency"), Cache(None), "")
    return Workshop(prepared, pipeline, tmp_path_factory.mktemp("work"), parse_drop("1%"), 1, 1)


def test_a_program_is_built_once(workshop: Workshop) -> None:
    program = workshop.prepared.program
    assert workshop.build(program) is workshop.build(program)


def test_the_original_loses_nothing(workshop: Workshop) -> None:
    artifact = workshop.build(workshop.prepared.program)
    assert workshop.metric(artifact) == pytest.approx(0.9796, abs=1e-3)
    assert workshop.drop(artifact) is None
    assert workshop.output_error(artifact) < 1e-5


def test_on_the_host_both_are_measured_side_by_side(workshop: Workshop) -> None:
    artifact = workshop.build(workshop.prepared.program)
    times = workshop.times(artifact.program, artifact)
    assert times is not None
    assert min(times.before, times.after) > 0
    assert times.low <= times.ratio <= times.high
    assert (workshop.timing.load_ms(artifact) or 0) > 0


def test_what_tvm_runs_is_judged_by_its_own_library(digits: Path, tmp_path: Path) -> None:
    from compiled import needs_tvm

    needs_tvm()
    target = with_runtime(load_target("host"), "tvm")
    prepared = prepare(Request(digits / "model.pt", data=digits / "data.npz"), target, 0, Progress())
    pipeline = Pipeline(Context(target), Gate("latency"), Cache(None), "")
    workshop = Workshop(prepared, pipeline, tmp_path, parse_drop("1%"), 1, 1)
    artifact = workshop.build(prepared.program)
    assert artifact.path.name == "model.so"
    assert (artifact.bytes, artifact.files) == (artifact.path.stat().st_size, (artifact.path,))
    assert set(artifact.placement.counts) == {"TVM-CPU"}
    assert artifact.agreement.error < 1e-5
    assert workshop.metric(artifact) == pytest.approx(0.9796, abs=1e-3)
    assert workshop.output_error(artifact) < 1e-5
    assert (workshop.timing.load_ms(artifact) or 0) > 0


def test_a_library_that_nothing_here_runs_is_judged_by_its_program(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compiled import needs_tvm

    needs_tvm()
    monkeypatch.setenv("COMPRESS_QEMU", str(tmp_path / "none"))
    monkeypatch.setattr(tvm_linking, "cross_compiler", lambda triple, glibc: ())
    target = with_runtime(load_target("raspberry-pi-4"), "tvm")
    prepared = prepare(Request(digits / "model.pt", data=digits / "data.npz"), target, 0, Progress())
    pipeline = Pipeline(Context(target), Gate("latency"), Cache(None), "")
    workshop = Workshop(prepared, pipeline, tmp_path, parse_drop("1%"), 1, 1)
    artifact = workshop.build(prepared.program)
    assert [file.name for file in artifact.files] == ["model-0.o", "model-1.o", "build-model.sh"]
    assert (artifact.agreement.outputs, artifact.agreement.samples) == ((), 0)
    assert "not run: nothing here links for raspberry-pi-4" in artifact.agreement.notes[0]
    assert workshop.metric(artifact) == pytest.approx(0.9796, abs=1e-3)
    library = workshop.library(artifact)
    assert library is not None
    assert (library.processor, library.triple, library.emulated) == ("cortex-a72", "aarch64-linux-gnu", "cortex-a72")
    assert (library.error, library.load_ms) == (None, None)
    assert library.bytes == sum(file.stat().st_size for file in artifact.files)
    assert "model-0.o for cortex-a72" in str(library)


@pytest.mark.emulated
def test_a_library_for_another_processor_is_tried_emulated(
    digits: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from compiled import needs_tvm
    from emulation import emulated_root

    needs_tvm()
    emulated_root(tmp_path_factory)
    if reason := lacking("cortex-a76"):
        pytest.skip(reason)
    target = with_runtime(load_target("raspberry-pi-5"), "tvm")
    prepared = prepare(Request(digits / "model.pt", data=digits / "data.npz"), target, 0, Progress())
    workshop = Workshop(
        prepared, Pipeline(Context(target), Gate("latency"), Cache(None), ""), tmp_path, parse_drop("1%"), 1, 1
    )
    artifact = workshop.build(prepared.program)
    if artifact.path.suffix != ".so":
        pytest.skip("needs g++-aarch64-linux-gnu or ziglang")
    assert artifact.agreement.error < 1e-5
    assert "ran emulated as cortex-a76, on 4 samples" in artifact.agreement.notes[-1]
    library = workshop.library(artifact)
    assert library is not None
    assert "emulated as cortex-a76, agrees with PyTorch to" in str(library)


def test_on_the_host_a_library_beside_the_model_is_timed_in_turn(digits: Path, tmp_path: Path) -> None:
    from compiled import needs_tvm

    needs_tvm()
    host = load_target("host")
    prepared = prepare(Request(digits / "model.pt", data=digits / "data.npz"), host, 0, Progress())
    pipeline = Pipeline(Context(host), Gate("latency"), Cache(None), "")
    workshop = Workshop(prepared, pipeline, tmp_path, parse_drop("1%"), 1, 1, besides=with_runtime(host, "tvm"))
    artifact = workshop.build(prepared.program)
    library = workshop.library(artifact)
    assert library is not None
    assert min(library.latency_ms or 0, library.model_latency_ms or 0, library.load_ms or 0) > 0
    assert "ms where the model takes" in str(library)
    beside = workshop.beside(prepared.program)
    assert beside is workshop.beside(prepared.program), "it is compiled once"
    assert artifact.path.name == "model.onnx"
    half = Quantize("fp16").run(prepared.program, Context(load_target("jetson"))).program
    with pytest.raises(UnsupportedError, match=r"nothing in half precision\n.*--passes fold"):
        workshop.beside(half)


@pytest.mark.parametrize(("after", "slower"), [(1.0, False), (2.0, True), (3.0, True), (None, False)])
def test_a_tuned_library_has_to_be_faster_as_a_whole(
    after: float | None, slower: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {} if after is None else {"0": SimpleNamespace(p50=2.0), "1": SimpleNamespace(p50=after)}
    workshop = object.__new__(Workshop)
    monkeypatch.setattr(Workshop, "timing", SimpleNamespace(in_turn=lambda artifacts: times))
    said = workshop._slower_whole(None, None)  # type: ignore[arg-type]
    assert bool(said) == slower
