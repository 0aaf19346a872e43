"""Which plan a format asks for: of halves, of integers, of blocks, or of a format for each layer.

fp16, bf16        every layer that bears it                          (`writing/half.py`, `writing/bfloat.py`)
int8              integers, less the layers that they slow down      (`plan.py`, `slower.py`)
int4 … ternary    blocks, or the next format that is legal           (`legal.py`)
mixed             the least damage within so many bits a weight      (`mixed.py`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from compressor.graph.contract import Context, Option, Setting, Skip
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.heavy import with_heavy
from compressor.passes.quantizing.choosing.legal import plan_legal
from compressor.passes.quantizing.choosing.mixed import MixedPlan, Teach, plan_mixed
from compressor.passes.quantizing.choosing.plan import IntegerPlan, Limits, plan_integer
from compressor.passes.quantizing.choosing.slower import slow_integers
from compressor.passes.quantizing.codes.rounding import Rounding
from compressor.passes.quantizing.settings import is_static
from compressor.passes.quantizing.sites import find_layers
from compressor.passes.quantizing.writing.bfloat import plan_bfloat
from compressor.passes.quantizing.writing.blocks import plan_blocks
from compressor.passes.quantizing.writing.half import plan_half
from compressor.passes.quantizing.writing.outliers import split_ranges
from compressor.quant.blocks import BLOCK_FORMATS

__all__ = ["Plan", "Wanted", "choose_formats", "list_options"]


class Plan(Protocol):
    """What every plan has: settings by site, what was declined, and notes for the user."""

    @property
    def settings(self) -> Mapping[str, Setting]: ...
    @property
    def skipped(self) -> Sequence[Skip]: ...
    @property
    def notes(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Wanted:
    """What is asked for: `rounding` says how a format's codes are found, `slower` allows what is predicted to cost
    time, `heavy` are layers that take eight bits in a plan of fewer."""

    format: str
    block: int
    bits: float
    limits: Limits
    rounding: Callable[[str], Rounding]
    keep: tuple[str, ...] = ()
    slower: bool = False
    heavy: tuple[str, ...] = ()


def choose_formats(program: Program, context: Context, wanted: Wanted, teach: Teach | None = None) -> Plan:
    """Plan a functional program; `teach` trains the formats of a mixed one first.

    Raises InputError where calibration meets NaN or infinity.
    """
    if wanted.format == "mixed":
        return _mixed(program, context, wanted, teach)
    if wanted.format in BLOCK_FORMATS:
        legal = plan_legal(
            program, context, wanted.format, wanted.block, wanted.limits, wanted.rounding,
            (*wanted.keep, *wanted.heavy), slower=wanted.slower,
        )  # fmt: skip
        return with_heavy(program, context, wanted.limits, wanted.rounding("int8"), legal, wanted.heavy)
    if wanted.format == "fp16":
        return plan_half(program, context, wanted.keep)
    if wanted.format == "bf16":
        return plan_bfloat(program, context, wanted.keep)
    return _integer(program, context, wanted)


def list_options(program: Program, context: Context, wanted: Wanted) -> list[Option]:
    """For every layer of a functional program: left alone, and what it could have instead."""
    rounding = wanted.rounding(wanted.format)
    if wanted.format == "mixed":
        return _mixed(program, context, wanted).options()
    if wanted.format in BLOCK_FORMATS:
        plan = plan_blocks(program, context, wanted.format, wanted.block, rounding, wanted.keep)
        return list(plan.options(program))
    if wanted.format == "fp16":
        return list(plan_half(program, context, wanted.keep).options(program))
    if wanted.format == "bf16":
        return list(plan_bfloat(program, context, wanted.keep).options(program))
    return plan_integer(program, context, wanted.limits, wanted.keep, rounding).options(program, rounding)


def _mixed(program: Program, context: Context, wanted: Wanted, teach: Teach | None = None) -> MixedPlan:
    return plan_mixed(
        program, context, wanted.limits, wanted.block, wanted.bits, wanted.rounding, wanted.keep, slower=wanted.slower,
        teach=teach,
    )  # fmt: skip


def _integer(program: Program, context: Context, wanted: Wanted) -> IntegerPlan:
    """int8 where it is not predicted to be slower; inputs with rare large values are split in the program."""
    outliers = split_ranges(program, find_layers(program, wanted.keep)[0], context, wanted.limits)
    limits = replace(wanted.limits, judged=outliers.errors, extremes=outliers.extremes)
    plan = plan_integer(program, context, limits, wanted.keep, wanted.rounding("int8"))
    slow = {} if wanted.slower else slow_integers(program, context, plan.settings)
    kept = {site: each for site, each in plan.settings.items() if site not in slow}
    if slow and not any(map(is_static, kept.values())):  # operators between integer layers gain nothing alone
        kept = {site: each for site, each in kept.items() if "activation" not in each}
    split = {site: {**kept.get(site, {"format": "fp32"}), **said} for site, said in outliers.settings.items()}
    return replace(
        plan, settings={**kept, **split},
        skipped=[*plan.skipped, *(Skip(site, f"stays float: {reason}") for site, reason in slow.items())],
    )  # fmt: skip
