"""`file.py:function`: the user's own function, as `--data`, `--metric`, `--model` and `--train` take it.

Naming the file on the command line is the user's consent to run it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from compressor.errors import InputError, did_you_mean

__all__ = ["importable", "is_function_text", "load_function", "own_line"]


def is_function_text(text: str) -> bool:
    """Whether `text` is of the form `file.py:function`."""
    path, colon, name = text.rpartition(":")
    return bool(colon) and path.endswith(".py") and name.isidentifier()


def load_function(text: str, option: str) -> Callable[..., Any]:
    """The function that `file.py:function` names; `option` is the flag it was given to.

    The file's folder is importable while it loads, so that it may import its neighbours. Raises InputError when the
    file is missing, fails to import, or has no such function.
    """
    path_text, _, name = text.rpartition(":")
    path = Path(path_text)
    if not path.is_file():
        raise InputError(f"no such file {path_text!r}", where=option, way_out="Give it as path/to/file.py:function.")
    module = _import(path, option)
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        hint = did_you_mean(name, known) if known else "The file defines no functions."
        raise InputError(f"{path.name} has no function {name!r}", where=option, way_out=hint)
    function: Callable[..., Any] = found
    return function


def own_line(error: BaseException, file: str) -> str:
    """`file.py:12` of the innermost frame of `error` that lies in the user's file, or the file's name alone."""
    target = Path(file).resolve()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).resolve() == target:
            return f"{target.name}:{frame.lineno}"
    return target.name


def _import(path: Path, option: str) -> ModuleType:
    """The module of a file, loaded once a path under a name that cannot hide an installed one."""
    resolved = path.resolve()
    name = f"_compress_user_{resolved.stem}_{abs(hash(resolved)):x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported", where=option)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up while it loads
    try:
        with importable(resolved.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise InputError(
            f"importing {path.name} failed: {type(error).__name__}: {error}",
            where=f"{option} {own_line(error, str(path))}",
        ) from error
    return module


@contextlib.contextmanager
def importable(*folders: Path) -> Iterator[None]:
    """Inside, code in these folders can be imported by name."""
    added = [str(folder.resolve()) for folder in folders]
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)
