from __future__ import annotations

from boards import board

from compressor.targets import Figure, Provider, Sparsity, load_target, target_names


def test_a_format_without_a_rate_runs_at_fp32s() -> None:
    target = board(rates={"fp32": Figure(2e9, "test"), "int8": Figure(8e9, "test")})
    assert target.rate("int8") == 8e9
    assert target.rate("fp16") == target.rate("fp32") == 2e9


def test_activations_are_those_of_the_first_provider_that_runs_int8() -> None:
    gpu = Provider("CoreMLExecutionProvider", ("fp32", "fp16"), ("Conv",), "", "test")
    cpu = Provider("CPUExecutionProvider", ("fp32", "int8"), ("*",), "uint8", "test")
    assert board(providers=(gpu, cpu)).activations == "uint8"
    assert board(providers=(gpu,)).activations == ""


def test_zeros_count_where_the_preferred_provider_says_so() -> None:
    offer = Sparsity(2, 4, ("fp32",), 2.0, 8, "test")
    gpu = Provider("Gpu", ("fp32",), ("*",), "", "test", (offer,))
    cpu = Provider("CPUExecutionProvider", ("fp32",), ("*",), "", "test")
    assert board(providers=(gpu, cpu)).sparsity == (offer,)
    assert board(providers=(cpu, gpu)).sparsity == board(providers=()).sparsity == ()
    assert offer.pattern == "2of4"


def test_an_operator_goes_to_the_first_provider_that_runs_it() -> None:
    gpu = Provider("CUDAExecutionProvider", ("fp32",), ("Conv", "Relu"), "", "test")
    cpu = Provider("CPUExecutionProvider", ("fp32",), ("*",), "", "test")
    target = board(providers=(gpu, cpu))
    assert target.provider_of("Conv") is gpu
    assert target.provider_of("Unique") is cpu
    assert board(providers=(gpu,)).provider_of("Unique") is None


def test_which_targets_compute_on_the_cpu() -> None:
    found = {name: load_target(name).on_cpu for name in target_names()}
    assert {name for name, on_cpu in found.items() if not on_cpu} == {
        "iphone", "jetson-agx-orin", "jetson-orin-nano", "jetson-xavier-nx",
    }  # fmt: skip
    assert board(providers=()).on_cpu


def test_which_formats_the_preferred_provider_runs() -> None:
    assert load_target("jetson-orin-nano").computes_in("fp16")
    assert load_target("web-wasm").computes_in("int8")
    assert not load_target("web-wasm").computes_in("fp16")  # WebGPU does, where it is asked for
