"""What of a request can be refused before the model is read: options, names and files that do not fit each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from compressor.devices.opening import find_address
from compressor.entries import check_shared
from compressor.errors import InputError
from compressor.export.custom_op.library import check_tools
from compressor.gate import Gate
from compressor.metrics import Drop, parse_drop
from compressor.passlist import PassSpec
from compressor.recipe import Recipe
from compressor.request import Request
from compressor.targets import Target, load_target
from compressor.targets.kernels import CUSTOM_OP, check_kernels
from compressor.targets.tvm import BOTH, TVM, with_runtime
from compressor.tuning import check_tune
from compressor.unpacking import check_pack

__all__ = ["Checked", "checked"]


@dataclass(frozen=True)
class Checked:
    """A request, and what was read on the way. `beside` is the target with TVM, where a library is asked for beside the
    model; `train` the user's training function."""

    request: Request
    recipe: Recipe | None
    target: Target
    beside: Target | None
    specs: list[PassSpec]
    gate: Gate
    drop_limit: Drop
    train: Callable[..., Any] | None

    @property
    def seed(self) -> int:
        return self.request.seed if self.request.seed is not None else (self.recipe.seed if self.recipe else 0)


def checked(request: Request) -> Checked:
    """Raises the errors of `compressor.errors` that the user can mend."""
    recipe = request.loaded_recipe()
    request = request if recipe is None else replace(request, keep=recipe.keep)
    named = load_target(request.target_name(recipe))
    target = with_runtime(named, request.runtime)
    beside = with_runtime(named, TVM) if request.runtime == BOTH else None
    specs = request.pass_specs(target, recipe, has_data=request.data is not None)
    if request.train is not None and not any(spec.build().takes_function() for spec in specs):
        raise InputError("no pass runs it", where="--train", way_out="Write --passes prune=0.5:how=dhspg.")
    check_pack(request, target)
    check_kernels(target, request.kernels)
    if request.kernels == CUSTOM_OP:
        check_tools(target)
    check_tune(request, beside or target)
    check_shared(request, specs, target)
    if request.device is not None:
        find_address(request.device)
    request.carbon_intensity()
    request.check_planning()
    gate, drop_limit, train = request.gate_for(target), parse_drop(request.max_drop), request.training_function()
    return Checked(request, recipe, target, beside, specs, gate, drop_limit, train)
