"""What a config.json says of a model's structure, and what a user reads when it says it badly."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import LLAMA_SMALL
from plimsoll.errors import Invalid, Problem
from plimsoll.models import catalogue
from plimsoll.models.architecture import Architecture, Mixer, MixerKind, Part, Split, Stage
from plimsoll.models.config import architecture

LLAMA: Final[dict[str, Any]] = LLAMA_SMALL | {
    "architectures": ["LlamaForCausalLM"],
    "torch_dtype": "bfloat16",
}


def llama(**changes: Any) -> dict[str, Any]:
    """A small LLaMA's config; a change to None takes the field away."""
    return {k: v for k, v in {**LLAMA, **changes}.items() if v is not None}


def known(name: str) -> Architecture:
    entry = catalogue.load().find(name)
    assert entry is not None
    return entry.architecture


def mixers(name: str) -> list[Mixer]:
    return list(known(name).mixers())


def kinds(name: str) -> str:
    """One letter for each mixer, in order."""
    letters = {
        MixerKind.FULL: "F",
        MixerKind.SLIDING: "s",
        MixerKind.CHUNKED: "c",
        MixerKind.LINEAR: "l",
        MixerKind.MAMBA2: "m",
        MixerKind.MAMBA1: "1",
        MixerKind.MLA: "L",
        MixerKind.CROSS: "x",
        MixerKind.SHORT_CONV: "v",
    }
    return "".join(letters[m.kind] for m in mixers(name))


def problems(config: Any) -> list[str]:
    with pytest.raises(Invalid) as caught:
        architecture(config)
    return [str(problem) for problem in caught.value.problems]


# --- structures ---------------------------------------------------------------------------------


def test_every_tensor_of_a_llama_layer_has_its_name_shape_and_split() -> None:
    block = architecture(llama()).blocks[0]
    assert {t.name: (t.shape, t.split) for t in block.tensors} == {
        "self_attn.q_proj.weight": ((512, 512), Split.COLUMN),
        "self_attn.k_proj.weight": ((128, 512), Split.KV_HEADS),
        "self_attn.v_proj.weight": ((128, 512), Split.KV_HEADS),
        "self_attn.o_proj.weight": ((512, 512), Split.ROW),
        "mlp.gate_proj.weight": ((1024, 512), Split.COLUMN),
        "mlp.up_proj.weight": ((1024, 512), Split.COLUMN),
        "mlp.down_proj.weight": ((512, 1024), Split.ROW),
        "input_layernorm.weight": ((512,), Split.NONE),
        "post_attention_layernorm.weight": ((512,), Split.NONE),
    }
    assert all(t.linear == t.name.endswith("proj.weight") for t in block.tensors)


def test_what_lies_outside_the_layers_knows_its_pipeline_stage() -> None:
    outside = {t.name: (t.split, t.stage) for t in architecture(llama()).outside}
    assert outside == {
        "model.embed_tokens.weight": (Split.VOCAB, Stage.FIRST),
        "model.norm.weight": (Split.NONE, Stage.LAST),
        "lm_head.weight": (Split.VOCAB, Stage.LAST),
    }


def test_a_tied_head_is_counted_once() -> None:
    apart, tied = architecture(llama()), architecture(llama(tie_word_embeddings=True))
    assert apart.parameters - tied.parameters == 1000 * 512
    assert tied.tied
    assert not apart.tied


def test_biases_are_counted_if_the_config_has_them() -> None:
    plain = architecture(llama()).parameters
    biased = architecture(llama(attention_bias=True, mlp_bias=True)).parameters
    assert biased - plain == 4 * ((512 + 128 + 128 + 512) + (1024 + 1024 + 512))


def test_head_dim_need_not_be_hidden_size_over_heads() -> None:
    assert mixers("Qwen/Qwen3-32B")[0] == Mixer(MixerKind.FULL, 64, 8, 128, 128)
    assert known("Qwen/Qwen3-32B").hidden_size == 5120


