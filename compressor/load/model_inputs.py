"""Example inputs for a Hugging Face model, from its configuration and the parameters of its `forward`.

    input_ids, decoder_input_ids          random ids below the vocabulary's size
    attention_mask                        ones
    pixel_values                          normal, at the configured image size
    input_features, input_values          normal, at the length the encoder takes
    bbox                                  boxes with x₀ ≤ x₁, y₀ ≤ y₁

Batch 2, so that torch.export keeps the batch dynamic.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

__all__ = ["example_for", "positions_of"]

_BATCH = 2
_LENGTH = 16
_AUDIO_SAMPLES = 16_000


def example_for(model: Any) -> tuple[tuple[Any, ...], dict[str, Tensor]]:
    """Positional and keyword inputs that the model's `forward` accepts; all are keywords. Seeded."""
    generator = torch.Generator().manual_seed(0)
    names = inspect.signature(model.forward).parameters
    config, main = model.config, model.main_input_name
    wanted = [name for name in ("input_ids", "pixel_values", "input_features", "input_values") if name in names]
    if main in wanted and len(wanted) > 1 and not _is_joint(config):
        wanted = [main]
    made = {name: _make(name, config, generator) for name in wanted}
    if "input_ids" in made and "attention_mask" in names:
        made["attention_mask"] = torch.ones_like(made["input_ids"])
    if "bbox" in names and "input_ids" in made:
        made["bbox"] = torch.tensor([0, 0, 10, 10]).expand(*made["input_ids"].shape, 4).contiguous()
    if "decoder_input_ids" in names and getattr(config, "is_encoder_decoder", False):
        made["decoder_input_ids"] = _ids(config, generator)
    return (), made


def positions_of(model: Any) -> int | None:
    """How many tokens of a text the model's configuration is made for; None where it has none or does not say it."""
    config = getattr(model, "config", None)
    return None if config is None else _positions(_section(config, "text_config"))


def _make(name: str, config: Any, generator: torch.Generator) -> Tensor:
    if name == "input_ids":
        return _ids(config, generator)
    if name == "pixel_values":
        vision = _section(config, "vision_config")
        channels = getattr(vision, "num_channels", 3)
        return torch.randn(_BATCH, channels, *_image_size(vision), generator=generator)
    if name == "input_features":
        audio = _section(config, "audio_config")
        frames = 2 * getattr(audio, "max_source_positions", 500)
        return torch.randn(_BATCH, getattr(audio, "num_mel_bins", 80), frames, generator=generator)
    return torch.randn(_BATCH, _AUDIO_SAMPLES, generator=generator)


def _ids(config: Any, generator: torch.Generator) -> Tensor:
    text = _section(config, "text_config")
    positions = _positions(text) or _LENGTH
    vocabulary = getattr(text, "vocab_size", None) or getattr(config, "vocab_size", None) or 2
    length = max(1, min(_LENGTH, positions - 2))  # some architectures count positions from 2
    return torch.randint(vocabulary, (_BATCH, length), generator=generator)


def _positions(config: Any) -> int | None:
    said = (getattr(config, name, None) for name in ("max_position_embeddings", "n_positions"))
    return next((places for places in said if type(places) is int and places > 0), None)


def _section(config: Any, name: str) -> Any:
    """The part of a joint configuration, or all of it."""
    return getattr(config, name, None) or config


def _is_joint(config: Any) -> bool:
    return hasattr(config, "text_config") and hasattr(config, "vision_config")


def _image_size(config: Any) -> tuple[int, int]:
    size = getattr(config, "image_size", None) or 224
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
