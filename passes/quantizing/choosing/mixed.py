"""A format of its own for each layer: the least measured damage within so many bits a weight.

    min Σ damage(l, f_l)   subject to   Σ bytes(l, f_l) ≤ bits · Σ weights(l) / 8          (`knapsack.py`)

over the layers that can have fewer than eight bits; the others, and tables of rows to look up, become what int8 makes
of them, and do not count. Damage is that of the outputs (`sensitivity.py`). Blocks may be of the size asked for and
smaller: their scales are a finer choice than bits are. Ternary takes the bytes of int2 and int3 those of int4, with
fewer levels: neither is a candidate. Where the objective is latency, nor is what the latency model says is slower than
fp32.

First layers (which no other feeds) and last ones (which feed no other) stay at eight bits, because no other layer makes
up for what they lose, unless fewer are measured harmless: the plan that may give them fewer changes the outputs less,
as a whole and on samples that it was not chosen on, than the plan that holds them. Without data they are held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from torch import fx

from compressor.graph.contract import Batch, Context, Option, Setting, Skip
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.candidates import Candidate, Candidates, find_candidates
from compressor.passes.quantizing.choosing.knapsack import Choice, choose
from compressor.passes.quantizing.choosing.plan import Limits
from compressor.passes.quantizing.choosing.sensitivity import (
    Sensitivity,
    Weights,
    measure_sensitivity,
    measure_together,
    ranked,
)
from compressor.passes.quantizing.choosing.slower import predict_times
from compressor.passes.quantizing.codes.rounding import Rounding
from compressor.passes.quantizing.settings import is_static
from compressor.passes.quantizing.sites import Layer, find_layers
from compressor.passes.quantizing.training import Once
from compressor.passes.quantizing.training.choices import spell_choices, trained_options
from compressor.passes.reading.samples import limited
from compressor.quant.blocks import BLOCK_FORMATS, BLOCK_SIZES, FINEST

__all__ = ["MixedPlan", "Teach", "average_bits", "ends", "plan_mixed"]

Teach = Callable[[Program, str], Once | Skip]  # of a functional program and its layers' formats (`choices.py`)
SAMPLES = 16  # that a format's damage is measured on: ratios of sums over all outputs settle early
SHOWN = 5  # of the ranked table, in the notes


@dataclass
class MixedPlan:
    """Settings by site, what was measured of the layers with a choice, what was declined, and notes for the user; what
    the layers cannot have of the bits that were asked for; and the training that all this was measured on."""

    settings: dict[str, Setting] = field(default_factory=dict)
    found: list[Sensitivity] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    missed: str = ""
    once: Once | None = None

    def options(self) -> list[Option]:
        """Every layer's formats with their damage."""
        return [Option(s.layer, s.candidate.setting, s.bytes, damage=s.damage) for s in self.found]


def plan_mixed(
    program: Program, context: Context, limits: Limits, block: int, bits: float,
    rounding: Callable[[str], Rounding], keep: Sequence[str] = (), *, slower: bool = False,
    teach: Teach | None = None,
) -> MixedPlan:  # fmt: skip
    """Plan a functional program.

    `rounding` says how a format's codes are found once it is chosen; `slower`: formats that are predicted to cost time
    may be chosen, too; `teach`: trains the layers' formats first, so that what is measured is what was trained.

    Raises InputError where calibration meets NaN or infinity.
    """
    sizes = [size for size in BLOCK_SIZES if size <= block]
    candidates = find_candidates(program, context, limits, sizes, rounding, keep)
    edge = ends(program, candidates.layers)
    candidates = candidates.only(lambda each: each.format in FINEST or each.format not in BLOCK_FORMATS)
    if context.target.objective == "latency" and not slower:
        candidates = _fast(program, context, candidates, edge)
    plan = MixedPlan(dict(candidates.integer.settings), skipped=candidates.skipped)
    groups = candidates.narrow()
    if not groups:
        plan.notes = ("no layer can have fewer than eight bits on this target: mixed is int8 here",)
        return plan
    batches, others = _samples(program, context)
    options: Mapping[str, Sequence[Candidate]] = candidates.options
    if teach is not None:
        options = trained_options(groups, candidates.options)
        taught = teach(program, spell_choices(options))
        plan.once = taught if isinstance(taught, Once) else None
        plan.skipped += [taught] if isinstance(taught, Skip) else []
    weights_of = None if plan.once is None else plan.once.weight
    measured = measure_sensitivity(
        *_before(plan.once, program, groups), options, batches, weights=weights_of, progress=context.progress
    )
    plan.found = [each for each in measured if math.isfinite(each.damage)]
    weights = {group[0].name: program.get(group[0].weight).numel() for group in groups}
    held = {group[0].name for group in groups if any(layer.name in edge for layer in group)}
    free, chosen = (_choose(plan.found, _budget(bits, weights), fixed) for fixed in (set[str](), held))
    damages = [_damage(program, groups, each, others, weights_of) for each in (free, chosen)] if batches else []
    if damages and damages[0] < damages[1]:
        held, chosen = set(), free
    for each in chosen:
        plan.settings |= each.candidate.settings
    achieved = average_bits(chosen, weights)
    plan.notes = _notes(plan.found, achieved, bits, len(chosen), sorted(held), bool(batches))
    if achieved > bits:
        ends_held = " with first and last ones held at eight" if held else ""
        plan.missed = (
            f"{achieved:.2f} bits a weight is the least that the layers can have{ends_held}; {bits:g} was asked for"
        )
    _add_glue(plan, candidates)
    return plan


