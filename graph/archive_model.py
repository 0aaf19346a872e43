"""Checks the JSON of a `torch.export` archive (`models/*.json`, `*_config.json`) before torch turns it into a graph.

What torch does with the text, and what is therefore asked of it here:

    symbolic expressions      go to sympy's eval            only bounded arithmetic (`expression.py`)
    names                     become generated Python       only identifiers; dotted names without quotes
    operators                 are looked up by getattr      only operators of the dispatcher, a few of `operator`
    trees of inputs, outputs  import modules by name        only plain containers
    everything else           is used unchecked             exactly the type that torch's schema declares

Raises UntrustedError where reading it could execute something, LoadError where it is merely malformed.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import keyword
import operator
import re
import types
import typing
from collections.abc import Callable
from typing import Any

import torch
from torch._export.serde import schema
from torch._export.serde.union import _Union
from torch.utils import _pytree as pytree

from compressor.errors import LoadError, UntrustedError
from compressor.graph.expression import is_arithmetic

__all__ = ["check_json", "risk"]

_NAMESPACES = frozenset({"aten", "prims", "compressor", "torchvision", "quantized_decomposed"})
_HIGHER_ORDER = frozenset({
    "associative_scan", "cond", "invoke_subgraph", "map_impl", "scan", "while_loop", "wrap_with_autocast",
    "wrap_with_set_grad_enabled",
})  # fmt: skip
_FILE_OPERATORS = frozenset({"aten::from_file", "aten::save"})  # they open the file that the model names
_PYTHON = re.compile(
    r"_operator\.(eq|ne|le|ge|lt|gt|neg|pos|abs|mul|add|sub|floordiv|truediv|mod|pow|and_|or_|not_|invert"
    r"|lshift|rshift|getitem)"
    r"|math\.(trunc|ceil|floor|sqrt)"
    r"|torch\.sym_(not|int|float|ite|max|min|sqrt|sum|fresh_size)"
)
_DISPATCHED = re.compile(r"torch\.ops\.([a-z]\w*)\.(\w+)(?:\.(\w+))?")
_DOTTED = re.compile(r"[\w./:@ -]*", re.ASCII)
_SYMBOL = re.compile(r"[a-z]{1,8}[0-9]{1,9}")
_CONTAINERS = frozenset({
    "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", "collections.deque", "torch.Size",
    "torch.fx.immutable_collections.immutable_list", "torch.fx.immutable_collections.immutable_dict",
})  # fmt: skip
_FLOAT_WORDS = frozenset({"Infinity", "-Infinity", "NaN"})


def risk(what: str, where: str) -> UntrustedError:
    """The refusal of a file whose reading could execute something from it."""
    return UntrustedError(what, where=where, way_out="Pass --trust only if you trust where the file comes from.")


def check_json(cls: type[Any], text: bytes, where: str) -> Any:
    """Parse `text` and hold it against torch's schema class `cls`; returns the parsed JSON.

    Raises LoadError when it does not fit the schema, UntrustedError when it could execute something.
    """
    try:
        data = json.loads(text.decode("utf-8"))
        _check(cls, data, cls.__name__, where)
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise LoadError(
            f"is not a torch.export archive that this torch reads: {str(error)[:200] or type(error).__name__}",
            where=where,
            way_out=f"Export it again with torch {torch.__version__.split('+')[0]}: torch.export.save(program, path).",
        ) from error
    return data


def _check(kind: Any, data: Any, path: str, where: str) -> None:
    """Recursively: `data` has exactly the type `kind`; `path` is Class.field for the rules below."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if data is not None:
            _check(arguments[0], data, path, where)
    elif origin is list:
        for item in _typed(data, list, path):
            _check(arguments[0], item, path, where)
    elif origin is dict:
        for key, item in _typed(data, dict, path).items():
            if path in _KEY_RULES:
                _KEY_RULES[path](key, where)
            _check(arguments[1], item, path, where)
    elif isinstance(kind, type) and issubclass(kind, _Union):
        if len(_typed(data, dict, path)) != 1:
            raise ValueError(f"{path} must hold one value")
        _check_fields(kind, data, where)
    elif dataclasses.is_dataclass(kind):
        required = (f for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING)
        if missing := [f.name for f in required if f.name not in _typed(data, dict, path)]:
            raise ValueError(f"{path} lacks {missing[0]!r}")
        _check_fields(kind, data, where)
    else:
        _check_leaf(kind, data, path, where)


def _check_fields(kind: Any, data: dict[str, Any], where: str) -> None:
    hints = typing.get_type_hints(kind, globalns=vars(schema))
    for name, value in data.items():
        if name in hints:
            _check(hints[name], value, f"{kind.__name__}.{name}", where)
        elif issubclass(kind, _Union):
            raise ValueError(f"{kind.__name__} has no {name!r}")


def _check_leaf(kind: Any, data: Any, path: str, where: str) -> None:
    if kind is float:
        if type(data) not in (int, float) and data not in _FLOAT_WORDS:
            raise ValueError(f"{path} must be a number")
        return
    if isinstance(kind, type) and issubclass(kind, enum.IntEnum):
        kind(_typed(data, int, path))
        return
    _typed(data, kind, path)
    if path in _RULES:
        _RULES[path](data, where)


def _typed(data: Any, kind: type[Any], path: str) -> Any:
    if type(data) is not kind:
        raise ValueError(f"{path} must be {kind.__name__}, is {type(data).__name__}")
    return data


def _expression(text: str, where: str) -> None:
    if not is_arithmetic(text):
        raise risk(f"a size in the archive is not arithmetic and would be evaluated as Python: {text[:80]!r}", where)


