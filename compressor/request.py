"""What was asked for: every option of the main job in one plain value, checked before anything slow starts."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from compressor.carbon import carbon_given
from compressor.durations import duration
from compressor.errors import InputError, OutputError, RecipeError
from compressor.gate import Budget, BudgetAxis, Gate, parse_budget
from compressor.passlist import PassSpec, parse_passes
from compressor.plan.solvers import check_solver
from compressor.recipe import Recipe, load_recipe
from compressor.recovering import RECOVER, with_recovery
from compressor.userfile import is_function_text, load_function

if TYPE_CHECKING:
    from torch import nn

    from compressor.devices.energy import Carbon
    from compressor.targets import Target

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """The options of `compress`, named as on the command line. `model` is a path, or an `nn.Module` from Python."""

    model: str | Path | nn.Module
    target: str | None = None
    runtime: str | None = None
    kernels: str | None = None
    data: Any = None
    inputs: tuple[str, ...] = ()
    metric: Any = None
    factory: str | None = None
    trust: bool = False
    no_kv_cache: bool = False
    batch: int = 1
    threads: int | None = None
    seed: int | None = None
    out: Path | None = None
    force: bool = False
    passes: str | None = None
    recipe: Path | None = None
    keep: tuple[str, ...] = ()
    recover: str | None = None
    teacher: Any = None
    train: Any = None
    carbon: float | None = None
    max_drop: str = "1%"
    latency: str | None = None
    size: str | None = None
    memory: str | None = None
    energy: str | None = None
    time: str | None = None
    solver: str = "auto"
    front: bool = False
    tune: str | None = None
    device: str | None = None
    gate: bool = False
    pack: bool = False
    dry_run: bool = False
    no_cache: bool = False
    cache_dir: Path | None = None

    def loaded_recipe(self) -> Recipe | None:
        """The recipe, if one was given. Raises RecipeError when it is malformed, or says already what is given too."""
        if self.recipe is None:
            return None
        for name, given in (("passes", self.passes is not None), ("keep", bool(self.keep))):
            if given:
                raise RecipeError(f"--{name} and --recipe exclude each other", way_out=f"Edit {self.recipe} instead.")
        recipe = load_recipe(self.recipe)
        if self.recover is not None and any(spec.name == RECOVER for spec in recipe.passes):
            raise RecipeError("the recipe recovers already", where="--recover", way_out=f"Edit {self.recipe} instead.")
        return recipe

    def target_name(self, recipe: Recipe | None) -> str:
        """The target given here, or the recipe's. Raises InputError when neither names one."""
        name = self.target or (recipe.target if recipe else None)
        if not name:
            raise InputError("no target", way_out="Add --target jetson; `compress targets` lists them all.")
        return name

    def pass_specs(self, target: Target, recipe: Recipe | None, *, has_data: bool) -> list[PassSpec]:
        """The passes to run: the recipe's, `--passes`, or the target's defaults; with `--recover` in its place."""
        specs, teacher = self._listed(target, recipe, has_data), self.teacher is not None
        return with_recovery(specs, self.recover, teacher=teacher, has_data=has_data)

    def _listed(self, target: Target, recipe: Recipe | None, has_data: bool) -> list[PassSpec]:
        if recipe is not None:
            return list(recipe.passes)
        if self.passes is not None:
            return parse_passes(self.passes)
        return parse_passes(target.passes_with_data if has_data else target.passes, "default")

    def training_function(self) -> Callable[..., Any] | None:
        """The user's training function, if one was given. Raises InputError for what names none."""
        if self.train is None or callable(self.train):
            return cast("Callable[..., Any] | None", self.train)
        if not is_function_text(str(self.train)):
            raise InputError(f"{str(self.train)!r} is not file.py:function", where="--train")
        return load_function(str(self.train), "--train")

    def training_identity(self) -> str:
        """What the training function is, for the cache: its file's content. A function from Python has none, so that
        nothing is taken from the cache."""
        if self.train is None:
            return ""
        if callable(self.train):
            return os.urandom(16).hex()
        content = Path(str(self.train).rpartition(":")[0]).read_bytes()
        return f"{self.train} {hashlib.sha256(content).hexdigest()}"

    def budgets(self) -> tuple[Budget, ...]:
        """The budgets given. Raises InputError for one that cannot be read."""
        pairs: tuple[tuple[BudgetAxis, str | None], ...] = (
            ("latency", self.latency), ("size", self.size), ("memory", self.memory), ("energy", self.energy)
        )  # fmt: skip
        return tuple(parse_budget(axis, text) for axis, text in pairs if text is not None)

    @property
    def plans(self) -> bool:
        """Whether the planner chooses the passes: a budget is given, and no passes are."""
        given = any(each is not None for each in (self.latency, self.size, self.memory, self.energy, self.time))
        return self.passes is None and self.recipe is None and (given or self.front)

    def check_planning(self) -> None:
        """Raises InputError for what planning cannot read, and for what is said of it where nothing is planned."""
        self.planning_seconds()
        check_solver(self.solver)
        for name, given in (("time", self.time is not None), ("solver", self.solver != "auto"), ("front", self.front)):
            if given and not self.plans:
                raise InputError("nothing is planned", where=f"--{name}", way_out="Give a budget, and no --passes.")
        if self.front and self.device is not None:
            raise InputError("--front measures nothing on a board", where="--device", way_out="Leave one of them out.")

    def planning_seconds(self) -> float | None:
        """What `--time` leaves for planning: weighing, probing and building plans. Raises InputError."""
        return None if self.time is None else duration(self.time)

    def carbon_intensity(self) -> Carbon:
        """What a kWh emits, in g CO2e: given, or an assumed average. Raises InputError for what none can be."""
        return carbon_given(self.carbon)

    def gate_for(self, target: Target) -> Gate:
        return Gate(target.objective, self.budgets(), self.gate)

    @property
    def model_name(self) -> str:
        """What the bundle is called after: the file's stem, or the module's class."""
        if isinstance(self.model, str | Path):
            path = Path(self.model)
            return path.resolve().name if path.is_dir() else path.stem or "model"
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(self.model).__name__).lower()

    def out_folder(self, target_name: str) -> Path:
        """Where the bundle goes; checked now so that a long run does not end in a refusal.

        Raises OutputError when it exists (without `--force`), or its parent does not or is not a folder.
        """
        usual = f"{self.model_name}-{target_name}{'-front' if self.front else ''}"
        out = Path(self.out) if self.out is not None else Path(usual)
        if (out.exists() or out.is_symlink()) and not self.force:
            raise OutputError("exists", where=str(out), way_out="Give another --out, or --force to replace it.")
        if not out.absolute().parent.is_dir():
            raise OutputError("its parent folder does not exist", where=str(out), way_out="Create it, or change --out.")
        return out
