"""The inputs made from a configuration are inputs that the model accepts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compressor.load.model_inputs import example_for, positions_of

transformers = pytest.importorskip("transformers")

TEXT = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TINY: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "BertModel": ("BertConfig", TEXT, {"input_ids", "attention_mask"}),
    "RobertaModel": ("RobertaConfig", TEXT | {"max_position_embeddings": 12}, {"input_ids", "attention_mask"}),
    "LayoutLMModel": ("LayoutLMConfig", TEXT, {"input_ids", "attention_mask", "bbox"}),
    "GPT2LMHeadModel": (
        "GPT2Config", {"vocab_size": 40, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 8},
        {"input_ids", "attention_mask"},
    ),
    "T5ForConditionalGeneration": (
        "T5Config", {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2},
        {"input_ids", "attention_mask", "decoder_input_ids"},
    ),
    "ViTModel": (
        "ViTConfig",
        {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
         "image_size": 32, "patch_size": 16},
        {"pixel_values"},
    ),
    "WhisperForConditionalGeneration": (
        "WhisperConfig",
        {"vocab_size": 40, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
         "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_mel_bins": 8,
         "max_source_positions": 20, "max_target_positions": 16, "pad_token_id": 0, "decoder_start_token_id": 1,
         "bos_token_id": 1, "eos_token_id": 2},
        {"input_features", "decoder_input_ids"},
    ),
    "CLIPModel": (
        "CLIPConfig",
        {"text_config": TEXT | {"max_position_embeddings": 20, "projection_dim": 8, "eos_token_id": 2},
         "vision_config": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                           "intermediate_size": 16, "image_size": 32, "patch_size": 16}, "projection_dim": 8},
        {"input_ids", "attention_mask", "pixel_values"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("architecture", TINY)
def test_model_accepts_them(architecture: str) -> None:
    config, settings, names = TINY[architecture]
    model = getattr(transformers, architecture)(getattr(transformers, config)(**settings)).eval()
    args, kwargs = example_for(model)
    assert args == ()
    assert set(kwargs) == names
    assert all(value.shape[0] == 2 for value in kwargs.values())
    with torch.no_grad():
        model(**kwargs)


def test_seeded() -> None:
    model = transformers.BertModel(transformers.BertConfig(**TEXT))
    first, second = example_for(model)[1], example_for(model)[1]
    assert torch.equal(first["input_ids"], second["input_ids"])


def test_positions_as_the_configuration_states_them() -> None:
    made = {
        8: transformers.GPT2Model(transformers.GPT2Config(n_positions=8, n_embd=8, n_layer=1, n_head=2)),
        12: transformers.BertModel(transformers.BertConfig(**TEXT | {"max_position_embeddings": 12})),
        None: torch.nn.Linear(2, 2),
    }
    assert [positions_of(model) for model in made.values()] == list(made)