def _identifier(text: str, where: str) -> None:
    if not (text.isascii() and text.isidentifier()) or keyword.iskeyword(text):
        raise risk(f"a name in the archive is not an identifier and would become Python code: {text[:80]!r}", where)


def _optional_identifier(text: str, where: str) -> None:
    if text:
        _identifier(text, where)


def _keyword_name(text: str, where: str) -> None:
    """An operator's own argument name, which may be a Python keyword (`from`)."""
    if not keyword.iskeyword(text):
        _optional_identifier(text, where)


def _parameter(text: str, where: str) -> None:
    """`*args` and `**kwargs` are written with their stars."""
    _identifier(text.lstrip("*"), where)


def _dotted(text: str, where: str) -> None:
    if not _DOTTED.fullmatch(text):
        raise risk(f"a tensor's name in the archive would become Python code: {text[:80]!r}", where)


def _symbol(text: str, where: str) -> None:
    if not _SYMBOL.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not the name of a symbol")


def _operator(target: str, where: str) -> None:
    if _PYTHON.fullmatch(target):
        return
    match = _DISPATCHED.fullmatch(target)
    namespace, name = (match[1], match[2]) if match else ("", "")
    if namespace == "higher_order" and name in _HIGHER_ORDER and match and match[3] is None:
        return
    if namespace not in _NAMESPACES or match is None or match[3] is None:
        raise risk(f"the graph calls {target[:80]!r}, which is not an operator known to be harmless", where)
    try:
        overload = operator.attrgetter(target.removeprefix("torch."))(torch)
    except (AttributeError, RuntimeError) as error:
        raise LoadError(
            f"the graph calls {target!r}, which is not registered here",
            where=where,
            way_out=f"Export it again with torch {torch.__version__.split('+')[0]}, or without that operator.",
        ) from error
    dispatched = isinstance(overload, torch._ops.OpOverload) and torch._C._dispatch_has_kernel(overload._name)
    if not dispatched or f"{namespace}::{name}" in _FILE_OPERATORS:
        raise risk(f"the graph calls {target!r}, which reaches beyond tensors", where)


def _tree(text: str, where: str) -> None:
    """A serialized pytree: torch imports modules that its contexts name, so only plain containers pass."""
    protocol, tree = json.loads(text)
    if protocol != 1:
        raise ValueError(f"unknown pytree protocol {protocol!r}")
    _tree_node(tree, where)


def _input_tree(text: str, where: str) -> None:
    _tree(text, where)
    children = json.loads(text)[1]["children_spec"]
    if len(children) == 2 and children[1]["type"] == "builtins.dict":
        for name in json.loads(children[1]["context"]):
            _identifier(name, where)


def _tree_node(node: Any, where: str) -> None:
    name, context = _typed(node, dict, "pytree")["type"], node["context"]
    if name is not None:
        if name not in _CONTAINERS and not _plain_registered(name):
            raise risk(f"inputs or outputs use {str(name)[:80]!r}, whose reading imports modules by name", where)
        if context is not None:
            _keys(json.loads(_typed(context, str, "pytree.context")), where)
    for child in _typed(node["children_spec"], list, "pytree.children_spec"):
        _tree_node(child, where)


def _plain_registered(name: Any) -> bool:
    """A container registered in this process, by the user's own imports, whose context is read as plain JSON."""
    known = pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.get(name) if isinstance(name, str) else None
    return known is not None and pytree.SUPPORTED_SERIALIZED_TYPES[known].from_dumpable_context is None


def _keys(context: Any, where: str) -> None:
    if isinstance(context, list):
        for item in context:
            _keys(item, where)
    elif isinstance(context, str):
        _dotted(context, where)
    elif context is not None and not isinstance(context, int | float):
        raise risk("the structure of inputs or outputs holds objects, whose reading imports modules by name", where)


_Rule = Callable[[str, str], None]
_RULES: dict[str, _Rule] = {
    "SymExpr.expr_str": _expression,
    "Node.target": _operator,
    "Argument.as_operator": _operator,
    "Node.name": _optional_identifier,
    "NamedArgument.name": _keyword_name,
    "GraphArgument.name": _identifier,
    "TensorArgument.name": _optional_identifier,
    "TokenArgument.name": _identifier,
    "CustomObjArgument.name": _identifier,
    "SymIntArgument.as_name": _identifier,
    "SymFloatArgument.as_name": _identifier,
    "SymBoolArgument.as_name": _identifier,
    "InputToConstantInputSpec.name": _identifier,
    "InputToParameterSpec.parameter_name": _dotted,
    "InputToBufferSpec.buffer_name": _dotted,
    "InputToTensorConstantSpec.tensor_constant_name": _dotted,
    "InputToCustomObjSpec.custom_obj_name": _dotted,
    "BufferMutationSpec.buffer_name": _dotted,
    "ParameterMutationSpec.parameter_name": _dotted,
    "GradientToParameterSpec.parameter_name": _dotted,
    "GradientToUserInputSpec.user_input_name": _identifier,
    "UserInputMutationSpec.user_input_name": _identifier,
    "ModuleCallEntry.fqn": _dotted,
    "ModuleCallSignature.in_spec": _input_tree,
    "ModuleCallSignature.out_spec": _tree,
    "ModuleCallSignature.forward_arg_names": _parameter,
}
_KEY_RULES: dict[str, _Rule] = {
    "Graph.tensor_values": _identifier,
    "Graph.sym_int_values": _identifier,
    "Graph.sym_bool_values": _identifier,
    "Graph.sym_float_values": _identifier,
    "Graph.custom_obj_values": _identifier,
    "ExportedProgram.range_constraints": _symbol,
    "PayloadConfig.config": _dotted,
}
