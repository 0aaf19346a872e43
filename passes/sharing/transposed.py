"""One matrix for both layers of an MLP: the second multiplies by the first one's transpose.

    MLP(x) = W₂·act(W₁·x + b₁) + b₂   →   Wᵀ·act(W·x + b₁) + b₂

The nonlinearity between them is what makes the transpose of use. (Koyun, Töreyin, 2024, Do deep neural networks utilize
the weight space efficiently?, arXiv:2401.16438.) W starts as W₁ ("up"), W₂ᵀ ("down"), their "mean", or whichever
changes the network's outputs least; trained weights have little in common, so training has to follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from compressor.errors import RecipeError
from compressor.graph.blocks import Branch, find_blocks
from compressor.graph.contract import Batch, Context, PassResult, Setting, Skip
from compressor.graph.edit import argument, attribute, finish, insert, is_call, is_kept, read, set_tensor, substitute
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.recover.judge import Judge

__all__ = ["Pair", "find_pairs", "tied"]

SOURCES = ("up", "down", "mean")
aten = torch.ops.aten


@dataclass(frozen=True)
class Pair:
    """Two weights of each other's transposed shape by name, and the calls that multiply by the second."""

    up: str
    down: str
    calls: tuple[fx.Node, ...]

    @property
    def site(self) -> str:
        return self.up.removesuffix(".weight")

    def value(self, program: Program, source: str) -> Tensor:
        """W, in the first one's shape."""
        one: Tensor = program.get(self.up).detach()
        other: Tensor = program.get(self.down).detach().T
        return {"up": one, "down": other.contiguous(), "mean": (one + other) / 2}[source]


def find_pairs(program: Program, keep: Sequence[str]) -> tuple[list[Pair], list[Skip]]:
    """The MLPs of all blocks, those with shared weights together, and where there is no pair, with the reason."""
    found: dict[tuple[str, str], list[fx.Node]] = {}
    skips: dict[str, str] = {}
    branches = [b for chain in find_blocks(program) for block in chain.blocks for b in block.branches]
    for branch in (branch for branch in branches if branch.kind == "mlp"):
        names = _pair(program, branch)
        if names is None:
            name = (branch.parameters or (branch.exit.name,))[-1].removesuffix(".weight").removesuffix(".bias")
            skips[name] = "it has no two matrices of each other's transposed shape"
        elif any(is_kept(name, keep) or is_kept(name.rpartition(".")[0], keep) for name in names[:2]):
            skips[names[0].removesuffix(".weight")] = "kept, as asked"
        else:
            found.setdefault(names[:2], []).append(names[2])
    pairs = [Pair(up, down, tuple(calls)) for (up, down), calls in found.items()]
    for pair in [pair for pair in pairs if _readers(program, pair.down) != set(pair.calls)]:
        pairs.remove(pair)
        skips[pair.site] = f"others read {pair.down}, too"
    if not pairs and not skips:
        skips["the program"] = "it has no blocks with an MLP"
    return pairs, [Skip(name, reason) for name, reason in skips.items()]


def tied(
    program: Program, rule: str, sites: Mapping[str, Setting] | None, keep: Sequence[str], batches: Sequence[Batch],
    context: Context,
) -> PassResult:  # fmt: skip
    """Every pair tied, or those of `sites`. `rule`: "central" and "auto" without data take W₁, "mean" the mean, others
    try all on data. Raises RecipeError for a setting that a pair does not have."""
    copy, left = functional_copy(program)
    copy = finish(copy)  # it is run, to try what to tie to
    pairs, skips = find_pairs(copy, keep)
    if sites is not None:
        known = {pair.site for pair in pairs}
        skips = [Skip(site, "there is no such pair, or it is to be kept") for site in sites if site not in known]
        pairs = [pair for pair in pairs if pair.site in sites]
    judge = Judge(copy, batches) if batches else None
    settings, changed = dict[str, Setting](), list[str]()
    for pair in context.progress.over(pairs, "tying"):
        source = _told(pair, sites[pair.site]) if sites is not None else _chosen(copy, pair, rule, judge)
        _write(copy, pair, pair.value(copy, source))
        settings[pair.site] = {"tied": pair.down, "weights": source}
        changed += [pair.up, pair.down]
    if not changed:
        return PassResult(program, (), (*skips, *left))
    return PassResult(finish(copy), tuple(changed), (*skips, *left), settings)


def _pair(program: Program, branch: Branch) -> tuple[str, str, fx.Node] | None:
    """The branch's last linear layer and the first of its transposed shape."""
    linears = [node for node in branch.nodes if is_call(node, aten.linear.default)]
    names = {node: attribute(argument(node, "weight")) for node in linears}
    last = linears[-1] if linears else None
    if last is None or names[last] is None:
        return None
    shape = tuple(reversed(program.get(str(names[last])).shape))
    for node in linears[:-1]:
        if names[node] is not None and tuple(program.get(str(names[node])).shape) == shape:
            return str(names[node]), str(names[last]), last
    return None


def _readers(program: Program, name: str) -> set[fx.Node]:
    return {u for node in program.graph.find_nodes(op="get_attr") if attribute(node) == name for u in node.users}


def _told(pair: Pair, setting: Setting) -> str:
    source = str(setting.get("weights"))
    if set(setting) != {"tied", "weights"} or setting["tied"] != pair.down or source not in SOURCES:
        raise RecipeError(
            f"{dict(setting)} is no setting of it", where=f"share: site {pair.site!r}",
            way_out=f"tied is {pair.down!r}, weights one of {', '.join(SOURCES)}.",
        )  # fmt: skip
    return source


def _chosen(program: Program, pair: Pair, rule: str, judge: Judge | None) -> str:
    if rule == "mean":
        return "mean"
    if rule == "central" or judge is None:
        return "up"
    damages: dict[str, float] = {}
    for source in SOURCES:
        trial, value = program.copy(), pair.value(program, source)
        set_tensor(trial, pair.up, value)
        set_tensor(trial, pair.down, value.T.contiguous())
        damages[source] = judge.damage(trial)
    return min(damages, key=damages.__getitem__)


def _write(program: Program, pair: Pair, value: Tensor) -> None:
    """linear(h, W₂, b₂) → h·W + b₂, with W under the first one's name."""
    set_tensor(program, pair.up, value)
    for call in pair.calls:
        bias = argument(call, "bias")
        first = read(program, pair.up, call)
        result = insert(program, aten.matmul.default, (call.args[0], first), like=call)
        if bias is not None:
            result = insert(program, aten.add.Tensor, (result, bias), like=call)
        substitute(program, call, result)