def test_deepseek_v3_caches_one_latent_vector_and_its_first_layers_are_dense() -> None:
    a = known("deepseek-ai/DeepSeek-V3")
    assert set(a.mixers()) == {Mixer(MixerKind.MLA, 128, 1, 576, 0)}
    widths = [
        (b.feed_forward.intermediate, b.feed_forward.experts) for b in a.blocks if b.feed_forward
    ]
    assert widths == [(18432, 0)] * 3 + [(0, 256)] * 58
    sparse = a.blocks[3].feed_forward
    assert sparse is not None
    assert (sparse.experts_per_token, sparse.expert_intermediate, sparse.shared_intermediate) == (
        8,
        2048,
        2048,
    )
    assert a.active_parameters == pytest.approx(37.5e9, rel=0.01)
    split = {t.name: t.split for t in a.blocks[3].tensors}
    assert split["self_attn.kv_a_proj_with_mqa.weight"] is Split.NONE
    assert split["self_attn.kv_b_proj.weight"] is Split.COLUMN
    assert split["mlp.experts.down_proj.weight"] is Split.EXPERT_ROW
    assert split["mlp.gate.weight"] is Split.NONE


def test_a_sparse_indexer_keeps_keys_of_its_own_and_shared_ones_do_not() -> None:
    assert {m.index_dim for m in mixers("deepseek-ai/DeepSeek-V3.2")} == {128}
    assert Counter(m.index_dim for m in mixers("zai-org/GLM-5.2")) == {128: 21, 0: 57}


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("google/gemma-2-9b", "sF" * 21),
        ("google/gemma-3-27b-it", "sssssF" * 10 + "ss"),
        ("openai/gpt-oss-20b", "sF" * 12),
        ("CohereLabs/c4ai-command-r7b-12-2024", "sssF" * 8),
        ("LGAI-EXAONE/EXAONE-4.0-32B", "sssF" * 16),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "cccF" * 12),
        ("mistralai/Mistral-7B-v0.1", "s" * 32),
        ("mistralai/Mistral-7B-Instruct-v0.3", "F" * 32),
        ("Qwen/Qwen2.5-7B-Instruct", "F" * 28),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", "lllF" * 12),
        ("MiniMaxAI/MiniMax-Text-01", "lllllllF" * 10),
        ("ai21labs/Jamba-v0.1", "1111F111" * 4),
        ("LiquidAI/LFM2-1.2B", "vvFvvFvvFvFvFvFv"),
        ("meta-llama/Llama-3.2-11B-Vision-Instruct", "FFFxF" * 8),
        ("tiiuae/Falcon-H1-0.5B-Base", "Fm" * 36),
        ("ibm-granite/granite-4.0-h-tiny", "mmmmmFmmmmmmmmmF" + "mmmmmmmmmF" * 2 + "mmmm"),
    ],
)
def test_each_layer_has_the_mixer_that_the_config_says(name: str, pattern: str) -> None:
    assert kinds(name) == pattern


@pytest.mark.parametrize(
    ("name", "window"),
    [
        ("google/gemma-3-27b-it", 1024),
        ("openai/gpt-oss-20b", 128),
        ("mistralai/Mistral-7B-v0.1", 4096),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 8192),
    ],
)
def test_only_sliding_and_chunked_layers_have_a_window(name: str, window: int) -> None:
    found = {m.kind: m.window for m in mixers(name)}
    assert found.pop(MixerKind.FULL, 0) == 0
    assert list(found.values()) == [window]


def test_qwen_slides_from_max_window_layers_on_when_it_is_switched_on() -> None:
    config = llama(
        model_type="qwen2", use_sliding_window=True, max_window_layers=3, sliding_window=256
    )
    assert [m.window for m in architecture(config).mixers()] == [0, 0, 0, 256]
    config["use_sliding_window"] = False
    assert [m.window for m in architecture(config).mixers()] == [0, 0, 0, 0]


