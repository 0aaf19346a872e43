"""`--input [name=]1x3x224x224[:dtype]`, and seeded synthetic inputs where there are no data.

1x3x224x224                one float input, bound to `forward`'s first parameter
input_ids=1x128:int64      one named input
d.a=1x4   d.b.0=1x2        members of a nested input
t=scalar:float32           a tensor without dimensions
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.binding import EXTRA, Signature, bind, signature_of, suggest_input
from compressor.errors import InputError, did_you_mean
from compressor.graph.sizes import dimension

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from compressor.graph.contract import Batch
    from compressor.graph.program import Program
    from compressor.synthetic import Slot

__all__ = ["InputSpec", "example_inputs", "parse_input", "synthetic_batches"]

DTYPES = (
    "bfloat16", "bool", "complex64", "float16", "float32", "float64", "int16", "int32", "int64", "int8", "uint8",
)  # fmt: skip
MAX_ELEMENTS = 2**31
MIXED_LIMIT = 6  # inputs of undecided dtype whose every combination is tried
_WAY_OUT = "Write it as [name=]1x3x224x224[:dtype]; the batch stays dynamic where the model allows."


@dataclass(frozen=True)
class InputSpec:
    """One `--input`. Without a name it goes to the next parameter; without a dtype the model decides."""

    name: str | None
    shape: tuple[int, ...]
    dtype: str | None


def parse_input(given: str | Sequence[int]) -> InputSpec:
    """Reads one `--input`, or a shape as Python has it. Raises InputError with what is wrong in it."""
    if not isinstance(given, str) and not (isinstance(given, Sequence) and all(isinstance(n, int) for n in given)):
        raise InputError(f"{given!r} describes no input", where="inputs", way_out=_WAY_OUT)
    text = given if isinstance(given, str) else "x".join(map(str, given)) or "scalar"
    where = f"--input {text}"
    rest, colon, dtype = text.strip().partition(":")
    name, equals, dims = rest.rpartition("=")
    if equals and not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", name):
        raise InputError(f"{name!r} is not an input's name", where=where, way_out=_WAY_OUT)
    if colon and dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}", where=where, way_out=did_you_mean(dtype, list(DTYPES)))
    return InputSpec(name or None, _shape(dims, where), dtype or None)


def _shape(text: str, where: str) -> tuple[int, ...]:
    if text == "scalar":
        return ()
    sizes = re.split("[x×]", text)
    for size in sizes:
        if not re.fullmatch(r"[0-9]{1,10}", size) or int(size) == 0:
            what = f"{size!r} is not a positive whole number" if size else f"a dimension is missing in {text!r}"
            raise InputError(what, where=where, way_out=_WAY_OUT)
    shape = tuple(map(int, sizes))
    if math.prod(shape) > MAX_ELEMENTS:
        raise InputError(f"{math.prod(shape):,} elements are too many", where=where, way_out="Give a smaller shape.")
    return shape


def example_inputs(
    module: nn.Module, specs: Sequence[InputSpec], *, seed: int = 0
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`(args, kwargs)` of seeded synthetic tensors for `module`, its `forward`'s parameters bound as Python does.

    Raises InputError for unknown, repeated or missing names, and, suggesting a shape, where nothing was given.
    """
    from compressor.synthetic import draw, fitting_bounds

    signature = signature_of(module)
    if not specs and (signature.names or signature.extras):
        raise InputError(
            f"the model needs inputs: {', '.join(signature.required or signature.names) or '*args'}",
            way_out=f"Give their shapes, such as {suggest_input(module)}, or real inputs with --data FILE.",
        )
    named = _named(signature, specs)
    bind(module, named)  # complains before anything is drawn
    names = list(named)

    def run(values: Sequence[Tensor]) -> object:
        args, kwargs = bind(module, dict(zip(names, values, strict=True)))
        return module(*args, **kwargs)

    with _evaluating(module):
        slots = _slots(module, list(named.values()), run)
        bounds = fitting_bounds(run, slots, seed)
    generator = _generator(seed)
    values = [draw(slot, bound, generator) for slot, bound in zip(slots, bounds, strict=True)]
    return bind(module, dict(zip(names, values, strict=True)))


