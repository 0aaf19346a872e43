"""A causal language model's forward with its key–value cache as plain tensors, ready to be captured.

    forward(ids, past_key_values=cache, use_cache=True) → scores and a cache object, or a structure of tensors
    forward(ids, past_key_values=[{key, value} …])      → {logits, present: [{key, value} …]}

Any module does whose `forward` takes `past_key_values` and gives back what has grown: Hugging Face's models with their
cache objects, and modules with tuples, lists or dicts of tensors. Which dimension grows is found by running it; that
the cache changes nothing is checked against a run without one. No cache object is left in the graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from compressor.errors import CaptureError
from compressor.graph.blame import first_line
from compressor.graph.causal import scores_of
from compressor.graph.eager import close, owned, untouched
from compressor.graph.kv_cache import PRESENT, answers, is_past, with_past
from compressor.graph.naming import PAST_KEY_VALUES, SEQUENCE
from compressor.graph.program import Program
from compressor.graph.quiet import quiet

__all__ = ["LEAST", "Decoder", "decoder_of", "eager_scores"]

LOGITS = "logits"
LEAST = 8  # places of an example: half of them are the past, and torch specializes on sizes of one
_SWITCH = "use_cache"
_RETURNED = (PAST_KEY_VALUES, "present_key_values", "presents", "present", "cache")
_WAY_OUT = "It is captured without; --no-kv-cache asks for that."


@dataclass(frozen=True)
class Decoder:
    """`forward` takes and gives the cache as tensors, `kwargs` are inputs for it with half of the example as its past,
    and `growing` is the dimension along which a cache grows. `text` makes inputs of so many places, and `read` is what
    the model makes of them at once."""

    forward: Callable[..., dict[str, Any]]
    kwargs: dict[str, Any]
    growing: int
    text: Callable[[int], dict[str, Any]]
    read: Callable[[dict[str, Any]], dict[str, Any]]

    def check(self, program: Program) -> None:
        """Raises CaptureError where the capture fixed how long a text or the past of one may be."""
        fixed = [spec.name for spec in program.inputs if spec.name.startswith(PAST_KEY_VALUES) and not is_past(spec)]
        if fixed or not any(SEQUENCE in spec.shape for spec in program.inputs):
            raise CaptureError(f"the model's code fixes the length of {fixed[0] if fixed else SEQUENCE}")

    def window(self, program: Program, longest: int) -> int | None:
        """How many places the model keeps of a text that is longer than what the program was captured for; None where
        it takes none, or does with it what the program does.

        Raises CaptureError where the program computes something else.
        """
        text = self.text(longest + LEAST)
        with quiet(), torch.no_grad():
            try:
                theirs = self.read(text)
            except Exception:  # noqa: BLE001  the model's own code: there its places end
                return None
            kept: int = min(leaf.shape[self.growing] for leaf in pytree.tree_leaves(theirs[PRESENT]))
            if kept < longest + LEAST:
                return kept
            ours = program.run(with_past(program.inputs, owned(((), text))[1]))[answers(program.outputs)[0].name]
        if not close(ours, theirs[LOGITS]):
            raise CaptureError(f"the model's code takes another way for texts of more than {longest} tokens")
        return None


def decoder_of(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], *, least: int = LEAST
) -> Decoder | None:  # fmt: skip
    """The model's forward with its cache; None where it takes none, gives none, or scores no tokens. The example has
    `least` places or more.

    Raises CaptureError where it has a cache that cannot be an input and an output.
    """
    named = _named(model, args, kwargs)
    tokens = next((n for n, v in named.items() if _is_tokens(v)), None)
    if tokens is None:
        return None
    with untouched(model), quiet(), torch.no_grad():
        given = _long_enough(named, tokens, least)
        found = _found(model, given, tokens)
        if found is None:
            return None
        try:
            return _checked(_Flat(model, tokens, *found), given)
        except CaptureError:
            raise
        except Exception as error:  # the model's own code, with inputs of ours
            raise CaptureError(f"its key–value cache fails: {first_line(error)}", way_out=_WAY_OUT) from error


def eager_scores(model: nn.Module, text: Mapping[str, Tensor], tokens: str) -> Tensor:
    """The model's own scores of a text, without a cache, in eval mode. Raises CaptureError where it gives none."""
    with untouched(model), quiet(), torch.no_grad():
        values = [value for value in _parts(model(**text)).values() if isinstance(value, Tensor)]
    scores = scores_of(values, text[tokens])
    if scores is None:
        raise CaptureError("the model scores no tokens without its cache")
    return scores