def test_states_have_the_sizes_that_vllm_gives_them() -> None:
    """(kernel - 1) x channels, and heads x head_dim x state, of each kind."""
    delta = mixers("Qwen/Qwen3-Next-80B-A3B-Instruct")[0]
    assert delta.conv_elements == 3 * (2 * 16 * 128 + 32 * 128)
    assert delta.state_elements == 32 * 128 * 128
    mamba = next(m for m in mixers("ibm-granite/granite-4.0-h-tiny") if m.conv_elements)
    assert mamba.conv_elements == 3 * (3072 + 2 * 1 * 128)
    assert mamba.state_elements == 48 * 64 * 128
    first = mixers("ai21labs/Jamba-v0.1")[0]
    assert (first.conv_elements, first.state_elements) == (3 * 8192, 8192 * 16)


def test_nemotron_h_has_layers_without_a_mixer() -> None:
    a = known("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16")
    found = Counter(len(b.mixers) for b in a.blocks)
    assert found[0] == 23
    assert all(b.feed_forward is None for b in a.blocks if b.mixers)


def test_nemotron_nas_layers_may_have_no_attention() -> None:
    a = known("nvidia/Llama-3_3-Nemotron-Super-49B-v1")
    assert len(a.blocks) == 80
    assert sum(1 for b in a.blocks if b.mixers) == 49


def test_gemma_4_shares_keys_with_values_and_later_layers_with_earlier_ones() -> None:
    config = {
        "model_type": "gemma4_text",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "global_head_dim": 32,
        "vocab_size": 100,
        "sliding_window": 8,
        "num_kv_shared_layers": 2,
        "attention_k_eq_v": True,
        "num_global_key_value_heads": 1,
        "max_position_embeddings": 1024,
    }
    a = architecture(config)
    assert [m.shares_kv for m in a.mixers()] == [False] * 4 + [True] * 2
    names = [{t.name for t in block.tensors} for block in a.blocks]
    assert "self_attn.k_proj.weight" in names[0]
    assert "self_attn.k_proj.weight" not in names[5]


def test_a_nested_text_config_is_filled_up_with_its_class_defaults() -> None:
    a = architecture({"model_type": "llava", "text_config": {"model_type": "llama"}})
    assert (a.hidden_size, len(a.blocks), a.vocab_size) == (4096, 32, 32000)
    assert not a.assumed


def test_towers_are_counted_and_make_a_model_multimodal() -> None:
    a = known("Qwen/Qwen2.5-VL-7B-Instruct")
    assert a.multimodal
    assert sum(t.elements for t in a.outside if t.part is Part.VISION) > 500e6


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({}, 4096),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 4096),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, 8192),
        (
            {
                "rope_scaling": {
                    "type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 2048,
                }
            },
            8192,
        ),
        ({"max_position_embeddings": None, "n_positions": 1024}, 1024),
        ({"max_position_embeddings": None}, 2048),
        ({"seq_length": 2048}, 2048),
        ({"seq_length": 8192}, 4096),
        ({"max_position_embeddings": 8192, "model_max_length": 131072}, 131072),
    ],
)
def test_the_longest_context_follows_rope_scaling_as_in_vllm(
    changes: dict[str, Any], length: int
) -> None:
    assert architecture(llama(**changes)).max_model_len == length


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({}, 0),
        ({"original_max_position_embeddings": 1024}, 1024),
        ({"original_max_position_embeddings": 4096}, 0),
        ({"original_max_position_embeddings": 1024, "rope_scaling": {"type": "su"}}, 1024),
        ({"original_max_position_embeddings": 1024, "rope_scaling": {"type": "yarn"}}, 0),
        ({"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 1024}}, 0),
    ],
)
def test_the_length_from_before_longrope_is_read_where_vllm_looks_for_it(
    changes: dict[str, Any], length: int
) -> None:
    given = {"rope_scaling": {"type": "longrope"}, **changes}
    assert architecture(llama(**given)).original_model_len == length


