"""Headers of models with an encoder: what an embedder does not load, and which layers only hear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

import checkpoint_files
from plimsoll.models.checkpoint.profile import from_profile
from plimsoll.models.checkpoint.source import local_profile
from plimsoll.models.config import architecture

if TYPE_CHECKING:
    from pathlib import Path

    from checkpoint_files import Tensors
    from plimsoll.models.architecture import Architecture

H, W, V = 32, 64, 128
BERT: Final[dict[str, Any]] = {
    "model_type": "bert",
    "hidden_size": H,
    "intermediate_size": W,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": V,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "id2label": {"0": "a"},
    "torch_dtype": "bfloat16",
}
WHISPER: Final[dict[str, Any]] = {
    "model_type": "whisper",
    "architectures": ["WhisperForConditionalGeneration"],
    "d_model": H,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": W,
    "decoder_ffn_dim": W,
    "num_mel_bins": 8,
    "max_source_positions": 12,
    "max_target_positions": 16,
    "vocab_size": V,
    "torch_dtype": "bfloat16",
}


def _put(into: Tensors, name: str, *shape: int, bias: bool = True) -> None:
    into[f"{name}.weight"] = ("BF16", shape)
    if bias:
        into[f"{name}.bias"] = ("BF16", shape[:1])


def _bert(prefix: str) -> Tensors:
    made: Tensors = {}
    for name, rows in (("word", V), ("position", 16), ("token_type", 2)):
        _put(made, f"{prefix}embeddings.{name}_embeddings", rows, H, bias=False)
    _put(made, f"{prefix}embeddings.LayerNorm", H)
    for number in range(2):
        layer = f"{prefix}encoder.layer.{number}"
        for name in ("query", "key", "value"):
            _put(made, f"{layer}.attention.self.{name}", H, H)
        _put(made, f"{layer}.attention.output.dense", H, H)
        _put(made, f"{layer}.attention.output.LayerNorm", H)
        _put(made, f"{layer}.intermediate.dense", W, H)
        _put(made, f"{layer}.output.dense", H, W)
        _put(made, f"{layer}.output.LayerNorm", H)
    return made


def _whisper() -> Tensors:
    made: Tensors = {}
    _put(made, "model.encoder.conv1", H, 8, 3)
    _put(made, "model.encoder.conv2", H, H, 3)
    _put(made, "model.encoder.embed_positions", 12, H, bias=False)
    _put(made, "model.decoder.embed_tokens", V, H, bias=False)
    _put(made, "model.decoder.embed_positions", 16, H, bias=False)
    for side, count in (("encoder", 3), ("decoder", 2)):
        _put(made, f"model.{side}.layer_norm", H)
        kinds = ("self_attn", "encoder_attn") if side == "decoder" else ("self_attn",)
        for number in range(count):
            layer = f"model.{side}.layers.{number}"
            for kind in kinds:
                for name in "qkv":
                    _put(made, f"{layer}.{kind}.{name}_proj", H, H, bias=name != "k")
                _put(made, f"{layer}.{kind}.out_proj", H, H)
                _put(made, f"{layer}.{kind}_layer_norm", H)
            _put(made, f"{layer}.fc1", W, H)
            _put(made, f"{layer}.fc2", H, W)
            _put(made, f"{layer}.final_layer_norm", H)
    return made


def both(
    folder: Path, config: dict[str, Any], tensors: Tensors
) -> tuple[Architecture, Architecture, tuple[str, ...]]:
    """As the config says, as the headers say, and the notes."""
    made, notes = local_profile(str(checkpoint_files.write(folder, config, tensors)))
    return architecture(config), from_profile(made), notes


@pytest.mark.parametrize("name", ["BertModel", "BertForMaskedLM"])
def test_an_embedder_does_not_load_what_it_was_trained_with(name: str, tmp_path: Path) -> None:
    tensors = _bert("bert." if name.endswith("MaskedLM") else "")
    _put(
        tensors, "pooler.dense" if name == "BertModel" else "cls.predictions.transform.dense", H, H
    )
    config = {**BERT, "architectures": [name]}
    said, found, notes = both(tmp_path / "model", config, tensors)
    assert found.parameters == said.parameters
    assert found.outside == said.outside
    assert not found.assumed
    assert notes == ()


def test_a_reranker_keeps_its_pooler_and_its_classifier(tmp_path: Path) -> None:
    tensors = _bert("bert.")
    _put(tensors, "bert.pooler.dense", H, H)
    _put(tensors, "classifier", 1, H)
    config = {**BERT, "architectures": ["BertForSequenceClassification"]}
    said, found, notes = both(tmp_path / "model", config, tensors)
    assert found.outside == said.outside
    assert found.parameters == said.parameters
    assert notes == ()


def test_layers_that_hear_are_no_layers_of_the_decoder(tmp_path: Path) -> None:
    said, found, notes = both(tmp_path / "model", WHISPER, _whisper())
    assert len(found.blocks) == 2
    assert found.parameters == said.parameters
    assert not found.assumed
    assert notes == ()