def synthetic_batches(program: Program, *, count: int, batch_size: int, seed: int = 0) -> list[Batch]:
    """`count` seeded batches for a captured program.

    A dimension called `batch` (or `NAME.batch`) gets `batch_size`; any other dynamic one keeps the example's size, and
    a program whose batch is fixed gets that. A key–value cache is empty.
    """
    from compressor.graph.kv_cache import is_past, with_past
    from compressor.graph.naming import PAST
    from compressor.synthetic import Slot, draw, fitting_bounds

    sizes = {"batch": batch_size, PAST: 0}  # of dynamic dimensions
    for spec, tensor in zip(program.inputs, program.example, strict=True):
        for wanted, size in zip(spec.shape, tensor.shape, strict=True):
            if isinstance(wanted, str):
                sizes.setdefault(wanted, batch_size if wanted.endswith(".batch") else size)
    drawn = [spec for spec in program.inputs if not is_past(spec)]
    slots = [
        Slot(spec.dtype, tuple(size if isinstance(size, int) else dimension(size, sizes) for size in spec.shape))
        for spec in drawn
    ]
    names = [spec.name for spec in drawn]

    def whole(values: Iterable[Tensor]) -> dict[str, Tensor]:
        return dict(with_past(program.inputs, dict(zip(names, values, strict=True))))

    bounds = fitting_bounds(lambda values: program.module(*program.flatten(whole(values))), slots, seed)
    generator = _generator(seed)
    return [whole(draw(s, b, generator) for s, b in zip(slots, bounds, strict=True)) for _ in range(count)]


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode for a while, so that trying inputs moves no running statistics."""
    training = [layer for layer in module.modules() if layer.training]
    module.eval()
    try:
        yield
    finally:
        for layer in training:
            layer.training = True


def _named(signature: Signature, specs: Sequence[InputSpec]) -> dict[str, InputSpec]:
    """Every spec under its dotted name, the unnamed ones under the parameters that are left."""
    given = [spec.name for spec in specs if spec.name is not None]
    repeated = next((name for name in given if given.count(name) > 1), None)
    if repeated:
        raise InputError(f"input {repeated!r} is given twice")
    taken = {name.partition(".")[0] for name in given}
    free = iter([name for name in signature.positional if name not in taken])
    unnamed = sum(spec.name is None for spec in specs)
    named: dict[str, InputSpec] = {}
    for spec in specs:
        name = spec.name or next(free, f"{EXTRA}{len(named)}")
        if name.startswith(EXTRA) and not signature.extras:
            raise InputError(
                f"{unnamed} unnamed inputs are more than the model takes ({', '.join(signature.positional) or 'none'})",
                way_out="Drop one, or name those that are keywords: --input name=1x3.",
            )
        named[name] = spec
    return named


def _slots(module: nn.Module, specs: Sequence[InputSpec], run: Any) -> list[Slot]:
    """Dtypes decided: as given, else the first combination of the model's float and int64 that it runs on.

    Floats are tried first, then whole numbers for vectors and matrices (ids and masks come together), then for all,
    then every mixture.
    """
    import torch

    from compressor.synthetic import Slot, accepts

    weights = (p.dtype for p in module.parameters() if p.dtype.is_floating_point)
    kinds = (next(weights, torch.float32), torch.int64)
    open_places = [i for i, spec in enumerate(specs) if spec.dtype is None]

    def slots(chosen: Sequence[torch.dtype]) -> list[Slot]:
        dtypes = dict(zip(open_places, chosen, strict=True))
        return [Slot(dtypes.get(i) or getattr(torch, str(s.dtype)), s.shape) for i, s in enumerate(specs)]

    every = [tuple(kind for _ in open_places) for kind in kinds]
    ranked = tuple(kinds[len(specs[i].shape) < 3] for i in open_places)
    mixed = itertools.product(kinds, repeat=len(open_places)) if len(open_places) <= MIXED_LIMIT else ()
    for chosen in dict.fromkeys([every[0], ranked, every[1], *mixed] if open_places else []):
        if accepts(run, [torch.zeros(slot.shape, dtype=slot.dtype) for slot in slots(chosen)]):
            return slots(chosen)
    return slots(every[0])


def _generator(seed: int) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(seed)