class _Flat:
    """The forward with the cache as plain tensors. `scores` and `cache` are where its result has them."""

    def __init__(self, model: nn.Module, tokens: str, scores: Any, cache: Any, growing: int, example: Any) -> None:
        self.model, self.own = model, model.forward
        self.tokens, self.scores, self.cache, self.growing, self.example = tokens, scores, cache, growing, example

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        past = inputs.pop(PAST_KEY_VALUES)
        _tie(pytree.tree_leaves(past), inputs, self.tokens, self.growing)
        result = _parts(self.own(**inputs, **{PAST_KEY_VALUES: _packed(past, self.example), **_switched(self.own)}))
        return {LOGITS: result[self.scores], PRESENT: _plain(result[self.cache])}

    def empty(self) -> Any:
        """A cache of nothing, for the example's samples."""
        return pytree.tree_map(lambda leaf: leaf.narrow(self.growing, 0, 0), _plain(self.example))


def _checked(flat: _Flat, given: dict[str, Any]) -> Decoder:
    """The decoder, whose cache changes nothing: all at once, and in two halves, the scores are the same."""
    length = given[flat.tokens].shape[1]
    first, second = _cut(given, length, length // 2)
    whole = flat(**owned(((), given))[1], **{PAST_KEY_VALUES: flat.empty()})[LOGITS]
    filled = flat(**first, **{PAST_KEY_VALUES: flat.empty()})
    rest = {**second, PAST_KEY_VALUES: filled[PRESENT]}
    plain = _parts(flat.own(**owned(((), given))[1], **_switched(flat.own)))[flat.scores]
    for found, wanted in ((whole, plain), (flat(**rest)[LOGITS], plain[:, length // 2 :])):
        if not close(found, wanted):
            raise CaptureError("with its key–value cache it scores other tokens than without", way_out=_WAY_OUT)

    def text(places: int) -> dict[str, Any]:
        return _cut(_long_enough(given, flat.tokens, places), -(-places // length) * length, places)[0]

    def read(inputs: dict[str, Any]) -> dict[str, Any]:
        with untouched(flat.model):
            return flat(**owned(((), inputs))[1], **{PAST_KEY_VALUES: flat.empty()})

    return Decoder(flat.__call__, rest, flat.growing, text, read)


def _named(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs by the names of `forward`'s parameters; none where it takes no cache, or is given one."""
    signature = inspect.signature(model.forward)
    if PAST_KEY_VALUES not in signature.parameters or PAST_KEY_VALUES in kwargs:
        return {}
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return {}
    named = dict(bound.arguments)
    spread = [p.name for p in signature.parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD]
    for name in spread:
        named |= named.pop(name, {})
    return {} if PAST_KEY_VALUES in named else {name: value for name, value in named.items() if value is not None}


def _is_tokens(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 2 and not value.dtype.is_floating_point


def _long_enough(named: dict[str, Any], tokens: str, least: int) -> dict[str, Any]:
    """The inputs, repeated along the sequence where it is too short to be cut in two."""
    length = named[tokens].shape[1]
    if length >= least or not length:
        return named
    times = -(-least // length)
    return {n: v.repeat(1, times) if _is_along(v, length) else v for n, v in named.items()}


def _is_along(value: Any, length: int) -> bool:
    return isinstance(value, Tensor) and value.dim() == 2 and value.shape[1] == length


def _found(model: nn.Module, given: dict[str, Any], tokens: str) -> tuple[Any, Any, int, Any] | None:
    """Where in its result the scores and the cache are, along what that grows, and a short one; None where there is
    none. A cache is looked at when it is short: a longer one may be cut to a window."""
    length = given[tokens].shape[1]
    short, longer = (_parts(model(**_cut(given, length, n)[0], **_switched(model.forward))) for n in (2, 3))
    cache = next((n for n in _RETURNED if short.get(n) is not None), None)
    if cache is None:
        others = [name for name, value in short.items() if value is not None and not isinstance(value, Tensor)]
        cache = others[-1] if others else None
    if cache is None:
        return None
    ids = _cut(given, length, 2)[0][tokens]
    values = [value if isinstance(value, Tensor) else None for value in short.values()]
    scores = scores_of([value for value in values if value is not None], ids)
    if scores is None:
        return None
    where = next(name for name, value in short.items() if value is scores)
    return where, cache, _growth(short[cache], longer[cache]), short[cache]


def _growth(short: Any, longer: Any) -> int:
    """The dimension that all tensors of a cache grow along, from 2 places to 3."""
    pairs = list(zip(pytree.tree_leaves(_plain(short)), pytree.tree_leaves(_plain(longer)), strict=True))
    grown = {
        tuple(axis for axis, sizes in enumerate(zip(a.shape, b.shape, strict=True)) if sizes != (b.shape[axis],) * 2)
        for a, b in pairs
    }
    axes = grown.pop() if len(grown) == 1 else ()
    if len(axes) != 1 or any((a.shape[axes[0]], b.shape[axes[0]]) != (2, 3) for a, b in pairs):
        raise CaptureError("its cache does not grow by one place a token", way_out=_WAY_OUT)
    return axes[0]


def _switched(forward: Callable[..., Any]) -> dict[str, bool]:
    """What asks a model for its cache."""
    return {_SWITCH: True} if _SWITCH in inspect.signature(forward).parameters else {}


def _parts(result: Any) -> dict[Any, Any]:
    """What a model returned, by name or place."""
    if isinstance(result, Mapping):
        return dict(result)
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return dict(zip(result._fields, result, strict=True))
    return dict(enumerate(result if isinstance(result, (list, tuple)) else [result]))


def _cut(given: dict[str, Any], length: int, at: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs of the first `at` places, and those of the rest; a mask is of all places until then."""
    first = {name: value[:, :at] if _is_along(value, length) else value for name, value in given.items()}
    rest = {
        name: value[:, at:] if _is_along(value, length) and "mask" not in name else value
        for name, value in given.items()
    }
    return first, rest


def _plain(cache: Any) -> Any:
    """A cache as a structure of tensors, a layer's two under `key` and `value`. Raises CaptureError for another."""
    pairs = cache
    if hasattr(cache, "layers"):
        pairs = [(layer.keys, layer.values) if hasattr(layer, "values") else None for layer in cache.layers]
    leaves = pytree.tree_leaves(pairs, is_leaf=lambda leaf: leaf is None)
    if not leaves or not all(isinstance(leaf, Tensor) and leaf.dim() > 2 for leaf in leaves):
        raise CaptureError(f"its cache ({type(cache).__name__}) is more than keys and values", way_out=_WAY_OUT)
    if isinstance(pairs, (list, tuple)) and all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
        return [{"key": key, "value": value} for key, value in pairs]
    return pairs


def _packed(past: Any, example: Any) -> Any:
    """Tensors in the form in which the model takes a cache."""
    leaves = pytree.tree_leaves(past)
    if not hasattr(example, "layers"):
        return pytree.tree_unflatten(leaves, pytree.tree_structure(example))
    pairs = list(zip(leaves[::2], leaves[1::2], strict=True))
    cache = type(example)(pairs)
    for layer, (key, value) in zip(cache.layers, pairs, strict=True):
        layer.keys, layer.values = key, value  # the tensors themselves: a new cache appends them to nothing
    return cache


def _tie(past: Sequence[Tensor], inputs: Mapping[str, Any], tokens: str, growing: int) -> None:
    """Tells torch.export that all of a cache is of one length and one batch, and a mask as long as past and tokens."""
    (rows, length), places = inputs[tokens].shape, past[0].shape[growing]
    equal = [(leaf.shape[0] == rows, leaf.shape[growing] == places) for leaf in past]
    for name, value in inputs.items():
        if isinstance(value, Tensor) and value.dim() == 2 and "mask" in name:
            equal.append((value.shape[0] == rows, value.shape[1] == places + length))
    if not all(same for pair in equal for same in pair):
        raise ValueError("the parts of a cache, and a mask, have to be of the same samples and places")
