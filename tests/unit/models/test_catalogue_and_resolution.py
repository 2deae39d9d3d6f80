"""Models by name, by document and by profile: found, suggested, refused in words."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from plimsoll.engines.base import EngineSettings, Parallelism
from plimsoll.engines.registry import engine
from plimsoll.errors import Invalid
from plimsoll.models import catalogue
from plimsoll.models.architecture import ModelSource, Part
from plimsoll.models.catalogue import load
from plimsoll.models.checkpoint.profile import FORMAT, MAX_BYTES, from_profile
from plimsoll.models.config import architecture
from plimsoll.models.files import MAX_DOCUMENT
from plimsoll.models.resolve import Unresolved, resolve
from plimsoll.models.storage import module_of, scheme_of, spread_by_name, stored_bytes
from plimsoll.workloads.llmdeployment import PLACES
from worded import worded

if TYPE_CHECKING:
    from plimsoll.errors import Problem


LAYERS = (Part.ATTENTION, Part.MLP)
"""Parts of a dense model whose linears are quantized."""


def test_there_are_at_least_150_models_and_every_one_can_be_built() -> None:
    assert len(load()) >= 150
    assert all(entry.architecture.parameters > 10**7 for entry in load())


def test_a_model_is_found_in_any_case_and_by_the_ids_that_share_its_structure() -> None:
    wanted = load().find("meta-llama/Llama-3.3-70B-Instruct")
    assert wanted is not None
    assert load().find("META-LLAMA/llama-3.3-70b-instruct") is wanted
    assert load().find("unsloth/Llama-3.3-70B-Instruct") is wanted


def test_no_alias_is_the_id_of_another_model() -> None:
    ids = {entry.id.lower() for entry in load()}
    aliases = [alias.lower() for entry in load() for alias in entry.aliases]
    assert len(aliases) == len(set(aliases))
    assert not ids & set(aliases)


@pytest.mark.parametrize(
    ("base", "other", "lengths"),
    [
        ("Qwen/Qwen2-7B", "Qwen/Qwen2-7B-Instruct", (131072, 32768)),
        ("Qwen/Qwen2.5-72B", "Qwen/Qwen2.5-72B-Instruct", (131072, 32768)),
        ("Qwen/Qwen2.5-14B", "Qwen/Qwen2.5-14B-Instruct", (131072, 32768)),
        ("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B-Instruct", (131072, 32768)),
        ("Qwen/Qwen2.5-32B", "Qwen/Qwen2.5-Coder-32B-Instruct", (131072, 32768)),
        ("Qwen/Qwen3-8B-Base", "Qwen/Qwen3-8B", (32768, 40960)),
    ],
)
def test_ids_that_share_a_structure_keep_their_own_context(
    base: str, other: str, lengths: tuple[int, int]
) -> None:
    """As their own config.json says, and as vLLM logged it (issues 8793 and 16757)."""
    found = [load().find(name.lower()) for name in (base, other)]
    assert all(entry is not None for entry in found)
    assert tuple(e.architecture.max_model_len for e in found if e) == lengths
    assert len({e.architecture.parameters for e in found if e}) == 1
    assert [e.id for e in found if e] == [base, other]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("meta-llama/Llama-3.3-70B-Instuct", "meta-llama/Llama-3.3-70B-Instruct"),
        ("somebody/Qwen3-32B", "Qwen/Qwen3-32B"),
        ("openai/gpt-oss120b", "openai/gpt-oss-120b"),
    ],
)
def test_near_misses_are_suggested(given: str, wanted: str) -> None:
    assert load().find(given) is None
    assert wanted in load().suggest(given)


@pytest.mark.parametrize("given", ["", "/", "ünïcode/模型", "x" * 2_000_000, "\x00", "a/b/c/d"])
def test_no_name_is_too_strange_or_too_long_to_be_unknown(given: str) -> None:
    start = time.perf_counter()
    assert load().find(given) is None
    load().suggest(given)
    assert time.perf_counter() - start < 0.5


def test_every_profile_is_small_and_is_the_same_model() -> None:
    for entry in load():
        made = entry.profile()
        assert len(json.dumps(made)) <= MAX_BYTES
        again, wanted = from_profile(json.loads(json.dumps(made))), entry.architecture
        assert again.parameters == wanted.parameters, entry.id
        assert stored_bytes(again) == stored_bytes(wanted), entry.id
        assert again.max_model_len == wanted.max_model_len, entry.id


@pytest.mark.parametrize(
    ("named", "low", "high"),
    [
        ("FP8", 0.98, 1.33),
        ("NVFP4", 0.55, 0.88),
    ],
)
def test_a_checkpoint_of_few_bits_is_stored_in_few(named: str, low: float, high: float) -> None:
    plain = {"nvidia/Gemma-4-31B-IT-NVFP4"}  # its attention is in 16 bits: 31.04 GiB were loaded
    described = [
        entry
        for entry in load()
        if f"-{named}" in entry.id
        and entry.id not in plain
        and entry.architecture.parameters > 3 * 10**9
        if (stored := entry.architecture.quantization) is not None and not stored.by_name
    ]
    assert len(described) >= 12
    for entry in described:
        share = stored_bytes(entry.architecture) / entry.architecture.parameters
        assert low < share < high, entry.id


def test_what_is_left_alone_in_an_mtp_layer_is_not_left_alone_in_the_first() -> None:
    found = resolve(uri="hf://nvidia/Qwen3.6-27B-NVFP4").architecture
    assert found is not None
    assert stored_bytes(found) / 2**30 == pytest.approx(20.42, abs=0.005), "as vLLM prints"
    served = stored_bytes(replace(found, extra=()))
    drafted = (stored_bytes(found) - served) / 2**30
    assert drafted == pytest.approx(20.57 - 19.78, abs=0.01), "loaded with MTP and without"


def test_no_config_of_the_catalogue_is_cut_short() -> None:
    data = Path(catalogue.__file__).parent / "data" / "catalogue.json"
    assert "_folded" not in data.read_text("utf-8")


def test_experts_beside_a_dense_mlp_are_none_of_it() -> None:
    found = resolve(uri="hf://nvidia/Gemma-4-26B-A4B-NVFP4").architecture
    assert found is not None
    assert stored_bytes(found) / 2**30 == pytest.approx(17.5, rel=0.03), "~18 GB"


def test_a_document_tells_more_than_a_base_model_and_that_more_than_a_name() -> None:
    document = json.dumps(load().find("Qwen/Qwen3-8B").profile())  # type: ignore[union-attr]
    uri = "hf://acme/fine-tune"
    assert resolve(uri="hf://meta-llama/Llama-3.1-8B-Instruct").source is ModelSource.CATALOGUE
    assert resolve(uri=uri, base_model="Qwen/Qwen3-4B").source is ModelSource.BASE_MODEL
    found = resolve(uri=uri, base_model="Qwen/Qwen3-4B", document=document, origin="x")
    assert found.source is ModelSource.PROFILE
    assert found.parameters == load().find("Qwen/Qwen3-8B").architecture.parameters  # type: ignore[union-attr]


LLAMA_70B = "hf://meta-llama/Llama-3.3-70B-Instruct"


def refused(**said: Any) -> Problem:
    """Why what is said of a model cannot be."""
    with pytest.raises(Unresolved) as caught:
        resolve(**said)
    (problem,) = worded(caught.value.placed(PLACES))
    return problem


def test_a_base_model_may_not_be_smaller_than_what_the_catalogue_knows_at_the_uri() -> None:
    problem = refused(uri=LLAMA_70B, base_model="Qwen/Qwen3-0.6B")
    assert problem.path == "spec.model.baseModel"
    assert "meta-llama/Llama-3.3-70B-Instruct, of 70.55B parameters at 16 bits" in problem.wanted
    assert resolve(uri=LLAMA_70B, base_model="meta-llama/Llama-3.3-70B-Instruct").certain


def test_nor_may_a_document_be_or_be_stored_with_fewer_bits() -> None:
    for other in ("Qwen/Qwen3-0.6B", "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"):
        document = json.dumps(load().find(other).profile())  # type: ignore[union-attr]
        problem = refused(uri=LLAMA_70B, document=document, origin="configmap:chat/mine")
        assert problem.path == "spec.model.configMapRef"


def test_a_word_for_the_checkpoint_may_not_contradict_the_uri_and_names_one_that_is_so() -> None:
    problem = refused(uri=LLAMA_70B, quantization="awq")
    assert problem.path == "spec.model.quantization"
    assert "uri: hf://RedHatAI/Llama-3.3-70B-Instruct-quantized.w4a16" in problem.fix
    assert "hf://" not in refused(uri="hf://meta-llama/Llama-3.1-405B", quantization="mxfp4").fix
    assert resolve(uri="hf://Qwen/Qwen3-32B-FP8", quantization="fp8").certain


@pytest.mark.parametrize("at", [{"uri": f"{LLAMA_70B}@awq"}, {"uri": LLAMA_70B, "revision": "awq"}])
def test_at_a_revision_it_may_be_true_but_is_not_certain(at: dict[str, Any]) -> None:
    found = resolve(**at, quantization="awq")
    assert not found.certain
    assert found.architecture is not None


def test_a_revision_does_not_hide_the_model() -> None:
    assert resolve(uri="hf://Qwen/Qwen3-8B@main").source is ModelSource.CATALOGUE


@pytest.mark.parametrize(
    "uri",
    [
        f"{LLAMA_70B}@main",
        f"{LLAMA_70B}@",
        f"{LLAMA_70B}/",
        f"{LLAMA_70B} ",
        f"{LLAMA_70B}\u200b",
        LLAMA_70B.upper().replace("HF://", "hf://"),
        LLAMA_70B.replace("hf://", "hf://huggingface.co/"),
        LLAMA_70B.replace("hf://", "hf://./"),
        LLAMA_70B.replace("/Llama", "//Llama"),
    ],
)
def test_no_spelling_of_a_uri_hides_the_model_that_is_there(uri: str) -> None:
    assert refused(uri=uri, base_model="Qwen/Qwen3-0.6B").path == "spec.model.baseModel"


@pytest.mark.parametrize("revision", ["main", "HEAD", "refs/heads/main", " "])
def test_the_default_revision_is_the_one_that_the_catalogue_knows(revision: str) -> None:
    problem = refused(uri=LLAMA_70B, revision=revision, quantization="awq")
    assert problem.path == "spec.model.quantization"


@pytest.mark.parametrize("behind", ["?x=1", "#x", ":main", "/original", "/resolve/main/a.gguf"])
def test_what_stands_behind_an_id_makes_another_model_possible_but_not_certain(behind: str) -> None:
    assert not resolve(uri=LLAMA_70B + behind, base_model="Qwen/Qwen3-0.6B").certain


def test_what_a_document_leaves_unknown_is_as_the_catalogue_knows_it_at_the_uri() -> None:
    entry = load().find(LLAMA_70B.removeprefix("hf://"))
    assert entry is not None
    strange = {**entry.config, "quantization_config": {"quant_method": "magic", "bits": 1}}
    found = resolve(uri=LLAMA_70B, document=json.dumps(strange), origin="configmap:chat/mine")
    assert found.certain
    assert found.architecture == entry.architecture


def test_a_problem_of_a_document_says_which_kind_of_value_it_has_and_not_the_value() -> None:
    entry = load().find(LLAMA_70B.removeprefix("hf://"))
    assert entry is not None
    for value in ("hunter2", ["hunter2"], {"hunter2": 1}):
        problem = refused(document=json.dumps({**entry.config, "hidden_size": value}), origin="x")
        assert "hunter2" not in str(problem)
        assert problem.given in ("a text", "a list", "a mapping")


def test_a_name_that_nobody_knows_is_unknown_and_never_guessed() -> None:
    found = resolve(uri="hf://acme/our-finetune")
    assert found.source is ModelSource.UNKNOWN
    assert found.architecture is None


def test_a_size_alone_is_a_size() -> None:
    found = resolve(uri="pvc://models/mine", parameters=70 * 10**9, bits=16)
    assert (found.source, found.parameters) == (ModelSource.PARAMETERS, 70 * 10**9)


def test_an_unknown_base_model_is_refused_with_the_nearest() -> None:
    with pytest.raises(Unresolved) as caught:
        resolve(base_model="Qwen/Qwenn3-32B")
    (problem,) = worded(caught.value.placed(PLACES))
    assert problem.path == "spec.model.baseModel"
    assert "Qwen/Qwen3-32B" in problem.fix


def test_a_word_for_the_checkpoint_changes_its_size_and_its_digest() -> None:
    plain = resolve(uri="hf://acme/tuned", base_model="Qwen/Qwen3-8B")
    quantized = resolve(uri="hf://acme/tuned", base_model="Qwen/Qwen3-8B", quantization="awq")
    assert plain.architecture is not None
    assert quantized.architecture is not None
    assert stored_bytes(quantized.architecture) < stored_bytes(plain.architecture) / 2
    assert plain.digest != quantized.digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        "NaN",
        '{"a": 1, "a": 2}',
        "[" * 100_000,
        "{}",
        '{"model_type": 5}',
        json.dumps({"format": FORMAT}),
        json.dumps({"format": "other"}),
        "x" * (MAX_DOCUMENT + 1),
        '{"model_type": "llama", "hidden_size": -1, "num_hidden_layers": 1e400}',
    ],
)
def test_a_document_that_is_no_model_is_refused_with_its_path(text: str) -> None:
    with pytest.raises(Unresolved) as caught:
        resolve(document=text, origin="configmap:chat/mine")
    assert all(
        p.path.startswith("spec.model.configMapRef") for p in worded(caught.value.placed(PLACES))
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("password=hunter2;user=root", "line 1, column 1"),
        ('{"a": 1,\n "password": hunter2}', "line 2, column 14"),
        ('["hunter2"]', "no JSON object"),
        ('"hunter2"', "no JSON object"),
        ('{"hunter2": 1, "hunter2": 2}', "a key that stands twice"),
    ],
)
def test_what_is_wrong_with_a_document_is_said_without_its_text(text: str, place: str) -> None:
    with pytest.raises(Unresolved) as caught:
        resolve(document=text, origin="configmap:chat/mine")
    said = str(worded(caught.value.placed(PLACES)))
    assert place in said
    assert "hunter2" not in said


def test_a_copy_of_which_only_the_name_is_known_has_weights_between_two_sizes() -> None:
    copy = load().find("RedHatAI/gemma-4-31B-it-FP8-dynamic")
    model = load().find("google/gemma-4-31B-it")
    assert copy is not None
    assert model is not None
    assert copy.architecture.parameters == model.architecture.parameters
    assert copy.architecture.quantization is not None
    assert copy.architecture.quantization.by_name
    assert "recipes" in copy.source
    least, most = spread_by_name(copy.architecture)
    assert 0.8 < least < 1 < most < 1.4
    known = load().find("Qwen/Qwen3-32B-FP8")
    assert known is not None
    assert spread_by_name(known.architecture) == (Fraction(1), Fraction(1)), (
        "its config names what it leaves alone"
    )


@pytest.mark.parametrize("name", ["Qwen/Qwen3.6-27B-FP8", "Qwen/Qwen3-Next-80B-A3B-Instruct-FP8"])
def test_a_copy_of_a_maker_who_stores_all_alike_has_its_blocks_and_one_size(name: str) -> None:
    copy = load().find(name)
    assert copy is not None
    held = copy.architecture.quantization
    assert held is not None
    assert held.default is not None
    assert (held.default.group_out, held.default.group_in) == (128, 128)
    assert not held.by_name
    assert spread_by_name(copy.architecture) == (Fraction(1), Fraction(1))


def test_a_repository_of_gguf_files_holds_files_of_2_to_16_bits() -> None:
    copy = load().find("unsloth/Qwen3.5-27B-GGUF")
    assert copy is not None
    assert not copy.architecture.assumed
    assert spread_by_name(copy.architecture) == (Fraction(1, 8), Fraction(1))


def test_every_copy_is_of_a_model_of_the_catalogue_and_says_where_it_was_seen() -> None:
    copies = [entry for entry in load() if entry.word]
    assert len(load()) >= 500
    assert len(copies) >= 300
    assert {entry.source.partition("@")[0].partition(" ")[0] for entry in copies} == {
        "github:xorbitsai/inference",
        "github:vllm-project/recipes",
        "github:vllm-project/vllm",
        "github:modelscope/ms-swift",
        "github:AlexsJones/llmfit",
        "ids",
    }
    for entry in copies:
        quantization = entry.architecture.quantization
        assert quantization is not None, entry.id
        assert quantization.by_name or quantization.ignored, entry.id


@pytest.mark.parametrize(
    ("name", "elements", "scales"),
    [
        ("RedHatAI/Llama-3.2-1B-Instruct-FP8-dynamic", 1_498_859_520, 16 * 23_552),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8", 8_030_261_696, 32 * 7 * 2),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", 401_649_841_664, 24 * 128 * 21_504),
    ],
)
def test_the_scales_of_a_copy_say_what_it_leaves_alone(
    name: str, elements: int, scales: int
) -> None:
    """elements: stored, as the hub counts them (llmfit, hf_models.json); scales: among them."""
    copy = load().find(name)
    assert copy is not None
    a, quantization = copy.architecture, copy.architecture.quantization
    assert quantization is not None
    assert a.parameters + scales == elements
    tensors = [*a.outside, *(t for block in a.blocks for t in block.tensors)]
    experts = any(t.part is Part.EXPERTS for t in tensors)
    stored = sum(
        t.elements
        for t in tensors
        if t.linear and scheme_of(quantization, module_of(t), t) is not None
    )
    quantized = [t for t in tensors if t.part in ((Part.EXPERTS,) if experts else LAYERS)]
    assert stored == sum(t.elements for t in quantized if t.linear)


def test_the_catalogue_is_read_in_a_blink_and_parses_no_model_unasked() -> None:
    load.cache_clear()
    start = time.perf_counter()
    entries = list(load())
    assert time.perf_counter() - start < 0.5
    assert not any("architecture" in entry.__dict__ for entry in entries)


def test_the_checkpoints_of_a_model_are_those_that_a_look_at_every_entry_finds() -> None:
    models = load()
    several = 0
    for entry in islice(models, 0, None, 7):
        short = entry.id.lower().rpartition("/")[2]
        looked = [
            other
            for other in models
            if (
                other.of == entry.id
                if other.of
                else other.id.lower().rpartition("/")[2].startswith(short)
            )
        ]
        assert models.alike(entry, short) == looked
        several += len(looked) > 2
    assert several > 10


def test_a_variant_has_the_context_that_it_states() -> None:
    known = load()
    for entry in known:
        stated = entry.own.get("text_config", entry.own).get("max_position_embeddings")
        if stated is not None:
            assert entry.architecture.max_model_len == stated, entry.id
    larger = known.find("zai-org/GLM-4.6V")
    assert larger is not None
    assert larger.architecture.max_model_len == 131_072
    assert larger.architecture.heads == 96


def test_what_a_config_says_of_a_projector_is_not_held_against_its_language_model() -> None:
    text: dict[str, Any] = {"num_hidden_layers": 2, "hidden_size": 256, "num_attention_heads": 4}
    text |= {"model_type": "llama", "intermediate_size": 512, "vocab_size": 1024}
    config = {"architectures": ["UltravoxModel"], "model_type": "ultravox", "hidden_size": 4096}
    read = architecture({**config, "torch_dtype": "bfloat16", "text_config": text})
    assert read.hidden_size == 256
    with pytest.raises(Invalid, match=r"the same as text_config\.num_hidden_layers"):
        architecture({**config, "num_hidden_layers": 80, "text_config": text})


def test_a_copy_in_groups_of_32_is_cut_where_groups_of_128_cannot_be() -> None:
    entry = load().find("cyankiwi/Qwen3-30B-A3B-Instruct-2507-AWQ-4bit")
    assert entry is not None
    assert entry.architecture.quantization is not None
    assert entry.architecture.quantization.method == "compressed-tensors"
    faults = engine("vllm").problems(
        entry.architecture, EngineSettings(name="vllm"), Parallelism(4), None
    )
    assert not faults, [str(one) for one in faults]
