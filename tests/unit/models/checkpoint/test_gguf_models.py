"""GGUF files: what their keys and tensors say is the model, to the byte, without a config.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpoint_files import base
from configs import LATENT

gguf_writer = pytest.importorskip("gguf")
import gguf_files  # noqa: E402
from gguf_files import Shapes  # noqa: E402
from plimsoll.engines.base import Parallelism  # noqa: E402
from plimsoll.engines.layers.sharding import stage_weights  # noqa: E402
from plimsoll.errors import Unreadable  # noqa: E402
from plimsoll.models.checkpoint import gguf, gguf_model  # noqa: E402
from plimsoll.models.checkpoint.profile import from_profile  # noqa: E402
from plimsoll.models.checkpoint.source import local_profile  # noqa: E402
from plimsoll.models.config import architecture  # noqa: E402
from plimsoll.models.storage import tensor_bytes  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

HALF: Final = {"torch_dtype": "float16"}
EXPERTS: Final = {"expert_count": 8, "expert_used_count": 2}
Case = tuple[str, dict[str, Any], dict[str, Any], Shapes]


def _state(kernel: int, inner: int, size: int, heads: int, groups: int) -> dict[str, int]:
    return {
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": size,
        "ssm.time_step_rank": heads,
        "ssm.group_count": groups,
    }


def _more_cases() -> dict[str, Case]:
    """Sliding windows, biased experts, states alone, beside attention and in single layers."""
    heads = {"attention.key_length": 32, "attention.value_length": 32}
    gemma = base(
        "gemma3_text",
        head_dim=64,
        tie_word_embeddings=True,
        sliding_window=512,
        num_hidden_layers=7,
        **HALF,
    )
    wide = {"attention.key_length": 64, "attention.value_length": 64}
    oss = base(
        "gpt_oss",
        head_dim=32,
        num_local_experts=8,
        num_experts_per_tok=2,
        attention_bias=True,
        sliding_window=128,
        **HALF,
    )
    pure = base(
        "mamba2", num_heads=16, head_dim=32, state_size=64, n_groups=2, conv_kernel=4, **HALF
    )
    pure_tensors = gguf_files.ends(pure)
    for i in range(3):
        pure_tensors |= gguf_files.mamba2(f"blk.{i}", 256, 512, 768, 16)
        pure_tensors[f"blk.{i}.attn_norm.weight"] = (256,)
    beside = base(
        "falcon_h1",
        head_dim=32,
        mamba_n_heads=8,
        mamba_d_head=32,
        mamba_d_state=16,
        mamba_n_groups=2,
        mamba_d_conv=4,
        mamba_rms_norm=True,
        **HALF,
    )
    beside_tensors = gguf_files.dense(beside)
    for i in range(3):
        beside_tensors |= gguf_files.mamba2(f"blk.{i}", 256, 256, 320, 8)
    hybrid = base(
        "nemotron_h",
        head_dim=32,
        num_hidden_layers=3,
        mamba_num_heads=8,
        mamba_head_dim=32,
        ssm_state_size=16,
        n_groups=2,
        conv_kernel=4,
        hybrid_override_pattern="M-*",
        use_conv_bias=True,
        **HALF,
    )
    attention = gguf_files.dense(hybrid)
    hybrid_tensors = gguf_files.ends(hybrid) | gguf_files.mamba2("blk.0", 256, 256, 320, 8)
    hybrid_tensors |= {f"blk.{i}.attn_norm.weight": (256,) for i in range(3)}
    hybrid_tensors |= {
        f"blk.1.ffn_{n}.weight": attention[f"blk.1.ffn_{n}.weight"] for n in ("up", "down")
    }
    hybrid_tensors |= {
        f"blk.2.attn_{n}.weight": attention[f"blk.2.attn_{n}.weight"]
        for n in ("q", "k", "v", "output")
    }
    return {
        "gemma 3": (
            "gemma3",
            gemma,
            gguf_files.keys(gemma, **wide, **{"attention.sliding_window": 512}),
            gguf_files.gemma3(gemma),
        ),
        "gpt-oss": (
            "gpt-oss",
            oss,
            gguf_files.keys(
                oss,
                **heads,
                **EXPERTS,
                **{"expert_feed_forward_length": 512, "attention.sliding_window": 128},
            ),
            gguf_files.gpt_oss(oss),
        ),
        "mamba 2": (
            "mamba2",
            pure,
            {
                "block_count": 3,
                "embedding_length": 256,
                "feed_forward_length": 0,
                "context_length": 1 << 20,
                "attention.head_count": 0,
                **_state(4, 512, 64, 16, 2),
            },
            pure_tensors,
        ),
        "falcon-h1": (
            "falcon-h1",
            beside,
            gguf_files.keys(beside, **heads, **_state(4, 256, 16, 8, 2)),
            beside_tensors,
        ),
        "nemotron-h": (
            "nemotron_h",
            hybrid,
            {
                **gguf_files.keys(hybrid, **heads, **_state(4, 256, 16, 8, 2)),
                "attention.head_count_kv": [0, 0, 4],
                "feed_forward_length": [0, 512, 0],
            },
            hybrid_tensors,
        ),
    }


def _cases() -> dict[str, Case]:
    llama, qwen2 = base("llama", **HALF), base("qwen2", tie_word_embeddings=True, **HALF)
    mixtral = base("mixtral", num_local_experts=8, **HALF)
    qwen3_moe = base(
        "qwen3_moe",
        head_dim=64,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=128,
        **HALF,
    )
    deepseek = base("deepseek_v2", **LATENT, **HALF)
    latent_keys = {
        "expert_feed_forward_length": 128,
        "expert_shared_count": 1,
        "leading_dense_block_count": 1,
        "attention.q_lora_rank": 96,
        "attention.kv_lora_rank": 64,
        "rope.dimension_count": 16,
        "attention.key_length": 48,
        "attention.value_length": 32,
    }
    return {
        "llama": ("llama", llama, gguf_files.keys(llama), gguf_files.dense(llama)),
        "qwen2": ("qwen2", qwen2, gguf_files.keys(qwen2), gguf_files.dense(qwen2, bias=True)),
        "mixtral": (
            "llama",
            mixtral,
            gguf_files.keys(mixtral, **EXPERTS),
            gguf_files.dense(mixtral, experts=8),
        ),
        "qwen3-moe": (
            "qwen3moe",
            qwen3_moe,
            gguf_files.keys(
                qwen3_moe,
                **EXPERTS,
                **{
                    "expert_feed_forward_length": 128,
                    "attention.key_length": 64,
                    "attention.value_length": 64,
                },
            ),
            gguf_files.dense(qwen3_moe, qk_norm=True, experts=8),
        ),
        **_more_cases(),
        "deepseek": (
            "deepseek2",
            deepseek,
            gguf_files.keys(deepseek, **EXPERTS, **latent_keys),
            gguf_files.latent(deepseek),
        ),
    }


@pytest.mark.parametrize("family", _cases())
def test_a_file_in_16_bits_is_the_model_of_its_config(family: str, tmp_path: Path) -> None:
    kind, config, keys, tensors = _cases()[family]
    path = gguf_files.write(tmp_path / "m.gguf", kind, keys, tensors, words=1000)
    profile, notes = local_profile(str(path))
    read, known = from_profile(profile), architecture(config)
    assert read.parameters == known.parameters
    if known.heads:  # a state has no longest context; a config says so by leaving it out
        assert read.max_model_len == known.max_model_len
    assert list(read.mixers()) == list(known.mixers())
    assert [b.feed_forward for b in read.blocks] == [b.feed_forward for b in known.blocks]
    for tensor in (1, 2, 4):
        for expert in (False, True):
            split = Parallelism(tensor, 1, 1, expert)
            assert stage_weights(read, "float16", "", split) == stage_weights(
                known, "float16", "", split
            ), split
    assert not notes
    assert not read.assumed


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q5_1", "IQ4_NL", "MXFP4"])
@pytest.mark.parametrize("family", _cases())
def test_a_packed_file_has_the_bytes_that_its_types_say(
    family: str, kind: str, tmp_path: Path
) -> None:
    architecture_name, config, keys, tensors = _cases()[family]
    path = gguf_files.write(tmp_path / "m.gguf", architecture_name, keys, tensors, default=kind)
    header = gguf.read(path)
    described = architecture(gguf_model.config(header, path.name))
    read = gguf_model.with_tensors(described, header.tensors, [])
    official = gguf_writer.GGML_QUANT_SIZES[gguf_writer.GGMLQuantizationType[kind]]
    packed = [t for t in header.tensors if t.type_name == kind]
    assert all(t.bytes == t.elements // official[0] * official[1] for t in packed)
    plain = sum(2 * t.elements for t in header.tensors if t.type_name == "F32" and _inner(t.name))
    assert read.stored == header.tensors
    assert read.parameters == architecture(config).parameters
    assert read.quantization is not None
    assert read.quantization.default == gguf_model.scheme(kind)
    held = sum(tensor_bytes(t, read.quantization, 2) for b in read.blocks for t in b.tensors)
    assert held == plain + sum(t.bytes for t in packed if _inner(t.name))


def _inner(name: str) -> bool:
    return name.startswith("blk.") and "exp_probs_b" not in name


def test_every_type_of_the_official_package_has_its_block(tmp_path: Path) -> None:
    for kind, (block, size) in gguf_writer.GGML_QUANT_SIZES.items():
        assert gguf.TYPES[int(kind)] == (kind.name, block, size)
        scheme = gguf_model.scheme(kind.name)
        if block > 1:
            assert scheme is not None
            assert scheme.bytes(3, 4 * block) == 3 * 4 * size
        else:
            assert scheme is None


def test_a_profile_of_a_gguf_file_is_small_and_whole(tmp_path: Path) -> None:
    kind, _, keys, tensors = _cases()["llama"]
    types = {"blk.1.ffn_down.weight": "Q8_0"}
    path = gguf_files.write(tmp_path / "m.gguf", kind, keys, tensors, types=types, default="Q4_0")
    profile, _ = local_profile(str(path))
    rows = {(row[0], row[2]): row[3:] for row in profile["checkpoint"]["gguf"]}
    assert rows["blk.*.ffn_down.weight", "Q8_0"] == ["1"]
    assert rows["blk.*.ffn_down.weight", "Q4_0"] == ["0,2"]
    read = from_profile(profile)
    assert {t.name: t for t in read.stored} == {t.name: t for t in gguf.read(path).tensors}
    assert profile["checkpoint"]["bytes"] == sum(t.bytes for t in read.stored)


def test_all_parts_are_one_file_whichever_is_named(tmp_path: Path) -> None:
    kind, _, keys, tensors = _cases()["llama"]
    names = list(tensors)
    for number in range(3):
        own = {name: tensors[name] for name in names[number::3]}
        gguf_files.write(
            tmp_path / f"m-0000{number + 1}-of-00003.gguf",
            kind,
            keys if number == 0 else {},
            own,
            more={"split.no": number, "split.count": 3},
        )
    whole = gguf.read(gguf_files.write(tmp_path / "whole.gguf", kind, keys, tensors))
    for number in range(3):
        found = gguf.read(tmp_path / f"m-0000{number + 1}-of-00003.gguf")
        assert sorted(t.name for t in found.tensors) == sorted(names)
        assert found.bytes == whole.bytes
        assert found.architecture == "llama"
    (tmp_path / "m-00002-of-00003.gguf").unlink()
    with pytest.raises(Unreadable, match=r"missing: m-00002-of-00003.gguf"):
        gguf.read(tmp_path / "m-00001-of-00003.gguf")


def test_a_vocabulary_is_counted_and_not_kept(tmp_path: Path) -> None:
    kind, _, keys, tensors = _cases()["llama"]
    path = gguf_files.write(tmp_path / "m.gguf", kind, keys, tensors, words=20_000)
    found = gguf.read(path)
    assert found.lengths["tokenizer.ggml.tokens"] == 20_000
    assert "tokenizer.ggml.tokens" not in found.metadata


def test_the_official_reader_sees_the_same(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "m.gguf"
    writer = gguf_writer.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_array("llama.attention.head_count_kv", [4, 8])
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_bool("a.flag", True)
    writer.add_tensor("token_embd.weight", np.zeros((8, 32), dtype=np.float32))
    writer.add_tensor(
        "blk.0.attn_q.weight",
        np.zeros((16, 34), dtype=np.uint8),
        raw_dtype=gguf_writer.GGMLQuantizationType.Q8_0,
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    official = gguf_writer.GGUFReader(path)
    found = gguf.read(path)
    assert [(t.name, t.shape, t.bytes) for t in found.tensors] == [
        (t.name, tuple(int(n) for n in t.shape), int(t.n_bytes)) for t in official.tensors
    ]
    assert found.metadata["llama.attention.head_count_kv"] == [4, 8]
    assert found.metadata["a.flag"] is True
    assert found.metadata["llama.rope.freq_base"] == 10000.0


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_file_that_is_cut_in_its_header_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    kind, _, keys, tensors = _cases()["llama"]
    path = tmp_path / "m.gguf"
    if not path.exists():
        gguf_files.write(path, kind, keys, tensors, words=50)
    whole = path.read_bytes()
    end = data.draw(st.integers(0, len(whole) - 64))
    part = tmp_path / "cut.gguf"
    part.write_bytes(whole[:end])
    with pytest.raises(Unreadable, match="cut"):
        gguf.read(part)


def test_the_projector_of_a_multimodal_model_is_no_language_model(tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", "clip", {"block_count": 1}, {"v.a": (4, 4)})
    with pytest.raises(Unreadable, match="projector of a multimodal one"):
        local_profile(str(path))


def test_a_folder_with_several_gguf_files_asks_which_one(tmp_path: Path) -> None:
    kind, _, keys, tensors = _cases()["llama"]
    one = gguf_files.write(tmp_path / "m-Q4.gguf", kind, keys, tensors)
    profile, _ = local_profile(str(tmp_path))
    assert profile == local_profile(str(one))[0]
    gguf_files.write(tmp_path / "m-Q8.gguf", kind, keys, tensors)
    with pytest.raises(Unreadable, match=r"several \(m-Q4.gguf, m-Q8.gguf\)"):
        local_profile(str(tmp_path))
