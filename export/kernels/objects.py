"""Kernels that C calls (`call.py`), compiled into one object file that needs no runtime of TVM's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx.compilation_pipeline import get_tir_pipeline

__all__ = ["write_object"]

_LOWERED = 2  # a calling convention that is settled already: pointers are not wrapped as TVM's tensors


def write_object(functions: Mapping[str, Any], llvm: Mapping[str, Any], path: Path) -> None:
    """Compile functions, by their symbols, for the processor that TVM's target `llvm` describes."""
    target = tvm.target.Target(dict(llvm))
    module = tirx.transform.BindTarget(target.with_host(target))(tvm.IRModule(dict(functions)))
    for symbol in functions:
        variable = module.get_global_var(symbol)
        module.update_func(variable, module[symbol].with_attr("calling_conv", _LOWERED))
    lower, finish, _ = get_tir_pipeline("s_tir")
    built = tvm.get_global_func("target.build.llvm")(finish()(lower(module)), target)
    built.write_to_file(str(path), "o")