@pytest.mark.parametrize(
    ("word", "dtype"),
    [
        ("bfloat16", "bfloat16"),
        ("torch.float16", "float16"),
        ("float32", "float32"),
        ("auto", "bfloat16"),
        (None, "bfloat16"),
    ],
)
def test_the_dtype_is_read_in_each_spelling(word: str | None, dtype: str) -> None:
    assert architecture(llama(torch_dtype=word)).dtype == dtype
    assert architecture(llama(torch_dtype=None, dtype=word)).dtype == dtype


# --- families that are not known ----------------------------------------------------------------


def test_an_unknown_family_like_llama_is_read_and_marked() -> None:
    a = architecture(llama(model_type="brand-new"))
    assert a.assumed
    assert a.parameters == architecture(llama()).parameters


def test_an_unknown_family_with_experts_is_read_and_marked() -> None:
    a = architecture(
        llama(
            model_type="brand-new", num_experts=8, num_experts_per_tok=2, moe_intermediate_size=256
        )
    )
    feed = a.blocks[0].feed_forward
    assert a.assumed
    assert feed is not None
    assert (feed.experts, feed.experts_per_token, feed.expert_intermediate) == (8, 2, 256)


@pytest.mark.parametrize("sign", [{"mamba_d_state": 16}, {"layer_types": ["xlstm"] * 4}])
def test_an_unknown_family_of_another_make_is_refused_with_a_way_out(sign: dict[str, Any]) -> None:
    (said,) = problems(llama(model_type="brand-new", **sign))
    assert said.startswith('config.json: model_type: Invalid value: "brand-new"')
    assert "a model of the same structure as its baseModel" in said


def test_a_config_that_is_no_models_says_what_is_wanted() -> None:
    (said,) = problems({"name": "web", "version": 3})
    assert said.startswith("config.json: model_type: Required: a model type that is known")
    assert "hidden_size" in said


# --- bad input ----------------------------------------------------------------------------------


def test_all_missing_fields_are_named_at_once() -> None:
    said = problems(llama(hidden_size=None, num_hidden_layers=None))
    assert [line.split(": Required")[0] for line in said] == [
        "config.json: hidden_size",
        "config.json: num_hidden_layers",
    ]
    assert all("give the model's own config.json" in line for line in said)


def test_a_llama_without_its_mlp_width_is_not_guessed() -> None:
    (said,) = problems(llama(intermediate_size=None))
    assert said.startswith("config.json: intermediate_size: Required: an integer")


@pytest.mark.parametrize(
    ("field", "value", "given"),
    [
        ("hidden_size", "4096", '"4096"'),
        ("hidden_size", True, "True"),
        ("hidden_size", 4096.5, "4096.5"),
        ("hidden_size", [4096], "[4096]"),
        ("num_hidden_layers", 0, "0"),
        ("num_hidden_layers", -3, "-3"),
        ("num_hidden_layers", 10**6, "1000000"),
        ("vocab_size", 10**18, "1000000000000000000"),
        ("vocab_size", float("nan"), "nan"),
        ("vocab_size", float("inf"), "inf"),
        ("num_key_value_heads", 16, "16"),
        ("intermediate_size", {"a": 1}, "{'a': 1}"),
        ("tie_word_embeddings", "yes", '"yes"'),
        ("attention_bias", 2, "2"),
        ("torch_dtype", "int7", '"int7"'),
        ("architectures", "LlamaForCausalLM", '"LlamaForCausalLM"'),
        ("sliding_window", "wide", '"wide"'),
        ("model_type", 5, "5"),
    ],
)
def test_a_mistyped_or_absurd_field_is_named_with_what_was_given(
    field: str, value: object, given: str
) -> None:
    said = problems(llama(**{field: value}))
    assert any(
        line.startswith(f"config.json: {field}: Invalid value: {given}: ") for line in said
    ), said


def test_a_config_that_says_two_sizes_of_its_language_model_is_refused() -> None:
    within = {**LLAMA, "num_hidden_layers": 1}
    (said,) = problems({**LLAMA, "text_config": within})
    assert said.startswith("config.json: num_hidden_layers: Invalid value: 4: the same as text_con")
    same = architecture({**LLAMA, "text_config": LLAMA})
    assert same.parameters == architecture(LLAMA).parameters


