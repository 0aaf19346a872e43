"""A network at half its multiply–accumulates, by our pass or by Torch-Pruning, lowered and compared in ONNX Runtime.

    half or fewer of the MACs are left, it runs, it lowers, and ONNX Runtime computes what the smaller network does

Torch-Pruning (DepGraph, Fang et al., 2023, arXiv:2301.12900) is configured the way its examples are, without naming an
architecture: layers that compute an output are left alone (our analysis tells which: it has no notion of an output),
query, key and value layers have their module's number of heads declared, and sizes that attention modules keep as
constants are set anew after the cut. The ratio, the same in every layer, is found by bisection.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["depgraph_halved", "halved"]

HALF = 0.5  # of the multiply–accumulates may be left
STILL_HALF = 0.03  # widths are whole numbers
BISECTIONS = 7
HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "heads", "nhead")
PACKED = ("in_proj", "qkv", "c_attn", "query_key_value")
SEPARATE = ("query", "key", "value", "q_proj", "k_proj", "v_proj", "q_lin", "k_lin", "v_lin", "q", "k", "v")
HEAD_SIZES = ("attention_head_size", "head_dim", "head_size")
ALL_SIZES = ("all_head_size", "embed_dim", "inner_dim", "split_size", "dim")

Row = dict[str, Any]


def halved(program: Any, context: Any) -> Row:
    """Ours: half of the multiply–accumulates pruned away."""
    from compressor.passes.prune import Prune

    pruned = Prune(amount=1 - HALF, where="global", score="magnitude", least=0.0, multiple=1, reconstruct=False)
    return _lowered(program, pruned.run(program, context).program, context)


def depgraph_halved(built: Any, program: Any, context: Any) -> Row:
    """Torch-Pruning's; whatever it raises passes through."""
    from compressor.graph.capture import capture

    heads = _outputs(program)
    expected = [value.shape for value in program.run(context.calibration[0]).values()]
    limit, low, high, best = HALF * _flops(built, built.module), 0.0, 0.98, None
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        candidate = _cut(built, middle, heads)
        if _flops(built, candidate) <= limit:
            best, high = candidate, middle
        else:
            low = middle
    if best is None:
        raise ArithmeticError("no ratio reaches half of the multiply–accumulates")
    smaller = capture(best, built.args, dict(built.kwargs)).program
    if [value.shape for value in smaller.run(context.calibration[0]).values()] != expected:
        raise ArithmeticError("the shape of an output changed")
    return _lowered(program, smaller, context)


def _lowered(program: Any, smaller: Any, context: Any) -> Row:
    from compressor.export.check import check
    from compressor.export.onnx import to_onnx
    from compressor.graph.cost import Roofline

    macs = [Roofline().predict(p, context.target).macs for p in (program, smaller)]
    if not macs[1] <= (HALF + STILL_HALF) * macs[0]:
        raise ArithmeticError(f"{macs[1] / max(macs[0], 1):.0%} of the multiply–accumulates are left")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        to_onnx(smaller, context.target).save(path)
        agreement = check(smaller, path, context.calibration)
    return {"macs": macs, "parameters": smaller.parameters(), "error": agreement.error}


def _outputs(program: Any) -> set[str]:
    """Names of the parameters whose rows are an output's."""
    from compressor.graph.dimensions.groups import analyse
    from compressor.graph.edit import finish
    from compressor.graph.functional import functional_copy

    flat, _ = functional_copy(program)
    return {found.tensor for found in analyse(finish(flat)).frozen if "the model's output" in found.reason}


def _cut(built: Any, ratio: float, outputs: set[str]) -> Any:
    import torch
    import torch_pruning as tp

    model = copy.deepcopy(built.module)
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    ignored = [
        module for name, module in model.named_modules()
        if any(f"{name}.{own}".lstrip(".") in outputs for own, _ in module.named_parameters(recurse=False))
    ]  # fmt: skip
    attentions = list(_attentions(model))
    declared = {layer: heads for _, heads, layers in attentions for layer in layers}
    pruner = tp.pruner.BasePruner(
        model, {"args": built.args, "kwargs": dict(built.kwargs)},
        importance=tp.importance.GroupMagnitudeImportance(p=2), pruning_ratio=ratio, global_pruning=False,
        ignored_layers=ignored, num_heads=declared, prune_head_dims=True,
        forward_fn=lambda network, example: network(*example["args"], **example["kwargs"]),
        output_transform=_values,
    )  # fmt: skip
    pruner.step()
    for module, heads, layers in attentions:
        width = layers[0].out_features // (3 if len(layers) == 1 else 1)
        for attribute, size in [*((a, width // heads) for a in HEAD_SIZES), *((a, width) for a in ALL_SIZES)]:
            if isinstance(getattr(module, attribute, None), int):
                setattr(module, attribute, size)
    with torch.no_grad():
        model.eval()(*built.args, **built.kwargs)
    return model


def _attentions(model: Any) -> Iterator[tuple[Any, int, list[Any]]]:
    """Attention modules, their number of heads, and the linear layers that make queries, keys and values."""
    from torch import nn

    for module in model.modules():
        heads = next((h for a in HEADS if isinstance(h := getattr(module, a, None), int)), None)
        own = {name: layer for name, layer in module.named_children() if isinstance(layer, nn.Linear)}
        layers = [own[name] for name in PACKED if name in own][:1] or [own[name] for name in SEPARATE if name in own]
        if heads and layers:
            yield module, heads, layers


def _values(outputs: Any) -> list[Any]:
    """Every tensor with a gradient in whatever a model returns."""
    import torch
    from torch.utils._pytree import tree_leaves

    found = outputs.values() if hasattr(outputs, "keys") else outputs
    leaves = tree_leaves(list(found) if not isinstance(found, torch.Tensor) else [found])
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.grad_fn is not None]


def _flops(built: Any, model: Any) -> float:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    spelled = sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False)  # fused calls count for nothing
    with torch.no_grad(), counter, spelled[0], spelled[1]:
        model(*built.args, **built.kwargs)
    return float(counter.get_total_flops())
