"""How checkpoints are stored: their bytes against known files, and which modules are left alone.

Bytes of whole files on the Hugging Face hub, headers with them; within 0.5 %, most within 0.1 %.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import LLAMA_SMALL
from plimsoll.errors import Invalid, Unreadable
from plimsoll.models import catalogue
from plimsoll.models.architecture import Architecture, Part, Split, Tensor
from plimsoll.models.config import architecture
from plimsoll.models.quantization import Quantization, Scheme
from plimsoll.models.quantization_config import quantization_of, stored
from plimsoll.models.rules import Rules
from plimsoll.models.storage import scheme_of, stored_bytes

GIB: Final = 1 << 30
FP8: Final = {"quant_method": "fp8", "activation_scheme": "dynamic"}


def known(name: str) -> Architecture:
    entry = catalogue.load().find(name)
    assert entry is not None
    return entry.architecture


def quantized(given: dict[str, Any], quant: dict[str, Any] | None = None) -> Architecture:
    return architecture({**LLAMA_SMALL, "quantization_config": given}, quant)


def schemes(a: Architecture) -> dict[str, str]:
    """The name of each linear's scheme in the first layer, and of the head's."""
    assert a.quantization is not None
    found = {}
    for t in (*a.blocks[0].tensors, *a.outside):
        module = t.name.removesuffix(".weight")
        scheme = scheme_of(a.quantization, module, t)
        if t.linear:
            found[module] = scheme.name if scheme else "-"
    return found


# --- bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "word", "size"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", "", 141_107_497_872),
        ("meta-llama/Llama-3.3-70B-Instruct", "awq", 39_767_996_256),
        ("meta-llama/Llama-3.3-70B-Instruct", "fp8", 72_669_954_704),
        ("meta-llama/Llama-3.1-8B-Instruct", "", 16_060_556_376),
        ("meta-llama/Llama-3.1-8B-Instruct", "awq", 5_727_938_576),
        ("meta-llama/Llama-3.1-8B-Instruct", "fp8", 9_081_287_016),
        ("meta-llama/Llama-2-7b-hf", "", 13_476_876_272),
        ("Qwen/Qwen2.5-7B-Instruct", "", 15_231_271_888),
        ("Qwen/Qwen2.5-7B-Instruct", "awq", 5_570_829_760),
        ("Qwen/Qwen2.5-32B", "", 65_527_841_752),
        ("Qwen/Qwen3-32B", "awq", 19_325_481_744),
        ("Qwen/Qwen3-32B-FP8", "", 34_322_567_640),
        ("Qwen/Qwen3-8B", "awq", 6_098_581_864),
        ("Qwen/Qwen3-30B-A3B-FP8", "", 31_175_618_584),
        ("Qwen/Qwen3-235B-A22B", "", 470_187_269_120),
        ("deepseek-ai/DeepSeek-V3.2", "", round(642.14 * GIB)),
        ("moonshotai/Kimi-K2.5", "", round(554.32 * GIB)),
        ("MiniMaxAI/MiniMax-M2.7", "", round(214.34 * GIB)),
        ("zai-org/GLM-5.2-FP8", "", round(703.75 * GIB)),
        ("Qwen/Qwen3.5-122B-A10B", "", round(232.99 * GIB)),
        ("google/gemma-3-27b-it", "", round(51.1 * GIB)),
        ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "", round(16.56 * GIB)),
    ],
)
def test_a_checkpoint_has_the_bytes_of_the_files_on_the_hub(
    name: str, word: str, size: int
) -> None:
    a = known(name)
    if word:
        a = replace(a, quantization=stored(word))
    assert stored_bytes(a) == pytest.approx(size, rel=0.005)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("openai/gpt-oss-20b", 13.6e9, 13.9e9), ("openai/gpt-oss-120b", 65.0e9, 65.4e9)],
)
def test_gpt_oss_keeps_only_its_experts_in_mxfp4(name: str, low: float, high: float) -> None:
    """13.8 and 65.2 GB; repositories that hold a second format show twice that."""
    a = known(name)
    assert low < stored_bytes(a) < high
    found = schemes(a)
    assert {found[f"mlp.experts.{n}_proj"] for n in ("gate", "up", "down")} == {"mxfp4"}
    assert {found["self_attn.q_proj"], found["mlp.gate"], found["lm_head"]} == {"-"}


def test_a_deepseek_v3_checkpoint_is_fp8_with_its_mtp_layer() -> None:
    """688.6 GB: 671 GB of the model and the layer that predicts one token more."""
    a = known("deepseek-ai/DeepSeek-V3")
    assert stored_bytes(a) == pytest.approx(688.6e9, rel=0.005)
    assert stored_bytes(replace(a, extra=())) == pytest.approx(673.3e9, rel=0.005)


def test_an_unquantized_checkpoint_has_two_bytes_for_each_parameter() -> None:
    a = architecture(LLAMA_SMALL)
    assert stored_bytes(a) == 2 * a.parameters
    assert stored_bytes(architecture({**LLAMA_SMALL, "torch_dtype": "float32"})) == 4 * a.parameters


@pytest.mark.parametrize(
    ("scheme", "size"),
    [
        (Scheme("fp8", 8), 4096 * 1024 + 4),
        (Scheme("fp8", 8, 0, 1), 4096 * 1024 + 4096 * 4),
        (Scheme("fp8", 8, 128, 128), 4096 * 1024 + 32 * 8 * 4),
        (Scheme("w4a16", 4, 128, 1, 2), 4096 * 512 + 4096 * 8 * 2),
        (Scheme("w4a16", 4, 128, 1, 2, 4), 4096 * 512 + 4096 * 8 * 2 + 4096 * 4),
        (Scheme("mxfp4", 4, 32, 1, 1), 4096 * 512 + 4096 * 32),
        (Scheme("nvfp4", 4, 16, 1, 1), 4096 * 512 + 4096 * 64),
    ],
)
def test_a_linear_is_its_bits_and_its_scales(scheme: Scheme, size: int) -> None:
    assert scheme.bytes(4096, 1024) == size


# --- formats ------------------------------------------------------------------------------------

W4: Final = {"num_bits": 4, "type": "int", "group_size": 128, "symmetric": True}


def groups(weights: dict[str, Any], **more: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, **more}


@pytest.mark.parametrize(
    ("given", "scheme"),
    [
        (FP8, Scheme("fp8", 8)),
        ({**FP8, "weight_block_size": [128, 128]}, Scheme("fp8", 8, 128, 128)),
        ({"quant_method": "fbgemm_fp8"}, Scheme("fp8", 8, 0, 1)),
        (groups(W4), Scheme("w4a16", 4, 128, 1, 2)),
        (groups({**W4, "symmetric": False}), Scheme("w4a16", 4, 128, 1, 2, 4)),
        (groups({"num_bits": 8, "type": "int", "strategy": "channel"}), Scheme("int8", 8, 0, 1, 2)),
        (groups({"num_bits": 8, "type": "float", "strategy": "channel"}), Scheme("fp8", 8, 0, 1)),
        (groups({"num_bits": 8, "type": "float", "strategy": "tensor"}), Scheme("fp8", 8)),
        (groups({"num_bits": 4, "type": "float", "group_size": 16}), Scheme("nvfp4", 4, 16, 1, 1)),
        (groups({"num_bits": 4, "type": "float", "group_size": 32}), Scheme("mxfp4", 4, 32, 1, 1)),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, Scheme("w4a16", 4, 64, 1, 2, 4)),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, Scheme("w8a16", 8, 0, 1, 2, 8)),
        ({"quant_method": "auto-round", "bits": 4, "sym": True}, Scheme("w4a16", 4, 128, 1, 2)),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, Scheme("nf4", 4, 64, 1, 4)),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, Scheme("int8", 8, 0, 1)),
        (
            {
                "quant_method": "aqlm",
                "num_codebooks": 1,
                "nbits_per_codebook": 16,
                "in_group_size": 8,
            },
            Scheme("w2a16", 2, 0, 1, 2),
        ),
        (
            {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}},
            Scheme("fp8", 8),
        ),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, Scheme("nvfp4", 4, 16, 1, 1)),
    ],
)
def test_each_format_says_how_its_linears_are_stored(given: dict[str, Any], scheme: Scheme) -> None:
    a = quantized(given)
    assert a.quantization is not None
    assert a.quantization.default == scheme
    assert not a.assumed
    found = schemes(a)
    assert found.pop("lm_head") == "-"
    assert set(found.values()) == {scheme.name}


def test_hf_quant_config_counts_if_the_config_says_nothing() -> None:
    ignored = ["lm_head", "model.layers.*.self_attn*"]
    said = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ignored}
    a = architecture(LLAMA_SMALL, {"quantization": said})
    assert a.attention_kv_dtype == "fp8"
    found = schemes(a)
    assert (found["self_attn.q_proj"], found["mlp.up_proj"]) == ("-", "fp8")


def test_mixed_precision_gives_each_module_its_own_scheme() -> None:
    layers = {
        f"model.layers.{i}.self_attn.{n}_proj": {"quant_algo": "FP8"}
        for i in range(4)
        for n in "qkvo"
    }
    layers |= {f"model.layers.{i}.mlp.down_proj": {"quant_algo": "NVFP4"} for i in range(4)}
    a = quantized(
        {
            "quant_method": "modelopt",
            "quant_algo": "MIXED_PRECISION",
            "quantized_layers": {**layers, "lm_head": {"quant_algo": "NVFP4"}},
        }
    )
    assert schemes(a) == {
        "self_attn.q_proj": "fp8",
        "self_attn.k_proj": "fp8",
        "self_attn.v_proj": "fp8",
        "self_attn.o_proj": "fp8",
        "mlp.gate_proj": "-",
        "mlp.up_proj": "-",
        "mlp.down_proj": "nvfp4",
        "lm_head": "nvfp4",
    }


def test_what_is_left_alone_in_some_layers_is_quantized_in_the_others() -> None:
    ignored = [f"model.layers.{i}.mlp.{n}_proj" for i in (0, 3) for n in ("gate", "up", "down")]
    a = quantized({**FP8, "modules_to_not_convert": ["lm_head", *ignored]})
    plain = quantized(FP8)
    mlp = 3 * 512 * 1024
    assert stored_bytes(a) - stored_bytes(plain) == 2 * (mlp - 3 * 4)
    assert a.blocks[0] is a.blocks[3]
    assert a.blocks[1] is a.blocks[2]


def test_attention_and_the_first_and_last_layers_of_llama_405b_fp8_stay_in_16_bits() -> None:
    a = known("meta-llama/Llama-3.1-405B-Instruct-FP8")
    # vLLM logs 57.75 GiB on each of 8 GPUs: 496 GB
    assert 480e9 < stored_bytes(a) < 500e9
    assert stored_bytes(a) > stored_bytes(replace(a, blocks=a.blocks[1:2] * 126)) + 3e9


def test_quantized_kimi_k2_5_has_only_its_routed_experts_in_4_bits() -> None:
    a = known("moonshotai/Kimi-K2.5")
    assert a.quantization is not None
    for t in a.blocks[5].tensors:
        scheme = scheme_of(a.quantization, t.name.removesuffix(".weight"), t)
        assert (scheme is not None) == (t.linear and t.part is Part.EXPERTS), t.name


def test_routers_and_towers_are_left_alone_without_being_named() -> None:
    for name in ("Qwen/Qwen3-235B-A22B-FP8", "nvidia/Qwen3.5-122B-A10B-NVFP4"):
        a = known(name)
        assert a.quantization is not None
        for t in (*a.blocks[0].tensors, *a.outside):
            if t.part in (Part.ROUTER, Part.VISION, Part.PROJECTOR, Part.EMBEDDING):
                assert scheme_of(a.quantization, t.name.removesuffix(".weight"), t) is None


def test_deepseek_v4_keeps_its_experts_in_4_bits_and_the_rest_in_fp8() -> None:
    found = schemes(known("deepseek-ai/DeepSeek-V4-Flash"))
    assert found["mlp.experts.gate_proj"] == "mxfp4"
    assert found["self_attn.q_b_proj"] == "fp8"


def test_a_method_that_nobody_here_can_size_counts_as_unquantized_and_is_marked() -> None:
    a = quantized({"quant_method": "brand-new"})
    assert a.assumed
    assert a.quantization is not None
    assert a.quantization.method == "another method"  # a word of the config is not repeated
    assert stored_bytes(a) == 2 * a.parameters


def _in_groups(bits: object) -> dict[str, Any]:
    return groups({"num_bits": bits, "type": "int"})


def _aqlm(bits: int, group: int) -> dict[str, Any]:
    codes = {"num_codebooks": 1, "nbits_per_codebook": bits, "in_group_size": group}
    return {"quant_method": "aqlm", **codes}


@pytest.mark.parametrize(
    "given",
    [
        *({"quant_method": "gptq", "bits": bits} for bits in (1, 5, 16, -4, "4", 1.5, [4], True)),
        *({"quant_method": "awq", "bits": bits} for bits in (1, 2, 3, 8)),
        *(_in_groups(bits) for bits in (1, 2, 3, 16, "8")),
        _aqlm(1, 1 << 20),
        _aqlm(16, 2),
        {"quant_method": "magic", "bits": 1},
        {"quant_method": "magic", "bits": 4},
    ],
    ids=str,
)
def test_bits_that_no_format_has_are_not_believed(given: dict[str, Any]) -> None:
    found = quantized(given)
    assert found.assumed
    assert stored_bytes(found) == 2 * found.parameters


@pytest.mark.parametrize(
    ("given", "bits"),
    [
        *(({"quant_method": "gptq", "bits": bits}, bits) for bits in (2, 3, 4, 8)),
        ({"quant_method": "awq", "bits": 4}, 4),
        ({"quant_method": "awq", "w_bit": 4}, 4),
        *((_in_groups(bits), bits) for bits in (4, 8)),
        (_aqlm(16, 8), 2),
    ],
)
def test_bits_that_a_format_has_are(given: dict[str, Any], bits: int) -> None:
    found = quantized(given)
    assert not found.assumed
    assert found.quantization is not None
    assert found.quantization.default is not None
    assert found.quantization.default.bits == bits


def test_a_group_of_unknown_bits_counts_as_unquantized_beside_one_that_is_known() -> None:
    weights = {"num_bits": 1, "type": "int"}
    given = _in_groups(4)
    given["config_groups"]["odd"] = {"targets": ["re:.*down_proj"], "weights": weights}
    found = quantized(given)
    assert found.assumed
    known = quantized({**_in_groups(4), "ignore": ["re:.*down_proj"]})
    assert stored_bytes(found) == stored_bytes(known)


# --- rules --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "module", "named"),
    [
        ("lm_head", "lm_head", True),
        ("language_model.lm_head", "lm_head", True),
        ("model.layers.*.self_attn", "self_attn.q_proj", True),
        ("*.attn.*", "self_attn.q_a_proj", True),
        ("*.ffn.shared_experts.*", "mlp.shared_experts.up_proj", True),
        ("*.ffn.shared_experts.*", "mlp.experts.up_proj", False),
        ("gate", "mlp.gate", True),
        ("gate", "mlp.gate_proj", False),
        ("mlp.gate", "mlp.gate_proj", False),
        ("block_sparse_moe.gate", "mlp.gate", True),
        ("re:.*self_attn.*", "self_attn.o_proj", True),
        (r"re:.*mlp\.(gate|up|gate_up|down)_proj.*", "mlp.up_proj", True),
        (r"re:.*mlp\.(gate|up|gate_up|down)_proj.*", "mlp.experts.up_proj", False),
        ("mtp*", "mlp.up_proj", False),
        ("re:(", "mlp.up_proj", False),
    ],
)
def test_rules_name_modules_as_their_formats_mean_it(rule: str, module: str, named: bool) -> None:
    assert (Rules([rule]).first(module) is not None) is named


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*b", ".*" * 9, "a" * 500 + ".*" * 5])
def test_a_regular_expression_that_could_run_for_ever_is_refused(pattern: str) -> None:
    start = time.perf_counter()
    with pytest.raises(Invalid) as caught:
        quantized({**FP8, "ignore": [f"re:{pattern}"]})
    assert time.perf_counter() - start < 0.5
    (problem,) = caught.value.problems
    assert problem.path == "config.json: quantization_config"
    assert "without repeated groups" in str(problem)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "quant_method",
                "weight_block_size",
                "bits",
                "group_size",
                "ignore",
                "config_groups",
                "quantized_layers",
                "quant_algo",
                "kv_cache_scheme",
                "load_in_4bit",
                "modules_to_not_convert",
                "exclude_modules",
            ]
        ),
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=6)
        | st.sampled_from(["fp8", "awq", "gptq", "modelopt", "compressed-tensors", "NVFP4"])
        | st.lists(st.none() | st.integers() | st.text(max_size=6), max_size=3)
        | st.dictionaries(st.text(max_size=3), st.none() | st.text(max_size=3), max_size=2),
        max_size=5,
    )
)
def test_no_quantization_config_breaks_it(given: dict[str, Any]) -> None:
    with contextlib.suppress(Invalid):
        assert stored_bytes(quantized(given)) > 0


def test_the_words_of_spec_model_quantization_are_known_and_others_are_named() -> None:
    assert stored("none") is None
    assert stored("awq") == Quantization("awq", Scheme("w4a16", 4, 128, 1, 2, 4), by_name=True)
    with pytest.raises(Unreadable, match='"fp3" is not one of none, fp8'):
        stored("fp3")


def test_norms_biases_and_tables_are_never_quantized() -> None:
    found = quantization_of({"quantization_config": FP8})
    assert found is not None
    bias = Tensor("self_attn.q_proj.bias", (512,), Split.COLUMN, Part.ATTENTION)
    assert scheme_of(found, "self_attn.q_proj", bias) is None