def average_bits(chosen: Sequence[Sensitivity], weights: Mapping[str, int]) -> float:
    """Bits a weight over these layers, scales included."""
    return 8 * sum(each.bytes for each in chosen) / max(sum(weights[each.layer] for each in chosen), 1)


def ends(program: Program, layers: Sequence[Layer]) -> set[str]:
    """The names of the layers that no other one feeds, and of those that feed no other."""
    owner = {node: layer.name for layer in layers for node in layer.nodes}
    before: dict[fx.Node, frozenset[str]] = {}
    fed: set[str] = set()
    feeding: set[str] = set()
    for node in program.graph.nodes:
        above = frozenset[str]().union(*(before[source] for source in node.all_input_nodes))
        name = owner.get(node)
        if name is not None:
            others = above - {name}
            fed |= {name} if others else set()
            feeding |= others
        before[node] = above if name is None else frozenset({name})
    names = {layer.name for layer in layers}
    return (names - fed) | (names - feeding)


def _fast(program: Program, context: Context, candidates: Candidates, edge: AbstractSet[str]) -> Candidates:
    """Without blocks that are predicted to be slower than fp32, and without integer weights alone, which are unpacked
    in every run, but at the ends."""
    slow: set[tuple[str, str]] = set()
    for format in BLOCK_FORMATS:
        largest = {o.layer: o for options in candidates.options.values() for o in options if o.format == format}
        settings = {name: setting for option in largest.values() for name, setting in option.settings.items()}
        times = predict_times(program, context, settings, {})
        slow |= {(name, format) for name in largest if times.slower(name)}

    def wanted(each: Candidate) -> bool:
        alone = each.format == "int8" and not any(is_static(setting) for setting in each.settings.values())
        return (each.layer, each.format) not in slow and (not alone or not edge.isdisjoint(each.settings))

    return candidates.only(wanted)


def _samples(program: Program, context: Context) -> tuple[list[Batch], list[Batch]]:
    """The batches that formats are measured on, and others that plans are; the same where there are too few."""
    both = limited(program, context.calibration, 2 * SAMPLES)
    batches = limited(program, both, SAMPLES)
    rest = both[len(batches) :]
    if batches and batches[-1] is not both[len(batches) - 1]:  # it was cut
        rest.insert(0, {name: tensor[len(batches[-1][name]) :] for name, tensor in both[len(batches) - 1].items()})
    return batches, rest or batches


def _before(
    once: Once | None, program: Program, groups: Sequence[Sequence[Layer]]
) -> tuple[Program, Sequence[Sequence[Layer]]]:
    """What formats change: the network as it is; a trained one where it has the most bits, for its weights were trained
    beside each other."""
    if once is None:
        return program, groups
    richest = once.richest()
    layers = {layer.name: layer for layer in find_layers(richest)[0]}
    return richest, [[layers[layer.name] for layer in group] for group in groups]


def _choose(found: Sequence[Sensitivity], budget: int, held: AbstractSet[str]) -> list[Sensitivity]:
    """One of each layer's measurements; the smallest ones where the budget is out of reach."""
    layers: dict[str, list[Sensitivity]] = {}
    for each in found:
        layers.setdefault(each.layer, []).append(each)
    eight = {each.layer: each.bytes for each in found if each.format == "int8"}
    for name in held & set(layers):
        layers[name] = [each for each in layers[name] if each.bytes >= eight[name]]
    items = list(layers.values())
    picks = choose([[Choice(each.bytes, each.damage) for each in item] for item in items], budget)
    if picks is None:
        return [min(item, key=_bytes) for item in items]
    return [item[pick] for item, pick in zip(items, picks, strict=True)]


def _damage(
    program: Program, groups: Sequence[Sequence[Layer]], chosen: Sequence[Sensitivity], batches: Sequence[Batch],
    weights: Weights | None,
) -> float:  # fmt: skip
    settings = {name: setting for each in chosen for name, setting in each.candidate.settings.items()}
    return measure_together(program, [layer for group in groups for layer in group], settings, batches, weights)


def _budget(bits: float, weights: Mapping[str, int]) -> int:
    return int(bits * sum(weights.values()) / 8)


def _bytes(each: Sensitivity) -> int:
    return each.bytes


def _add_glue(plan: MixedPlan, candidates: Candidates) -> None:
    """Operators between layers are integer where some layer beside them is; without one they stay float."""
    static = any(map(is_static, plan.settings.values()))
    for name in candidates.integer.glue:
        if not static:
            plan.settings.pop(name, None)
        elif name in candidates.integer.static:
            plan.settings[name] = candidates.integer.static[name]


def _notes(
    found: Sequence[Sensitivity], achieved: float, bits: float, layers: int, held: Sequence[str], measured: bool
) -> tuple[str, ...]:
    head = ", ".join(f"{each.layer} in {each.candidate.label} {_shown(each)}" for each in ranked(found)[:SHOWN])
    basis = "change of the outputs" if measured else "error of the weight (there is no data to run)"
    those = "the one layer" if layers == 1 else f"the {layers} layers"
    over = f"over {those} that can have fewer than eight (the manifest counts all weights, biases too)"
    notes = [
        f"mixed: {achieved:.2f} bits a weight with scales, asked for {bits:g}, {over}; most sensitive, {basis}: {head}"
    ]
    if held:
        notes.append(f"mixed: first and last layers are held at eight bits: {', '.join(held)}")
    return tuple(notes)


def _shown(each: Sensitivity) -> str:
    return f"{each.error:.1%}" if each.divergence is None else f"KL {each.divergence:.2g}"
