"""Claims about decisions on real models, real GPUs and vLLM's memory model, end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from controlplane.nodes import gpu_node
from plimsoll.accelerators import catalogue
from plimsoll.decision.changes import apply
from plimsoll.decision.decide import decide
from plimsoll.decision.request import Request, Wanted
from plimsoll.decision.verdict import Capacity, Decision, Reason
from plimsoll.engines.base import AskedSplit, EngineSettings, Lora, Speculative, TermName, Workload
from plimsoll.engines.llama_cpp.settings import LlamaCppOptions
from plimsoll.inventory.nodes import read_nodes
from plimsoll.models.catalogue import load
from plimsoll.models.resolve import resolve
from plimsoll.report import messages
from plimsoll.report.nodes import nodes_message, placement_reason
from plimsoll.units import GIB
from plimsoll.workloads.llmdeployment import PLACES
from worded import changes_in, problems_in, warnings_in

if TYPE_CHECKING:
    from plimsoll.inventory.pools import Inventory

LLAMA = "meta-llama/Llama-3.3-70B-Instruct"


def asking(
    name: str,
    workload: Workload | None = None,
    length: int | None = None,
    tensor: int | None = None,
    **wanted: Any,
) -> Request:
    return Request(
        resolve(uri=f"hf://{name}"),
        EngineSettings(max_model_len=length),
        workload or Workload(),
        Wanted(**wanted, split=AskedSplit(tensor)),
        name="chat/model",
        places=PLACES,
    )


def test_a_70b_model_takes_four_a100s_of_80_gb_at_32k() -> None:
    found = decide(asking(LLAMA, length=32768, allowed=("nvidia-a100-80gb",)))
    assert found.decision is Decision.ALLOW
    assert found.placement is not None
    assert (found.placement.accelerator, found.placement.gpus_per_replica) == (
        "nvidia-a100-80gb",
        4,
    )
    assert "--tensor-parallel-size" in " ".join(found.placement.engine_args)
    assert "--gpu-memory-utilization=0.92" in found.placement.engine_args
    assert placement_reason(found.placement).startswith("smallest count that fits: 2 ")
    assert found.rule_of_thumb is not None
    assert found.rule_of_thumb.gpus == 2


def test_two_of_them_are_refused_with_the_breakdown_and_fixes_that_are_accepted() -> None:
    eight = Workload(concurrent=8)
    of = asking(LLAMA, eight, length=32768, allowed=("nvidia-a100-80gb",), tensor=2)
    found = decide(of)
    assert (found.decision, found.reason) == (Decision.DENY, Reason.NOT_ENOUGH_MEMORY)
    text = messages.denial(of, found)
    assert text.startswith(
        f"spec.engine.parallelism.tensor: Invalid value: 2: {LLAMA} does not fit on "
        "2 x nvidia-a100-80gb\n  needs "
    )
    assert "spec.engine.parallelism.tensor: 4" in text
    assert "Rule of thumb, for comparison: 169 GB" in text
    assert found.alternatives
    for alternative in found.alternatives:
        after = decide(apply(of, alternative.changes))
        assert after.decision is Decision.ALLOW, alternative.changes


def test_a_small_model_fits_one_small_gpu() -> None:
    found = decide(asking("Qwen/Qwen2.5-7B-Instruct", length=8192))
    assert found.placement is not None
    assert found.placement.gpus_per_replica == 1


@pytest.mark.parametrize(
    "name",
    [
        "meta-llama/Llama-3.1-8B-Instruct",
        "Qwen/Qwen3-30B-A3B",
        "deepseek-ai/DeepSeek-V3",
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "openai/gpt-oss-120b",
        "google/gemma-3-27b-it",
    ],
)
def test_every_kind_of_model_is_placed_and_every_alternative_holds(name: str) -> None:
    of = asking(name, length=16384)
    found = decide(of)
    assert found.decision is Decision.ALLOW, messages.summary(of, found)
    assert found.estimate is not None
    assert found.estimate.required_high <= found.estimate.usable
    for accelerator in ("nvidia-l4", "nvidia-a100-80gb", "nvidia-h100-80gb"):
        tight = replace(
            of,
            wanted=Wanted(allowed=(accelerator,), gpus_per_replica=1),
            workload=Workload(concurrent=64),
        )
        verdict = decide(tight)
        assert verdict.decision is not Decision.DENY or verdict.short_by > 0
        for alternative in verdict.alternatives:
            after = decide(apply(tight, alternative.changes))
            assert after.decision is Decision.ALLOW, (accelerator, alternative.changes)


def test_names_that_people_use_are_the_same_request() -> None:
    own = decide(asking(LLAMA, length=8192, allowed=("nvidia-a100-80gb",)))
    product = decide(asking(LLAMA, length=8192, allowed=("NVIDIA-A100-SXM4-80GB",)))
    assert product.placement == own.placement
    assert product.request_hash == own.request_hash


def test_an_unknown_accelerator_is_answered_with_names_that_are_near() -> None:
    found = decide(asking(LLAMA, allowed=("nvidia-h100-70gb",)))
    assert (found.decision, found.reason) == (Decision.WARN, Reason.UNKNOWN_ACCELERATOR)
    assert "did you mean nvidia-h100-80gb (79.6 GiB)" in " ".join(warnings_in(found))


@pytest.mark.parametrize(
    ("selector", "gpu"),
    [
        ({"cloud.google.com/gke-accelerator": "nvidia-l4"}, "nvidia-l4"),
        ({"nvidia.com/gpu.product": "NVIDIA-L4"}, "nvidia-l4"),
        (
            {
                "karpenter.k8s.aws/instance-gpu-name": "l4",
                "karpenter.k8s.aws/instance-gpu-memory": "22888",
            },
            "nvidia-l4",
        ),
        ({"node.kubernetes.io/instance-type": "Standard_NC64as_T4_v3"}, "nvidia-t4"),
        ({"node.kubernetes.io/instance-type": "g6.12xlarge"}, "nvidia-l4"),
    ],
)
def test_a_selector_that_names_a_gpu_means_that_gpu(selector: dict[str, str], gpu: str) -> None:
    labels = tuple(selector.items())
    found = decide(asking(LLAMA, length=8192, gpus_per_replica=2, node_selector=labels))
    assert found.decision is Decision.DENY
    assert found.accelerator == gpu
    assert all(a.accelerator == gpu for a in found.alternatives)


def test_a_selector_that_names_no_gpu_narrows_nothing() -> None:
    free = asking(LLAMA, length=8192, node_selector=(("topology.kubernetes.io/zone", "a"),))
    assert decide(free).accelerator == decide(asking(LLAMA, length=8192)).accelerator


def test_heads_that_do_not_divide_are_a_problem_at_the_field() -> None:
    found = decide(asking(LLAMA, tensor=3))
    assert [p.path for p in problems_in(found)] == ["spec.engine.parallelism.tensor"]
    assert "64" in problems_in(found)[0].wanted


def test_every_accelerator_of_the_table_is_answered_for() -> None:
    for accelerator in catalogue.everything():
        found = decide(asking(LLAMA, length=4096, allowed=(accelerator.name,)))
        small = accelerator.mig_of or not accelerator.usual
        assert found.decision is not Decision.DENY or small, accelerator.name
        assert found.accelerator == accelerator.name or found.problems, accelerator.name


def test_advice_names_the_uri_of_another_checkpoint_if_the_catalogue_has_one() -> None:
    found = decide(asking(LLAMA, length=8192, allowed=("nvidia-a100-80gb",), gpus_per_replica=1))
    uri = "spec.model.uri: hf://RedHatAI/Llama-3.3-70B-Instruct-quantized.w4a16"
    assert uri in [changes_in(alternative) for alternative in found.alternatives]


def test_layers_that_llama_cpp_leaves_in_main_memory_are_said_to_need_room_there() -> None:
    layers = LlamaCppOptions(gpu_layers="0")
    of = asking(LLAMA, length=8192, allowed=("nvidia-l4",), gpus_per_replica=1)
    found = decide(replace(of, engine=EngineSettings("llama.cpp", options=layers)))
    assert found.decision is Decision.ALLOW
    assert "the node must have room for it" in " ".join(warnings_in(found))


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm", "tgi"])
@pytest.mark.parametrize(
    ("dtype", "doubted"), [("foo", True), ("fp8_e5m2", False), ("auto", False)]
)
def test_a_kind_of_cache_that_no_engine_has_is_doubted_or_refused(
    engine: str, dtype: str, doubted: bool
) -> None:
    of = asking(LLAMA, length=8192, allowed=("nvidia-h200-141gb",))
    found = decide(replace(of, engine=EngineSettings(engine, kv_cache_dtype=dtype)))
    if doubted and engine in ("vllm", "sglang", "tgi"):  # their words are known by release
        assert (found.decision, found.reason) == (Decision.DENY, Reason.INVALID_SPEC)
    elif (engine, dtype) != ("tensorrt-llm", "fp8_e5m2"):
        said = warnings_in(found)
        assert any("no kind of KV cache" in sentence for sentence in said) is doubted


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"quant_method": "magic"}, "by a method or with bits that are not known here"),
        ({"quant_method": "gptq", "bits": 1}, "by a method or with bits that are not known here"),
        (
            {"quant_method": "fp8", "ignored_layers": ["re:(?!a)b"]},
            "1 of the rules by which its config names quantized weights cannot be read here",
        ),
    ],
)
def test_what_of_a_config_was_not_read_is_said(quantization: dict[str, Any], words: str) -> None:
    entry = load().find(LLAMA)
    assert entry is not None
    config = json.dumps({**entry.config, "quantization_config": quantization})
    model = resolve(document=config, origin="x")
    said = " ".join(warnings_in(decide(replace(asking(LLAMA), model=model))))
    assert words in said
    assert "model type" not in said


def test_a_revision_that_would_fit_if_it_is_as_described_is_let_in_with_a_warning() -> None:
    of = asking(LLAMA, length=8192, allowed=("nvidia-a100-80gb",), gpus_per_replica=1)
    at_revision = resolve(uri=f"hf://{LLAMA}", revision="awq", quantization="awq")
    found = decide(replace(of, model=at_revision))
    assert (found.decision, found.reason) == (Decision.WARN, Reason.UNKNOWN_MODEL)
    assert "whether it is so at the revision that is asked for is not known" in " ".join(
        warnings_in(found)
    )
    assert "if the model is as it is described" in messages.fits_message(of, found)
    assert "within the estimate's error" not in " ".join(messages.warning(of, found))


OFFLOADING = EngineSettings(max_model_len=8192, cpu_offload=200 * GIB)


def hosts(memory: str) -> Inventory:
    """One node with eight H100 that says so much of its own memory; nothing if that is empty."""
    node = gpu_node("h", "h100-80gb")
    node["status"]["allocatable"] = {**node["status"]["allocatable"], "memory": memory}
    return read_nodes([node])


def offloading() -> Request:
    of = asking(LLAMA, allowed=("nvidia-h100-80gb",), gpus_per_replica=1)
    return replace(of, engine=OFFLOADING)


def test_weights_in_host_memory_are_told_of_unless_the_nodes_say_that_they_have_it() -> None:
    told = [text for text in warnings_in(decide(offloading(), hosts(""))) if "host memory" in text]
    assert told == [
        "spec.engine.cpuOffload: takes 134571Mi of host memory on every node, "
        "which is not known to be there"
    ]
    enough = decide(offloading(), hosts("2000Gi"))
    assert enough.capacity is Capacity.AVAILABLE
    assert [text for text in warnings_in(enough) if "host memory" in text] == []


def test_a_node_without_that_host_memory_is_not_used_and_never_the_reason_of_a_refusal() -> None:
    small = decide(offloading(), hosts("64Gi"))
    assert small.decision is decide(offloading()).decision is Decision.ALLOW
    assert small.capacity is Capacity.NO_NODES
    assert "its nodes have 65536Mi of host memory, cpuOffload takes 134571Mi" in nodes_message(
        small
    )


def test_nodes_that_come_and_go_move_the_placement_and_never_the_decision() -> None:
    of = asking(LLAMA, length=32768, allowed=("nvidia-a100-80gb", "nvidia-h100-80gb"))
    a100, h100 = gpu_node("a", "a100-80gb"), gpu_node("h", "h100-80gb")
    alone, both = decide(of, read_nodes([a100])), decide(of, read_nodes([a100, h100]))
    none = decide(of, read_nodes([]))
    assert alone.placement is not None
    assert both.placement is not None
    assert dict(alone.placement.node_selector) == {
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"
    }
    assert both.placement.accelerator == "nvidia-h100-80gb"
    assert (alone.capacity, none.capacity) == (Capacity.AVAILABLE, Capacity.NO_NODES)
    assert {v.decision for v in (alone, both, none)} == {Decision.ALLOW}
    assert len({v.request_hash for v in (alone, both, none)}) == 1


def serving(engine: EngineSettings, model: str = "meta-llama/Llama-3.1-8B-Instruct") -> Request:
    """On one L4 of 24 GB, where there is little to spare."""
    wanted = Wanted(allowed=("nvidia-l4",), split=AskedSplit(tensor=1))
    return Request(
        resolve(uri=f"hf://{model}"), engine, Workload(), wanted, name="chat/model", places=PLACES
    )


def ways_out(of: Request) -> list[str]:
    found = decide(of).alternatives
    for alternative in found:
        assert decide(apply(of, alternative.changes)).decision is Decision.ALLOW
    return [changes_in(a) for a in found]


def test_too_many_adapters_are_advised_down_to_as_many_as_fit() -> None:
    def at(slots: int) -> Request:
        return serving(EngineSettings(max_model_len=8192, lora=Lora(slots, 64)))

    (found,) = [s for s in ways_out(at(16)) if s.startswith("spec.engine.lora.maxLoras: ")]
    most = int(found.split(": ")[1])
    assert decide(at(most)).decision is Decision.ALLOW
    assert decide(at(most + 1)).decision is not Decision.ALLOW


def test_a_draft_that_does_not_fit_beside_the_model_is_advised_away() -> None:
    draft = Speculative("draft_model", "meta-llama/Llama-3.2-1B-Instruct", 3)
    of = serving(EngineSettings(max_model_len=16384, speculative=draft))
    assert decide(of).decision is Decision.DENY
    assert ways_out(of)[0] == "without spec.engine.speculative"


def test_a_tower_that_does_not_fit_is_advised_away_only_if_nobody_spoke_of_images() -> None:
    unsaid = EngineSettings(max_model_len=16384)
    text = "spec.workload.imagesPerPrompt: 0"
    assert text in ways_out(serving(unsaid, "Qwen/Qwen3-VL-8B-Instruct"))
    wanted = serving(replace(unsaid, images=2), "Qwen/Qwen3-VL-8B-Instruct")
    assert decide(wanted).decision is not Decision.ALLOW
    assert text not in ways_out(wanted)


def test_videos_that_take_gigabytes_at_start_up_are_advised_away_before_images_are() -> None:
    name = "Qwen/Qwen2.5-VL-7B-Instruct"
    less = EngineSettings(utilization=Decimal("0.85"))
    wanted = Wanted(("nvidia-a100-40gb",), split=AskedSplit(tensor=1))
    of = replace(serving(less, name), wanted=wanted)
    found = decide(of)
    assert found.decision is Decision.DENY
    assert found.estimate is not None
    peak = found.estimate.terms[TermName.ACTIVATION]
    assert peak.basis == "1 video of 114,688 tokens in the encoder"
    ways = ways_out(of)
    videos, images = (f"spec.workload.{what}PerPrompt: 0" for what in ("videos", "images"))
    assert ways.index(videos) < ways.index(images)


def test_graphs_beyond_all_that_was_measured_refuse_nothing() -> None:
    """DeepSeek-V4-Pro started so: https://github.com/vllm-project/recipes/issues/381."""
    of = asking("deepseek-ai/DeepSeek-V4-Pro", length=800_000, allowed=("nvidia-h200-141gb",))
    settings = replace(
        of.engine,
        version="0.20",
        kv_cache_dtype="fp8",
        utilization=Decimal("0.95"),
        max_num_seqs=512,
        max_num_batched_tokens=512,
    )
    split = AskedSplit(tensor=1, data=8, expert=True)
    wanted = replace(of.wanted, gpus_per_replica=8, split=split)
    found = decide(replace(of, engine=settings, wanted=wanted))
    assert (found.decision, found.reason) == (Decision.WARN, Reason.WITHIN_ERROR)