def test_a_field_of_a_nested_config_is_named_with_its_path() -> None:
    (said,) = problems({"model_type": "llava", "text_config": {**LLAMA, "vocab_size": -1}})
    assert said.startswith("config.json: text_config: vocab_size: Invalid value: -1")


def test_layer_types_must_name_every_layer() -> None:
    config = llama(model_type="qwen3_next", layer_types=["linear_attention"])
    assert any("config.json: layer_types: Invalid value" in line for line in problems(config))


def test_more_parameters_than_any_model_has_are_refused() -> None:
    (said,) = problems(llama(hidden_size=10**8, intermediate_size=10**8, num_hidden_layers=500))
    assert said.startswith("config.json: Invalid value: ")
    assert "parameters in all: at most 1000.00T" in said
    assert "check the widths" in said


def test_a_megabyte_of_text_is_not_repeated() -> None:
    said = problems(llama(torch_dtype="x" * 1_000_000, hidden_size="\N{SNOWMAN}\x00" * 500_000))
    assert all(len(line) < 400 for line in said)
    assert not any("\x00" in line for line in said)


@pytest.mark.parametrize("digits", [400, 5000])
def test_an_integer_of_thousands_of_digits_is_refused(digits: int) -> None:
    (said,) = problems(llama(vocab_size=10**digits))
    assert said.startswith("config.json: vocab_size: Invalid value: ")
    assert len(said) < 400


def test_512_layers_are_read_and_one_more_is_not() -> None:
    assert len(architecture(llama(num_hidden_layers=512)).blocks) == 512
    (said,) = problems(llama(num_hidden_layers=513))
    assert said == (
        "config.json: num_hidden_layers: Invalid value: 513: an integer from 1 to 512"
    ), "no model has 300"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("nvidia/Nemotron-H-8B-Base-8K", {"hybrid_override_pattern": "M*-" * 200}),
        (
            "nvidia/Llama-3_3-Nemotron-Super-49B-v1",
            {"block_configs": [{"attention": {"no_op": True}, "ffn": {"no_op": True}}] * 600},
        ),
    ],
)
def test_as_many_layers_are_refused_wherever_a_config_counts_them(
    name: str, changes: dict[str, Any]
) -> None:
    entry = catalogue.load().find(name)
    assert entry is not None
    config = {key: value for key, value in entry.config.items() if key != "num_hidden_layers"}
    (said,) = problems({**config, **changes})
    assert said == "config.json: num_hidden_layers: Invalid value: 600: at most 512 layers"


def read(config: Any, quant: Any = None) -> Architecture | tuple[Problem, ...]:
    """The structure of a config, or why it has none."""
    try:
        return architecture(config, quant)
    except Invalid as error:
        return error.problems


JUNK = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=9)
)
VALUES = JUNK | st.lists(JUNK, max_size=3) | st.dictionaries(st.text(max_size=4), JUNK, max_size=3)
FIELDS: Final = sorted({key for entry in catalogue.load() for key in entry.config})
TYPES: Final = sorted({str(entry.config["model_type"]) for entry in catalogue.load()})


@pytest.mark.sweep
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(catalogue.load())),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=4),
)
def test_no_change_to_a_known_config_breaks_it(
    entry: catalogue.Entry, changes: dict[str, Any]
) -> None:
    """It is read, with a count that is believed, or refused in words."""
    found = read({**entry.config, **changes}, entry.quant)
    if isinstance(found, Architecture):
        assert 0 < found.parameters <= 10**15
        assert found.max_model_len > 0
    else:
        assert found
        assert all(problem.path.startswith("config.json") for problem in found)


@pytest.mark.sweep
@settings(max_examples=200, deadline=None)
@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8))
def test_no_config_of_a_known_type_breaks_it(model_type: str, config: dict[str, Any]) -> None:
    assert read({**config, "model_type": model_type})
