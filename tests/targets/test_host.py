from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import onnx
import onnxruntime
import pytest

from compressor.errors import TargetError
from compressor.targets import HOST, load_target
from compressor.targets import host as host_module
from compressor.targets.host import host_target, newest_opset
from compressor.targets.machine import Machine

PC = Machine(
    arch="x86_64", cpu="PC", vendor="GenuineIntel", part="", features=frozenset({"avx", "avx2", "fma"}),
    cores=4, threads=8, threads_source="test", clock=2e9, clock_source="test", memory=8 << 30, memory_source="test",
)  # fmt: skip


def _rates(here: Machine, **options: int) -> tuple[float, float]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_module, "this_machine", lambda: here)
        target = host_target(**options)
    return target.rate("fp32") / 1e9, target.rate("int8") / 1e9


def test_the_host_is_this_machine_and_its_runtime() -> None:
    target = load_target(HOST)
    assert target.is_host
    assert target.runtime.version == onnxruntime.__version__
    assert target.objective == "latency"
    assert target.providers[0].name in onnxruntime.get_available_providers()
    assert target.activations == ("int8" if target.arch == "aarch64" else "uint8")
    assert all("estimate" in figure.source for figure in [*target.rates.values(), target.bandwidth])
    assert load_target(HOST) == target  # nothing is timed, so finished stages are found again


def test_the_hosts_power_is_an_estimate_and_follows_the_threads() -> None:
    one, all_of_them = load_target(HOST, host_threads=1).power, load_target(HOST).power
    assert one is not None
    assert all_of_them is not None
    assert all_of_them.source.startswith("estimate: ")
    assert 0 < one.value <= all_of_them.value


def test_the_opset_is_the_newest_that_the_runtime_accepts() -> None:
    newest = newest_opset()

    def accepts(opset: int) -> bool:
        value = onnx.helper.make_tensor_value_info
        nodes = [onnx.helper.make_node("Relu", ["x"], ["y"])]
        graph = onnx.helper.make_graph(nodes, "g", [value("x", 1, [1])], [value("y", 1, [1])])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001  onnxruntime's own types
            return False
        return True

    assert accepts(newest)
    assert not accepts(newest + 1)


@pytest.mark.parametrize(
    ("features", "vendor", "rates"),
    [
        ({"sse2"}, "", (32, 32)),
        ({"avx"}, "", (64, 64)),
        ({"avx", "avx2", "fma"}, "", (128, 256)),
        ({"avx", "avx2", "fma", "avx_vnni"}, "", (128, 512)),
        ({"avx2", "fma", "avx512f", "avx512_vnni"}, "GenuineIntel", (256, 1024)),
        ({"avx2", "fma", "avx512f", "avx512_vnni"}, "AuthenticAMD", (128, 512)),
    ],
)
def test_x86_rates_follow_the_instruction_set(features: set[str], vendor: str, rates: tuple[float, float]) -> None:
    assert _rates(replace(PC, features=frozenset(features), vendor=vendor)) == rates


@pytest.mark.parametrize(
    ("features", "part", "vendor", "rates"),
    [
        ({"asimd"}, "0xd08", "", (32, 32)),  # Cortex-A72
        ({"asimd", "asimddp"}, "0xd0b", "", (64, 256)),  # Cortex-A76
        ({"asimd", "asimddp", "i8mm"}, "0xd49", "", (64, 512)),  # Neoverse-N2
        ({"asimd", "asimddp"}, "", "Apple", (128, 512)),
    ],
)
def test_arm_rates_follow_the_core(features: set[str], part: str, vendor: str, rates: tuple[float, float]) -> None:
    here = replace(PC, arch="aarch64", features=frozenset(features), part=part, vendor=vendor)
    assert _rates(here) == rates


@pytest.mark.parametrize(("features", "expected"), [({"avx2"}, True), ({"avx2", "avx_vnni"}, False)])
def test_bytes_saturate_without_vnni(monkeypatch: pytest.MonkeyPatch, features: set[str], expected: bool) -> None:
    monkeypatch.setattr(host_module, "this_machine", lambda: replace(PC, features=frozenset(features)))
    assert host_target().saturates == expected


def test_an_unknown_architecture_gets_a_scalar_rate() -> None:
    assert _rates(replace(PC, arch="riscv64", features=frozenset())) == (8, 8)


def test_asked_for_threads_bound_the_rates() -> None:
    assert _rates(PC, threads=1)[0] == _rates(PC)[0] / 4
    assert _rates(PC, threads=8) == _rates(PC)  # hyper-threads add no arithmetic
    assert load_target(HOST, host_threads=1).threads == 1


def test_other_providers_of_the_runtime_are_named_but_not_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["CUDAExecutionProvider", "AzureExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    target = host_target()
    assert [provider.name for provider in target.optional_providers] == ["CUDAExecutionProvider"]
    assert [provider.name for provider in target.providers] == ["CPUExecutionProvider"]


def test_without_a_runtime_the_way_to_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(TargetError, match="ONNX Runtime") as caught:
        host_target()
    assert "pip install onnxruntime" in caught.value.way_out


def test_describing_the_host_imports_neither_torch_nor_onnx() -> None:
    code = "import sys; from compressor.targets import load_target; load_target('host'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "onnx"}.isdisjoint(done.stdout.split())
