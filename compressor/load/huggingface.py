"""A Hugging Face model directory: architecture from `config.json`, weights from safetensors, inputs from the config.

Nothing is downloaded and nothing of the directory is executed: weights are never pickles, code that a repository
brings along (`auto_map`) is never imported, kernels that its config names are never fetched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compressor.errors import CaptureError, LoadError, UntrustedError
from compressor.graph.capture import Captured, capture
from compressor.graph.quiet import quiet
from compressor.load.kinds import read_json
from compressor.load.loaded import Loaded
from compressor.load.model_inputs import example_for
from compressor.load.weights import check_finite

__all__ = ["load_huggingface"]

TOKENIZER = "tokenizer.json"
_SHOWN = 5
_IN_PYTHON = "Load it in Python yourself, and pass the module to compressor.compress(module, …)."


def load_huggingface(path: Path) -> Loaded:
    """The model in eval mode, in float32, with inputs made from its configuration.

    Raises UntrustedError for pickled weights and remote code, LoadError for a damaged or incomplete directory, an
    unknown architecture, and when the extra is not installed.
    """
    where = str(path)
    config = read_json(path / "config.json")
    _check_config(config, path)
    _check_weights(path)
    transformers = _transformers(where)
    model = _build(transformers, _architecture(transformers, config, where), path)
    check_finite(model.named_parameters(), model.named_buffers(), where)
    args, kwargs = example_for(model)
    loaded = Loaded(path.resolve().name, "Hugging Face model", module=model, example=(args, kwargs))
    tokenizer = path / TOKENIZER
    companions = {TOKENIZER: tokenizer} if tokenizer.is_file() else {}
    return replace(loaded, convert=partial(_convert, model), companions=companions, ends=_ends(model))


def _ends(model: Any) -> tuple[int, ...]:
    """Token ids that end a text."""
    settings = getattr(model, "generation_config", None) or model.config
    given = getattr(settings, "eos_token_id", None)
    return tuple(given) if isinstance(given, (list, tuple)) else () if given is None else (given,)


def _convert(
    model: Any, args: Sequence[Any], kwargs: Mapping[str, Any], synthetic: bool, growing: int | None = None
) -> Captured:  # fmt: skip
    """Captured with fused attention, or written out where that does not capture."""
    try:
        return capture(model, args, kwargs, synthetic=synthetic, growing=growing)
    except CaptureError as error:
        try:
            model.set_attn_implementation("eager")
        except (ValueError, AttributeError):
            raise error from None
        captured = capture(model, args, kwargs, synthetic=synthetic, growing=growing)
        return replace(captured, notes=(*captured.notes, f"attention written out: {error.what}"))


def _check_config(config: Mapping[str, Any], path: Path) -> None:
    where = str(path / "config.json")
    if _mentions(config, "auto_map"):
        raise UntrustedError(
            "names code of its own (auto_map), which compress never runs, with or without --trust",
            where=where,
            way_out=_IN_PYTHON,
        )
    if config.get("quantization_config"):
        raise LoadError("is quantized already", where=where, way_out="Give the model in floating point.")
    if (path / "adapter_config.json").exists():
        raise LoadError("holds an adapter, not a model", where=str(path), way_out="Merge it into its base model first.")


def _mentions(value: Any, key: str) -> bool:
    if isinstance(value, Mapping):
        return key in value or any(_mentions(item, key) for item in value.values())
    return isinstance(value, list) and any(_mentions(item, key) for item in value)


def _check_weights(path: Path) -> None:
    index = path / "model.safetensors.index.json"
    if index.is_file():
        shards = read_json(index).get("weight_map")
        names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else [""]
        if not all(name == Path(name).name and name.endswith(".safetensors") for name in names):
            raise LoadError("names weights outside its directory", where=str(index), way_out="Save the model again.")
        if missing := [name for name in names if not (path / name).is_file()]:
            raise LoadError(f"lacks {missing[0]}", where=str(path), way_out="Copy the directory again.")
    elif not (path / "model.safetensors").is_file():
        if pickles := sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in path.glob(pattern)):
            raise UntrustedError(
                f"holds its weights as a pickle ({pickles[0]}), which runs code when it is opened",
                where=str(path),
                way_out="Convert it where you trust it: model.save_pretrained(directory), which writes safetensors.",
            )
        raise LoadError("holds no weights (model.safetensors)", where=str(path), way_out="Copy the directory again.")


def _transformers(where: str) -> Any:
    try:
        import safetensors  # noqa: F401  transformers needs it for these weights
        import transformers
    except ImportError as error:
        raise LoadError(
            f"Hugging Face models need the package {error.name}",
            where=where,
            way_out='Install the extra: pip install "edge-compressor[hf]"',
        ) from error
    return transformers


def _architecture(transformers: Any, config: Mapping[str, Any], where: str) -> Any:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None
    if name is None:
        return transformers.AutoModel
    found = getattr(transformers, name, None) if name.isidentifier() else None
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise LoadError(
            f"architecture {name!r} is not in transformers {transformers.__version__}",
            where=where,
            way_out=_IN_PYTHON,
        )
    return found


def _build(transformers: Any, architecture: Any, path: Path) -> nn.Module:
    options = {
        "local_files_only": True, "trust_remote_code": False, "use_safetensors": True, "dtype": torch.float32,
        "output_loading_info": True,
    }  # fmt: skip
    try:
        with quiet(), _silent(transformers):
            try:
                model, info = architecture.from_pretrained(str(path), attn_implementation="sdpa", **options)
            except ValueError:  # this architecture has no fused attention
                model, info = architecture.from_pretrained(str(path), attn_implementation="eager", **options)
    except Exception as error:  # transformers raises many types on a directory that does not fit
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LoadError(
            f"transformers cannot load it: {lines[0][:300]}", where=str(path), way_out="Copy the directory again."
        ) from error
    if missing := sorted(info["missing_keys"]):
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise LoadError(
            f"lacks {len(missing)} weights ({', '.join(missing[:_SHOWN])}{more}); they would be random",
            where=str(path),
            way_out="Name the architecture in config.json that was trained.",
        )
    if getattr(model.config, "use_cache", False):
        model.config.use_cache = False  # a cache is asked for where one is wanted
    module: nn.Module = model.eval()
    return module


@contextlib.contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """No progress bars and no reports; problems come as exceptions."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
