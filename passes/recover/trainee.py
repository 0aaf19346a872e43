"""A program as something that trains: weights of its own, intermediate values on request, and the way back.

    training(inputs, injected) → outputs, taps        batch norms as asked, dropout off
    plain(inputs)              → outputs              eval mode, what the program computes

Both are graphs over the same tensors. Tied weights stay one tensor. The program given is never written into.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from compressor.graph.contract import Batch
from compressor.graph.edit import begin, finish, is_kept
from compressor.graph.kv_cache import is_past, with_past
from compressor.graph.mode import set_mode
from compressor.graph.program import Program
from compressor.passes.recover.device import Place, redirect
from compressor.passes.recover.norms import synchronize
from compressor.quant.fake import TRAINABLE

__all__ = ["Trainee", "store", "untrainable"]

_HALF = (torch.float16, torch.bfloat16)


class Trainee:
    """A private copy of a program on a device. With `frozen`, a teacher: nothing of it is trained.

    `taps` are nodes of the program whose values are wanted; `injected` those of them that are replaced by given values
    wherever they are read. `keep` are globs of parameters to leave alone; where a mask is given for a parameter, what
    it holds zero for stays zero.
    """

    def __init__(
        self, program: Program, place: Place, *, taps: Sequence[fx.Node] = (), injected: Sequence[fx.Node] = (),
        keep: Sequence[str] = (), masks: Mapping[str, Tensor] | None = None, frozen: bool = False,
        batch_norm: bool = False, synchronized: bool = False,
    ) -> None:  # fmt: skip
        self.program, self.place = program, place
        own = program.copy()
        self.shared = _own_tensors(program, own, place, keep, frozen=frozen)
        self.masks = {
            name: masks[name].to(place.device) for name in self.parameters if masks is not None and name in masks
        }
        self.plain = set_mode(own, batch_norm=False).module
        running = set_mode(own, batch_norm=batch_norm and not frozen, blending=not frozen)
        self.training = _tapped(program, running, taps, injected)
        if synchronized:
            synchronize(self.training.graph)
        for module in (self.plain, self.training):
            redirect(module.graph, place.device)
            module.recompile()

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name; tied ones under the first."""
        firsts = {id(tensor): name for name, tensor in reversed(self.shared.items())}
        tensors = [(name, t) for name, t in self.shared.items() if firsts[id(t)] == name]
        return {name: t for name, t in tensors if isinstance(t, nn.Parameter) and t.requires_grad}

    def flat(self, batch: Batch, names: Sequence[str] = ()) -> tuple[Tensor, ...]:
        """A batch's inputs on the device in the program's order, under the names that they have in the batch."""
        specs = self.program.inputs
        pairs = zip(specs, names or [spec.name for spec in specs], strict=True)
        given = with_past(specs, {spec.name: batch[name] for spec, name in pairs if name in batch or not is_past(spec)})
        return tuple(given[spec.name].to(self.place.device, non_blocking=True) for spec in specs)

    def raise_ramps(self, ramps: Mapping[str, float], fraction: float) -> None:
        """Set each ramp, a stored number, to where it is at this share of the budget: 1 from its own share on."""
        with torch.no_grad():
            for name, share in ramps.items():
                self.shared[name].fill_(min(1.0, fraction / share) if share > 0 else 1.0)

    def set(self, values: Mapping[str, Tensor]) -> None:
        """Write stored numbers, by name."""
        with torch.no_grad():
            for name, value in values.items():
                self.shared[name].copy_(value)

    def apply_masks(self) -> None:
        """Zero what stays zero."""
        with torch.no_grad():
            for name, mask in self.masks.items():
                self.shared[name].mul_(mask)

    def state(self) -> dict[str, Tensor]:
        """A copy of every tensor that training may change."""
        return {name: tensor.detach().clone() for name, tensor in self._changing()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Write a `state` back."""
        with torch.no_grad():
            for name, tensor in self._changing():
                tensor.copy_(state[name])

    def finished(self, state: Mapping[str, Tensor]) -> Program:
        """The program with the tensors of a `state`; those that did not change are still shared with the original."""
        done = begin(self.program)
        fresh: dict[int, Tensor] = {}
        for name, tensor in self.shared.items():
            old, new = self.program.get(name), state.get(self._first(tensor))
            if new is None or torch.equal(new.to(old.device), old):
                continue
            value = fresh.setdefault(id(tensor), _like(old, new.detach().to(old.device).clone()))
            store(done.module, name, value)
        return finish(done)

    def changed(self, state: Mapping[str, Tensor]) -> tuple[str, ...]:
        """The parameters and buffers that a `state` has other values for."""
        pairs = ((name, self.program.get(name), state.get(self._first(t))) for name, t in self.shared.items())
        return tuple(name for name, old, new in pairs if new is not None and not torch.equal(new.to(old.device), old))

    def _first(self, tensor: Tensor) -> str:
        return next(name for name, other in self.shared.items() if other is tensor)

    def _changing(self) -> list[tuple[str, Tensor]]:
        seen = {id(t): (name, t) for name, t in reversed(self.shared.items()) if t.requires_grad or _is_statistic(t)}
        return sorted(seen.values(), key=lambda item: item[0])


def untrainable(program: Program) -> str | None:
    """Why a program cannot be trained, or None: integers have no gradients, and half precision loses small updates."""
    if any(str(node.target).startswith("compressor.") and node.target not in TRAINABLE for node in program.nodes()):
        return "its weights are integers already, which have no gradients: recover before quantizing"
    parameters = [tensor for tensor in program.tensors().values() if isinstance(tensor, nn.Parameter)]
    if not any(tensor.dtype.is_floating_point for tensor in parameters):
        return "it has no float parameters"
    if any(tensor.dtype in _HALF for tensor in parameters):
        return "its weights are in half precision, which loses small updates: recover before fp16"
    return None


def _is_statistic(tensor: Tensor) -> bool:
    return not isinstance(tensor, nn.Parameter) and tensor.dtype.is_floating_point


def _own_tensors(
    program: Program, own: Program, place: Place, keep: Sequence[str], *, frozen: bool
) -> dict[str, Tensor]:
    """Clones on the device in the copy's modules, ties kept; by name, in the order of names.

    A program that was saved and loaded has its tensors in another order than one that was just made: a checkpoint's
    optimizer, which goes by places, must not know the difference.
    """
    made: dict[tuple[object, ...], Tensor] = {}
    names: dict[str, Tensor] = {}
    for name, tensor in sorted(program.tensors().items()):
        key = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        if key not in made or not tensor.numel():
            trains = isinstance(tensor, nn.Parameter) and tensor.dtype.is_floating_point and not frozen
            value = tensor.detach() if frozen else tensor.detach().clone()
            kept = is_kept(name, keep) or is_kept(name.rpartition(".")[0], keep)
            made[key] = _like(tensor, value.to(place.device), trains=trains and not kept)
        names[name] = made[key]
        store(own.module, name, made[key])
    return names


def _like(old: Tensor, value: Tensor, *, trains: bool | None = None) -> Tensor:
    """A parameter where the old tensor was one, else the bare value."""
    if not isinstance(old, nn.Parameter):
        return value
    return nn.Parameter(value, requires_grad=old.dtype.is_floating_point if trains is None else trains)


def store(module: nn.Module, name: str, value: Tensor) -> None:
    """Put this very tensor under a dotted name, so that tied names hold one object."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    for held in (owner._parameters, owner._buffers):
        held.pop(leaf, None)
    owner.__dict__.pop(leaf, None)
    if isinstance(value, nn.Parameter):
        owner.register_parameter(leaf, value)
    else:
        owner.register_buffer(leaf, value)


def _tapped(program: Program, own: Program, taps: Sequence[fx.Node], injected: Sequence[fx.Node]) -> fx.GraphModule:
    """The copy's module with more results (the taps) and more inputs (the injected values)."""
    twins = dict(zip(program.graph.nodes, own.graph.nodes, strict=True))
    output = own.graph.output_node()
    last = [node for node in own.graph.nodes if node.op == "placeholder"][-1]
    for number, node in enumerate(injected):
        with own.graph.inserting_after(last):
            last = own.graph.placeholder(f"injected_{number}")
        twins[node].replace_all_uses_with(last)
    output.args = ((*output.args[0], *(twins[node] for node in taps)),)  # type: ignore[misc]
    own.module.recompile()
    return own.module
