"""State dicts are found in their containers, compared before they are copied, and must be finite."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compressor.errors import LoadError
from compressor.load.weights import check_finite, load_into, state_dict_in

STATE = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}


@pytest.mark.parametrize(
    "thing",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE, "optimizer": {"state": {}}},
        {"model": {"state_dict": STATE}},
    ],
)
def test_state_dict_is_found(thing: object) -> None:
    found = state_dict_in(thing)
    assert found is not None
    assert found.keys() == STATE.keys()


@pytest.mark.parametrize("thing", [{}, [1], 3, {"epoch": 3}, {"a": 1, "b": 2, "c": torch.ones(1)}, torch.ones(2)])
def test_no_state_dict(thing: object) -> None:
    assert state_dict_in(thing) is None


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrappers_are_taken_off(prefix: str) -> None:
    module = nn.Linear(3, 2)
    load_into(module, {prefix + key: value for key, value in STATE.items()}, "m.pt")
    assert torch.equal(module.weight, STATE["weight"])


def test_prefix_that_is_the_models_own_stays() -> None:
    module = nn.ModuleDict({"model": nn.Linear(3, 2)})
    load_into(module, {f"model.{key}": value for key, value in STATE.items()}, "m.pt")
    assert torch.equal(module["model"].weight, STATE["weight"])


def test_every_difference_is_told() -> None:
    wide = {f"extra{i}": torch.ones(1) for i in range(7)} | {"weight": torch.ones(4, 4)}
    with pytest.raises(LoadError) as caught:
        load_into(nn.Linear(3, 2), wide, "m.pt")
    message = str(caught.value)
    assert "1 missing (bias)" in message
    assert "7 unexpected (extra0, extra1, extra2, extra3, extra4 and 2 more)" in message
    assert "weight is (4, 4), the model's is (2, 3)" in message
    assert "--model" in message


def test_old_batch_norm_without_its_counter() -> None:
    module = nn.BatchNorm2d(2)
    state = {key: value for key, value in module.state_dict().items() if key != "num_batches_tracked"}
    load_into(module, state, "m.pt")


def test_nan_and_infinity_are_named() -> None:
    good, nan, inf = torch.ones(2), torch.tensor([1.0, float("nan")]), torch.tensor([float("inf")])
    with pytest.raises(LoadError, match=r"2 tensors \(b, c\)"):
        check_finite([("a", good), ("b", nan), ("c", inf)], [], "m.pt")
    with pytest.raises(LoadError, match="running_var"):
        check_finite([], [("running_var", inf)], "m.pt")


def test_mask_buffer_may_hold_minus_infinity() -> None:
    mask = torch.full((3, 3), -torch.inf).triu(1)
    check_finite([], [("mask", mask)], "m.pt")
    with pytest.raises(LoadError):
        check_finite([("mask", mask)], [], "m.pt")


def test_every_dtype_is_checked() -> None:
    for dtype in (torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64):
        check_finite([("a", torch.ones(2).to(dtype))], [], "m.pt")
    with pytest.raises(LoadError):
        check_finite([("a", torch.tensor([float("nan")]).to(torch.float8_e5m2))], [], "m.pt")
