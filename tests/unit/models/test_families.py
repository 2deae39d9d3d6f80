"""Families beyond the catalogue: their parameters, their caches, and what serving leaves behind.

The configs and counts are in tests/data/family_configs.json. ``like``: the checkpoint whose shape
a config has. ``instantiated``: the parameters of the model's class in transformers, made without
weights. ``published``, ``derived``: as ``source`` says. ``rounded``: a figure of few digits.
``beside``: what the class has and serving does not load (poolers, heads for masked words).
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.errors import Invalid, Problem
from plimsoll.models.architecture import Architecture, MixerKind, Part
from plimsoll.models.checkpoint.profile import from_profile, profile
from plimsoll.models.config import architecture
from plimsoll.models.families.by_type import TEXT

ROWS: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "data" / "family_configs.json").read_text()
)
NAMES: Final = [f"{row['like']} {row['config']['model_type']}" for row in ROWS]


def config_of(model_type: str, class_name: str = "") -> dict[str, Any]:
    """The first config of a type, and of a class if one is named."""
    return next(
        row["config"]
        for row in ROWS
        if row["config"]["model_type"] == model_type
        and class_name in ("", *row["config"].get("architectures", ()))
    )


def made(model_type: str, class_name: str = "", **changes: Any) -> Architecture:
    return architecture({**config_of(model_type, class_name), **changes})


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_count_is_that_of_the_real_implementation(row: dict[str, Any]) -> None:
    found = architecture(row["config"])
    assert not found.assumed
    if row["known"] == "rounded":
        assert found.parameters == pytest.approx(row["parameters"], rel=0.003)
    else:
        assert found.parameters == row["parameters"]
    assert sum(t.elements for t in found.extra) == row["beside"]


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_profile_keeps_all_that_the_count_follows_from(row: dict[str, Any]) -> None:
    whole, kept = architecture(row["config"]), from_profile(profile(row["config"]))
    assert kept.parameters == whole.parameters
    assert kept.outside == whole.outside
    assert tuple(kept.mixers()) == tuple(whole.mixers())


# --- encoders -----------------------------------------------------------------------------------

ENCODERS: Final = (
    "bert",
    "xlm-roberta",
    "distilbert",
    "electra",
    "modernbert",
    "nomic_bert",
    "gte",
)


@pytest.mark.parametrize("model_type", ENCODERS)
def test_every_layer_of_an_encoder_sees_the_whole_input_and_makes_no_logits(
    model_type: str,
) -> None:
    a = made(model_type)
    assert {m.kind for m in a.mixers()} == {MixerKind.ENCODER}
    assert not a.tied
    assert not any(t.part is Part.HEAD for t in a.outside)


def test_a_reranker_loads_its_classifier_and_an_embedder_does_not_load_its_pooler() -> None:
    ranks = {t.name for t in made("xlm-roberta", "XLMRobertaForSequenceClassification").outside}
    embeds = made("xlm-roberta", "XLMRobertaModel")
    assert {"classifier.weight", "classifier.dense.weight"} <= ranks
    assert not any("classifier" in t.name or "pooler" in t.name for t in embeds.outside)
    assert {t.name for t in embeds.extra} == {"pooler.dense.weight", "pooler.dense.bias"}


@pytest.mark.parametrize(
    ("labels", "rows"),
    [({"id2label": {"0": "a", "1": "b", "2": "c"}}, 3), ({"num_labels": 5}, 5), ({}, 2)],
)
def test_a_classifier_has_a_row_for_each_label(labels: dict[str, Any], rows: int) -> None:
    config = {**config_of("bert"), "architectures": ["BertForSequenceClassification"]}
    found = {t.name: t.shape for t in architecture({**config, **labels}).outside}
    assert found["classifier.weight"] == (rows, 1024)


def test_two_positions_of_roberta_are_for_padding() -> None:
    assert made("xlm-roberta").max_model_len == 8192
    assert made("bert").max_model_len == 512


def test_an_encoder_of_a_type_that_is_not_known_is_read_like_bert_and_marked() -> None:
    strange = {"model_type": "brand-new", "architectures": ["BrandNewBertModel"]}
    a = architecture({**config_of("bert"), **strange})
    assert a.assumed
    assert {m.kind for m in a.mixers()} == {MixerKind.ENCODER}


def test_positions_that_are_added_to_attention_are_assumed() -> None:
    a = made("bert", "BertModel", position_embedding_type="alibi")
    assert a.assumed
    assert not any("position" in t.name for t in a.outside)


def test_rotary_positions_leave_the_table_of_positions_out() -> None:
    a = made("xlm-roberta", "XLMRobertaModel", position_embedding_type="rotary")
    assert not any("position" in t.name for t in a.outside)
    assert a.rotary_elements == 8194 * 64


# --- speech -------------------------------------------------------------------------------------


def test_whisper_caches_what_it_said_and_what_it_hears() -> None:
    a = made("whisper")
    assert [m.kind for m in a.blocks[0].mixers] == [MixerKind.FULL, MixerKind.CROSS]
    assert {(m.heads, m.kv_heads, m.head_dim) for m in a.mixers()} == {(20, 20, 64)}
    assert a.multimodal
    assert a.tied
    assert a.max_model_len == 448
    heard = sum(t.elements for t in a.outside if t.part is Part.AUDIO)
    assert heard == pytest.approx(637e6, rel=0.01)


@pytest.mark.parametrize(
    "model_type",
    [
        "qwen2_audio",
        "voxtral",
        "granite_speech",
        "qwen2_5_omni",
        "qwen3_omni_moe_thinker",
        "gemma3n",
        "qwen3_asr",
    ],
)
def test_an_audio_tower_is_counted_and_makes_a_model_multimodal(model_type: str) -> None:
    a = made(model_type)
    assert a.multimodal
    assert sum(t.elements for t in a.outside if t.part is Part.AUDIO) > 300e6


def test_of_qwen_omni_only_what_thinks_is_served() -> None:
    whole, thinker = made("qwen2_5_omni"), made("qwen2_5_omni_thinker")
    assert whole.parameters == thinker.parameters
    assert whole.class_name == "Qwen2_5OmniForConditionalGeneration"
    assert whole.model_type == "qwen2_5_omni"


def test_a_problem_in_what_thinks_is_named_with_its_path() -> None:
    config = json.loads(json.dumps(config_of("qwen2_5_omni")))
    config["thinker_config"]["text_config"]["vocab_size"] = -1
    config["thinker_config"]["audio_config"]["d_model"] = "wide"
    with pytest.raises(Invalid) as caught:
        architecture(config)
    (problem,) = caught.value.problems
    assert problem.path == "config.json: thinker_config: text_config: vocab_size"


def test_an_audio_tower_of_a_make_that_is_not_known_is_marked() -> None:
    config = {**config_of("qwen2_audio"), "model_type": "brand-new"}
    like_whisper = architecture(config)
    assert like_whisper.assumed
    assert like_whisper.multimodal
    assert any(t.part is Part.AUDIO for t in like_whisper.outside)
    other = architecture({**config, "audio_config": {"width": 5}})
    assert other.assumed
    assert not any(t.part is Part.AUDIO for t in other.outside)


def test_ultravox_has_whispers_encoder_and_a_projector_of_stacked_frames() -> None:
    audio, text = config_of("qwen2_audio")["audio_config"], config_of("qwen2_audio")["text_config"]
    a = architecture(
        {
            "model_type": "ultravox",
            "audio_config": audio,
            "text_config": text,
            "hidden_size": 4096,
            "stack_factor": 8,
            "projector_ln_mid": True,
        }
    )
    shapes = {t.name: t.shape for t in a.outside if t.part is Part.PROJECTOR}
    assert shapes["projector.audio_1.weight"] == (4096, 8 * 1280)
    assert shapes["projector.audio_2.weight"] == (4096, 2048)
    assert shapes["projector.ln.weight"] == (2048,)


# --- caches -------------------------------------------------------------------------------------


def test_longcat_has_two_latent_caches_in_each_layer() -> None:
    a = made("longcat_flash")
    assert len(a.blocks) == 28
    assert len(list(a.mixers())) == 56
    assert {(m.kind, m.head_dim) for m in a.mixers()} == {(MixerKind.MLA, 576)}


def test_step_3_has_one_head_of_keys_and_values() -> None:
    a = made("step3_text")
    assert {(m.heads, m.kv_heads, m.head_dim) for m in a.mixers()} == {(64, 1, 256)}
    assert sum(1 for b in a.blocks if b.feed_forward and b.feed_forward.experts) == 56


def test_every_use_of_a_shared_block_of_zamba_2_has_a_cache_of_its_own() -> None:
    a = made("zamba2")
    assert Counter(m.kind for m in a.mixers()) == {MixerKind.MAMBA2: 54, MixerKind.FULL: 9}
    shared = [t for t in a.outside if ".blocks." in t.name and t.name.endswith("q_proj.weight")]
    assert len(shared) == 2


def test_the_last_layers_of_gemma_3n_read_the_caches_of_others() -> None:
    mixers = list(made("gemma3n").mixers())
    assert [m.shares_kv for m in mixers] == [False] * 20 + [True] * 10
    assert [m.kind for m in mixers[:5]] == [MixerKind.SLIDING] * 4 + [MixerKind.FULL]


def test_exaone_moe_slides_in_three_of_four_layers_and_its_first_layer_is_dense() -> None:
    a = made("exaone_moe")
    assert [m.kind for m in a.mixers()][:4] == [MixerKind.SLIDING] * 3 + [MixerKind.FULL]
    assert [bool(b.feed_forward and b.feed_forward.experts) for b in a.blocks[:2]] == [False, True]
    named = made("exaone_moe", is_moe_layer=[False] * 2 + [True] * 46)
    assert named.parameters < a.parameters


def test_a_tower_that_nobody_here_knows_is_built_as_most_are_and_marked() -> None:
    text = {
        "model_type": "llama",
        "hidden_size": 512,
        "intermediate_size": 1024,
        "vocab_size": 1000,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "max_position_embeddings": 2048,
    }
    seen = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2}
    strange, plain = (
        architecture({"model_type": kind, "text_config": text, "vision_config": seen})
        for kind in ("somebodys_vlm", "llava")
    )
    assert (strange.assumed, plain.assumed) == (True, False)
    assert strange.multimodal
    assert strange.parameters > plain.parameters * 0.9


def test_small_deepseek_vl_has_no_latent_attention() -> None:
    config = {
        "model_type": "deepseek_v2",
        "hidden_size": 1280,
        "intermediate_size": 6848,
        "moe_intermediate_size": 896,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "num_experts_per_tok": 6,
        "num_hidden_layers": 12,
        "num_attention_heads": 10,
        "num_key_value_heads": 10,
        "qk_nope_head_dim": 0,
        "qk_rope_head_dim": 0,
        "v_head_dim": 0,
        "first_k_dense_replace": 1,
        "vocab_size": 129280,
        "max_position_embeddings": 4096,
    }
    assert {(m.kind, m.kv_heads, m.head_dim) for m in architecture(config).mixers()} == {
        (MixerKind.FULL, 10, 128)
    }


@pytest.mark.parametrize(
    ("version", "biases"), [(2.0, False), (2.5, False), (2.6, True), (4.5, False)]
)
def test_minicpm_v_has_another_text_model_with_each_version(version: float, biases: bool) -> None:
    a = made("minicpmv", version=version)
    assert any(t.name == "self_attn.q_proj.bias" for t in a.blocks[0].tensors) is biases
    assert a.multimodal


@pytest.mark.parametrize("model_type", ["jais", "telechat", "hyperclovax", "solar"])
def test_families_that_no_count_could_be_held_against_are_read_and_marked(model_type: str) -> None:
    config = {
        "model_type": model_type,
        "hidden_size": 512,
        "intermediate_size": 1024,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "vocab_size": 1000,
        "max_position_embeddings": 2048,
        "position_embedding_type": "alibi",
    }
    a = architecture(config)
    names = {t.name for t in a.blocks[0].tensors}
    assert a.assumed is (model_type != "solar")
    assert ("mlp.up_proj.bias" in names) is (model_type == "jais")
    assert ("mlp.down_proj.bias" in names) is (model_type in ("jais", "telechat"))
    assert not any("positions" in t.name for t in a.outside)


# --- bad input ----------------------------------------------------------------------------------

JUNK = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=9)
)
VALUES = JUNK | st.lists(JUNK, max_size=3) | st.dictionaries(st.text(max_size=4), JUNK, max_size=3)
FIELDS: Final = sorted({key for row in ROWS for key in row["config"]})
SECTIONS: Final = (
    "text_config",
    "audio_config",
    "vision_config",
    "encoder_config",
    "projector_config",
    "thinker_config",
)
INNER: Final = sorted(
    {
        key
        for row in ROWS
        for name in SECTIONS
        if isinstance(row["config"].get(name), dict)
        for key in row["config"][name]
    }
)


def problems(config: dict[str, Any]) -> tuple[Problem, ...]:
    """Why it is refused; none if it is read, with a count that is believed."""
    try:
        found = architecture(config)
    except Invalid as error:
        return error.problems
    assert 0 < found.parameters <= 10**15
    assert found.max_model_len > 0
    return ()


@pytest.mark.sweep
@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(ROWS),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
    st.dictionaries(st.sampled_from(INNER), VALUES, max_size=4),
    st.sampled_from(SECTIONS),
)
def test_no_change_to_a_config_breaks_it(
    row: dict[str, Any], changes: dict[str, Any], inner: dict[str, Any], name: str
) -> None:
    config = {**row["config"], **changes}
    section = config.get(name)
    if isinstance(section, dict):
        config[name] = {**section, **inner}
    assert all(problem.path.startswith("config.json") for problem in problems(config))


@pytest.mark.sweep
@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(TEXT)),
    st.dictionaries(st.sampled_from(FIELDS + INNER), VALUES, max_size=8),
)
def test_no_config_of_a_known_type_breaks_it(model_type: str, config: dict[str, Any]) -> None:
    found = problems({**config, "model_type": model_type})
    assert all(problem.path.startswith("config.json") for problem in found)


@pytest.mark.parametrize("field", ["moe_num_experts", "moe_intermediate_size"])
def test_experts_of_ernie_vl_are_two_numbers_or_a_problem(field: str) -> None:
    for numbers in ([64], [64, 64, 64]):
        with pytest.raises(Invalid, match=rf"{field}: Invalid value: .*: two integers"):
            architecture({**config_of("ernie4_5_moe_vl"), field: numbers})


def test_gemma_4_hears_with_a_conformer_of_twenty_four_squares_a_layer() -> None:
    text = {
        "model_type": "gemma4_text",
        "hidden_size": 2560,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "intermediate_size": 10240,
        "vocab_size": 262144,
        "max_position_embeddings": 131072,
    }
    top = {
        "model_type": "gemma4",
        "architectures": ["Gemma4ForConditionalGeneration"],
        "text_config": text,
    }
    audio = {"hidden_size": 1024, "num_hidden_layers": 12, "output_proj_dims": 1536}
    deaf, hears = architecture(top), architecture({**top, "audio_config": audio})
    h, out = 1024, 1536
    layer = 24 * h * h + 14 * h + h // 8
    before = 128 * 9 + 128 + 32 * 128 * 9 + 32 + h * 32 * 32
    after = out * h + out + 2560 * out
    assert hears.parameters - deaf.parameters == 12 * layer + before + after
