"""Hugging Face architectures, shrunk to tiny by a table of sizes; their weights are random, nothing is downloaded.

Each row of `MODELS` is: model type → (auto class or class, kind of input, sizes that differ from `SMALL`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .entry import Architecture, Built, floats, tokens

__all__ = ["ARCHITECTURES", "MODELS"]

# Applied wherever the configuration has a field of that name.
SMALL: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 64, "num_key_value_heads": 2, "head_dim": 8, "image_size": 32, "patch_size": 8,
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "use_cache": False, "num_labels": 5,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip

UNSET = object()  # leaves a field of SMALL at the configuration's own value
Row = tuple[str, str, dict[str, Any]]
VISION = {"num_channels": 3}
AUDIO = {
    "conv_dim": (16, 16), "conv_kernel": (10, 3), "conv_stride": (5, 2), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 16,
}  # fmt: skip
PYRAMID = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4, "patch_size": 2}
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}
MOE = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}

MODELS: dict[str, Row] = {
    # encoders
    "albert": ("SequenceClassification", "text", {"embedding_size": 16}),
    "bert": ("SequenceClassification", "masked text", {}),
    "big_bird": ("SequenceClassification", "text", {"attention_type": "original_full"}),
    "camembert": ("MaskedLM", "text", {}),
    "canine": ("SequenceClassification", "text", {"max_position_embeddings": 64}),
    "convbert": ("SequenceClassification", "text", {"embedding_size": 32}),
    "data2vec-text": ("SequenceClassification", "text", {}),
    "deberta": ("SequenceClassification", "text", {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "deberta-v2": ("SequenceClassification", "text", {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "distilbert": ("SequenceClassification", "masked text", {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}),
    "electra": ("SequenceClassification", "text", {"embedding_size": 16}),
    "ernie": ("SequenceClassification", "text", {}),
    "esm": ("MaskedLM", "text", {"mask_token_id": 3, "position_embedding_type": "rotary"}),
    "eurobert": ("SequenceClassification", "text", {}),
    "flaubert": ("SequenceClassification", "text", {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "n_words": 96}),
    "fnet": ("SequenceClassification", "text", {}),
    "funnel": ("SequenceClassification", "text", {
        "num_hidden_layers": UNSET, "block_sizes": [1, 1], "n_head": 4, "d_head": 8, "d_inner": 64}),
    "ibert": ("SequenceClassification", "text", {}),
    "layoutlm": ("SequenceClassification", "text", {}),
    "longformer": ("SequenceClassification", "text", {"attention_window": 8}),
    "megatron-bert": ("SequenceClassification", "text", {}),
    "mobilebert": ("SequenceClassification", "text", {
        "embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16, "num_feedforward_networks": 2}),
    "modernbert": ("SequenceClassification", "text", {}),
    "mpnet": ("SequenceClassification", "masked text", {}),
    "nystromformer": ("SequenceClassification", "text", {"num_landmarks": 4, "segment_means_seq_len": 16}),
    "rembert": ("SequenceClassification", "text", {"input_embedding_size": 16, "output_embedding_size": 16}),
    "roberta": ("SequenceClassification", "masked text", {}),
    "roc_bert": ("SequenceClassification", "text", {"pronunciation_vocab_size": 50, "shape_vocab_size": 50}),
    "roformer": ("SequenceClassification", "text", {"embedding_size": 32}),
    "splinter": ("Base", "text", {}),
    "squeezebert": ("SequenceClassification", "text", {"embedding_size": 32}),
    "xlm": ("SequenceClassification", "text", {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "n_words": 96}),
    "xlm-roberta": ("SequenceClassification", "text", {}),
    "xlnet": ("SequenceClassification", "text", {
        "max_position_embeddings": UNSET, "n_layer": 2, "n_head": 4, "d_inner": 64}),
    "xmod": ("SequenceClassification", "text", {"languages": ["en_XX"], "default_language": "en_XX"}),
    "yoso": ("SequenceClassification", "text", {"use_expectation": True}),
    # decoders
    "biogpt": ("CausalLM", "text", {}),
    "bloom": ("CausalLM", "text", {"n_layer": 2, "n_head": 4}),
    "codegen": ("CausalLM", "text", {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 64}),
    "cohere": ("CausalLM", "text", {}),
    "cohere2": ("CausalLM", "text", {"sliding_window": 8}),
    "ctrl": ("CausalLM", "text", {"n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 64, "n_positions": 64}),
    "deepseek_v3": ("CausalLM", "text", {
        **MOE, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "v_head_dim": 8, "qk_nope_head_dim": 8,
        "n_routed_experts": 8, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "head_dim": 8,
        "num_key_value_heads": 4}),
    "exaone4": ("CausalLM", "text", {"sliding_window": 8}),
    "falcon": ("CausalLM", "text", {"head_dim": UNSET}),
    "gemma": ("CausalLM", "text", {}),
    "gemma2": ("CausalLM", "text", {"sliding_window": 8}),
    "gemma3_text": ("CausalLM", "text", {"sliding_window": 8}),
    "glm": ("CausalLM", "text", {}),
    "glm4": ("CausalLM", "text", {}),
    "gpt2": ("CausalLM", "text", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "gpt_bigcode": ("CausalLM", "text", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "gpt_neo": ("CausalLM", "text", {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "num_heads": 4}),
    "gpt_neox": ("CausalLM", "text", {}),
    "gptj": ("CausalLM", "text", {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 64}),
    "granite": ("CausalLM", "text", {}),
    "helium": ("CausalLM", "text", {}),
    "llama": ("CausalLM", "masked text", {}),
    "mamba": ("CausalLM", "text", {"state_size": 8}),
    "mamba2": ("CausalLM", "text", {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8}),
    "mistral": ("CausalLM", "text", {"sliding_window": 8}),
    "mixtral": ("CausalLM", "text", MOE),
    "mpt": ("CausalLM", "text", {"n_heads": 4, "n_layers": 2, "max_seq_len": 64}),
    "nemotron": ("CausalLM", "text", {}),
    "olmo": ("CausalLM", "text", {}),
    "olmo2": ("CausalLM", "text", {}),
    "opt": ("CausalLM", "text", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "persimmon": ("CausalLM", "text", {}),
    "phi": ("CausalLM", "text", {}),
    "phi3": ("CausalLM", "text", {}),
    "qwen2": ("CausalLM", "masked text", {}),
    "qwen2_moe": ("CausalLM", "text", {**MOE, "shared_expert_intermediate_size": 32}),
    "qwen3": ("CausalLM", "text", {}),
    "rwkv": ("CausalLM", "text", {"attention_hidden_size": 32, "context_length": 64}),
    "smollm3": ("CausalLM", "text", {}),
    "stablelm": ("CausalLM", "text", {}),
    "starcoder2": ("CausalLM", "text", {}),
    "xglm": ("CausalLM", "text", {"num_layers": 2, "attention_heads": 4, "ffn_dim": 64}),
    # encoder and decoder
    "bart": ("Seq2SeqLM", "seq2seq", {}),
    "blenderbot": ("Seq2SeqLM", "seq2seq", {}),
    "fsmt": ("Seq2SeqLM", "seq2seq", {"src_vocab_size": 96, "tgt_vocab_size": 96}),
    "led": ("Seq2SeqLM", "seq2seq", {
        "attention_window": 8, "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64}),
    "longt5": ("Seq2SeqLM", "masked seq2seq", {  # while it is traced it makes no mask of its own
        "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "local_radius": 4}),
    "m2m_100": ("Seq2SeqLM", "seq2seq", {}),
    "marian": ("Seq2SeqLM", "seq2seq", {"decoder_vocab_size": 96}),
    "mbart": ("Seq2SeqLM", "seq2seq", {}),
    "mt5": ("Seq2SeqLM", "seq2seq", {"d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}),
    "pegasus": ("Seq2SeqLM", "seq2seq", {}),
    "plbart": ("Seq2SeqLM", "seq2seq", {}),
    "prophetnet": ("Seq2SeqLM", "seq2seq", {
        "num_hidden_layers": UNSET, "num_encoder_layers": 2, "num_decoder_layers": 2, "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4, "ngram": 2}),
    "t5": ("Seq2SeqLM", "seq2seq", {"d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}),
    "umt5": ("Seq2SeqLM", "seq2seq", {"d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}),
    # sound
    "audio-spectrogram-transformer": ("AudioClassification", "spectrogram", {"max_length": 32, "num_mel_bins": 16}),
    "data2vec-audio": ("CTC", "sound", AUDIO | {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5}),
    "hubert": ("CTC", "sound", AUDIO),
    "sew": ("CTC", "sound", AUDIO | {"squeeze_factor": 2}),
    "unispeech": ("CTC", "sound", AUDIO),
    "wav2vec2": ("CTC", "sound", AUDIO),
    "wavlm": ("CTC", "sound", AUDIO),
    "whisper": ("SpeechSeq2Seq", "mel", {"num_mel_bins": 16, "max_source_positions": 16, "max_target_positions": 16}),
    # vision
    "beit": ("ImageClassification", "image", {"use_relative_position_bias": True}),
    "bit": ("ImageClassification", "image", {"embedding_size": 32, "num_groups": 4} | STAGES | {
        "hidden_sizes": [32, 32, 64, 64]}),
    "convnext": ("ImageClassification", "image", STAGES | {"patch_size": 2, "num_hidden_layers": UNSET}),
    "convnextv2": ("ImageClassification", "image", STAGES | {"patch_size": 2, "num_hidden_layers": UNSET}),
    "cvt": ("ImageClassification", "image", {
        "embed_dim": [16, 16, 32], "num_heads": [1, 2, 4], "depth": [1, 2, 3], "patch_sizes": [7, 3, 3],
        "patch_size": UNSET}),
    "data2vec-vision": ("ImageClassification", "image", {}),
    "deit": ("DeiTForImageClassificationWithTeacher", "image", {}),
    "dinov2": ("ImageClassification", "image", {}),
    "dinov2_with_registers": ("ImageClassification", "image", {}),
    "dpt": ("DepthEstimation", "image", {
        "backbone_out_indices": [0, 1, 2, 3], "num_hidden_layers": 4, "neck_hidden_sizes": [8, 8, 16, 16],
        "fusion_hidden_size": 16,
        "num_channels": 3}),
    "efficientnet": ("ImageClassification", "image", {
        "width_coefficient": 0.25, "depth_coefficient": 0.5, "hidden_dim": 320}),
    "focalnet": ("ImageClassification", "image", {
        "embed_dim": 16, "depths": [1, 1], "hidden_sizes": [16, 32], "focal_levels": [1, 1], "focal_windows": [3, 3],
        "patch_size": 2}),
    "glpn": ("DepthEstimation", "image", {
        "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4],
        "decoder_hidden_size": 16}),
    "hiera": ("ImageClassification", "image", {
        "embed_dim": 16, "depths": [1, 1, 1], "num_heads": [1, 2, 4], "num_query_pool": 2,
        "image_size": [64, 64], "query_stride": [2, 2],
        "patch_size": [7, 7], "masked_unit_size": [8, 8]}),
    "ijepa": ("ImageClassification", "image", {}),
    "levit": ("LevitForImageClassificationWithTeacher", "image", {
        "hidden_sizes": [16, 32, 32], "num_attention_heads": [2, 2, 4], "depths": [1, 1, 1], "key_dim": [8, 8, 8],
        "image_size": 64, "patch_size": 16}),
    "mobilenet_v1": ("ImageClassification", "image", {"depth_multiplier": 0.25}),
    "mobilenet_v2": ("ImageClassification", "image", {"depth_multiplier": 0.35}),
    "mobilevit": ("ImageClassification", "image", {
        "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32], "patch_size": 2}),
    "mobilevitv2": ("ImageClassification", "image", {"image_size": 64, "width_multiplier": 0.25, "patch_size": 2}),
    "poolformer": ("ImageClassification", "image", STAGES | {"patch_size": 16}),
    "pvt": ("ImageClassification", "image", {
        "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4],
        "image_size": 64}),
    "pvt_v2": ("ImageClassification", "image", {
        "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4]}),
    "regnet": ("ImageClassification", "image", STAGES | {"embedding_size": 8, "groups_width": 8}),
    "resnet": ("ImageClassification", "image", STAGES | {"embedding_size": 8}),
    "segformer": ("SemanticSegmentation", "image", {
        "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4],
        "decoder_hidden_size": 16}),
    "siglip_vision_model": ("Base", "image", {}),
    "swiftformer": ("ImageClassification", "image", {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}),
    "swin": ("ImageClassification", "image", PYRAMID),
    "swin2sr": ("ImageToImage", "image", PYRAMID | {"patch_size": 1, "upscale": 2}),
    "swinv2": ("ImageClassification", "image", PYRAMID),
    "textnet": ("ImageClassification", "image", {
        "stem_out_channels": 8, "hidden_sizes": [8, 8, 16, 16, 24], "image_size": 64}),
    "vit": ("ImageClassification", "image", {}),
    "vit_msn": ("ImageClassification", "image", {}),
    "vitdet": ("Base", "image", {}),
    "yolos": ("ObjectDetection", "image", {"image_size": [32, 32], "num_detection_tokens": 5}),
    # image and text
    "clip_text_model": ("Base", "text", {}),
    "clip_vision_model": ("Base", "image", {}),
    "siglip_text_model": ("SiglipTextModel", "text", {}),
    "vilt": ("Base", "image and text", {}),
    # time series
    "patchtst": ("Base", "series", {
        "context_length": 32, "num_input_channels": 3, "patch_length": 8, "patch_stride": 8, "ffn_dim": 64}),
    "decision_transformer": ("Base", "trajectory", {"n_layer": 2, "n_head": 4, "state_dim": 6, "act_dim": 3}),
    "perceiver": ("SequenceClassification", "text", {
        "num_latents": 8, "d_latents": 32, "num_blocks": 1, "num_self_attends_per_block": 2,
        "num_self_attention_heads": 4, "num_cross_attention_heads": 4}),
}  # fmt: skip


def _inputs(kind: str, config: Any) -> dict[str, Any]:
    """One batch of two, by the kind of model."""
    side = config.image_size if hasattr(config, "image_size") else 32
    height = side[0] if isinstance(side, (list, tuple)) else side
    width = side[1] if isinstance(side, (list, tuple)) else side
    ids = tokens(2, 16)
    mask = (torch.arange(16) < torch.tensor([[16], [11]])).long()
    kinds: Mapping[str, dict[str, Tensor]] = {
        "text": {"input_ids": ids},
        "masked text": {"input_ids": ids, "attention_mask": mask},
        "seq2seq": {"input_ids": ids, "decoder_input_ids": tokens(2, 12)},
        "masked seq2seq": {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": tokens(2, 12)},
        "image": {"pixel_values": floats(2, 3, height, width)},
        "image and text": {"input_ids": ids, "pixel_values": floats(2, 3, height, width)},
        "sound": {"input_values": floats(2, 800)},
        "spectrogram": {"input_values": floats(2, 32, 16)},
        "mel": {"input_features": floats(2, 16, 32), "decoder_input_ids": tokens(2, 8)},
        "series": {"past_values": floats(2, 32, 3)},
        "trajectory": {
            "states": floats(2, 8, 6), "actions": floats(2, 8, 3), "rewards": floats(2, 8, 1),
            "returns_to_go": floats(2, 8, 1), "timesteps": torch.arange(8).repeat(2, 1),
            "attention_mask": torch.ones(2, 8, dtype=torch.long),
        },
    }  # fmt: skip
    return dict(kinds[kind])


def _config(model_type: str, sizes: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    default = AutoConfig.for_model(model_type)
    renamed = default.attribute_map
    known = {name: v for name, v in SMALL.items() if hasattr(default, name) and renamed.get(name) not in sizes}
    chosen = {name: value for name, value in (known | dict(sizes)).items() if value is not UNSET}
    return AutoConfig.for_model(model_type, **chosen)


def _build(model_type: str, head: str, kind: str, sizes: Mapping[str, Any]) -> Built:
    import transformers

    config = _config(model_type, sizes)
    named = getattr(transformers, head, None)
    auto = transformers.AutoModel if head == "Base" else getattr(transformers, f"AutoModelFor{head}", None)
    model: nn.Module = named(config) if named else auto.from_config(config)
    return Built(model.eval(), (), _inputs(kind, config))


ARCHITECTURES = [
    Architecture(f"hf-{name}", f"hf {kind}", functools.partial(_build, name, head, kind, sizes))
    for name, (head, kind, sizes) in MODELS.items()
]
