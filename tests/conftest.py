"""What all tests share: the digits example, and a cache of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from made_once import lend_runners, made_once

if TYPE_CHECKING:
    from compressor.graph.program import Program

if "PYTEST_XDIST_WORKER" in os.environ:  # a process a core: more threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest.register_assert_rewrite("network_styles", "transport_contract")

DIGITS = Path(__file__).resolve().parent.parent / "examples" / "digits"


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some tests wait for other processes, and for what is too slow."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's cache, or what was predicted and measured before."""
    with pytest.MonkeyPatch.context() as patch:
        own = tmp_path_factory.getbasetemp()
        patch.setenv("SHARED_BY_WORKERS", str(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own))
        patch.setenv("COMPRESS_CACHE", str(lend_runners(tmp_path_factory.mktemp("cache"))))
        patch.setenv("COMPRESS_CONFIG", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="module")
def weighed_once() -> Iterator[None]:
    """What a plan asks of the digits network takes a minute to find out: the first worker that asks keeps it for all,
    whatever the board."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPRESS_CACHE", str(Path(os.environ["SHARED_BY_WORKERS"]) / "planned"))
        yield


@pytest.fixture(scope="session")
def conv_program() -> Program:
    """Convolution, batch norm, in-place ReLU, linear."""
    from programs import conv

    return conv()


@pytest.fixture(scope="session")
def text_program() -> Program:
    """Token ids and a mask in, nested outputs, a tied head."""
    from programs import text

    return text()


@pytest.fixture(scope="session")
def digits() -> Path:
    """The folder of the bundled example."""
    return DIGITS


@pytest.fixture(scope="session")
def digits_bundle(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """The example compressed for the browser: int8, the one target whose objective is size."""
    from compressor.cli.main import run

    def make(out: Path) -> None:
        arguments = [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "web-wasm", "-q"]
        assert run([*arguments, "--out", str(out)]) == 0

    return made_once("digits", tmp_path_factory.mktemp("bundles") / "digits-web", make)


@pytest.fixture(scope="session")
def tvm_bundle(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """The example compiled with TVM for any x86-64 board."""
    from compiled import needs_tvm

    from compressor.cli.main import run

    needs_tvm()

    def make(out: Path) -> None:
        arguments = [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "x86-64", "-q"]
        assert run([*arguments, "--runtime", "tvm", "--out", str(out)]) == 0

    return made_once("tvm", tmp_path_factory.mktemp("bundles") / "digits-tvm", make)


@pytest.fixture(scope="session")
def both_bundle(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """The example in int8 for any x86-64 board, in ONNX and compiled with TVM."""
    from compiled import needs_tvm

    from compressor.cli.main import run

    needs_tvm()

    def make(out: Path) -> None:
        arguments = [str(digits / "model.pt"), "--data", str(digits / "data.npz"), "--target", "x86-64", "-q"]
        assert run([*arguments, "--runtime", "both", "--passes", "fold,int8", "--out", str(out)]) == 0

    return made_once("both", tmp_path_factory.mktemp("bundles") / "digits-both", make)


@pytest.fixture(scope="session")
def decoder_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal language model with its key–value cache, uncompressed, for any x86-64 board."""
    from decoders import Growing, texts

    from compressor.api import compress

    def make(out: Path) -> None:
        outcome = compress(Growing(), "x86-64", data=texts("ids"), passes="none", out=out, no_cache=True)
        assert outcome.report.decoding is not None

    return made_once("decoder", tmp_path_factory.mktemp("bundles") / "growing", make)


@pytest.fixture(scope="session")
def operators_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two linear layers in ternary weights for any x86-64 board, multiplied by operators of their own."""
    import torch
    from compiled import needs_tvm

    from compressor.api import compress

    needs_tvm()

    def make(out: Path) -> None:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 64))
        given = ["2x256"]
        compress(model, "x86-64", inputs=given, passes="ternary", max_drop="100%", kernels="custom-op", out=out)

    return made_once("operators", tmp_path_factory.mktemp("bundles") / "linear-operators", make)


@pytest.fixture(scope="session")
def tvm_decoder_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a library of TVM's."""
    from compiled import needs_tvm
    from decoders import Growing, texts

    from compressor.api import compress

    needs_tvm()

    def make(out: Path) -> None:
        options = {"data": texts("ids"), "passes": "none", "runtime": "tvm"}
        outcome = compress(Growing(), "x86-64", **options, out=out, no_cache=True)
        assert outcome.report.decoding is not None
        assert outcome.report.decoding.equal == 1

    return made_once("tvm_decoder", tmp_path_factory.mktemp("bundles") / "growing-tvm", make)
