"""Claims about what a pod needs beside GPUs: sums that can be checked, each with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll.decision.decide import decide
from plimsoll.decision.pod import PodNeeds, Share, _figures, checkpoint_bytes, pod_needs
from plimsoll.engines.registry import NAMES
from plimsoll.report.pod import pod_dict, pod_reasons
from plimsoll.units import GIB, MIB
from plimsoll.workloads.llmdeployment import NoDocuments, request


def needs(spec: dict[str, Any], rate: int | None = None) -> PodNeeds:
    """What a pod of an LLMDeployment needs, planned without nodes."""
    asked = request({"metadata": {"name": "it"}, "spec": spec}, NoDocuments())
    found = pod_needs(asked, decide(asked), rate)
    assert found is not None
    return found


def served(model: str, gpus: int, **engine: Any) -> dict[str, Any]:
    """A spec that serves a model of the catalogue on H100s."""
    wanted = {"allowed": ["nvidia-h100-80gb"], "gpusPerReplica": gpus}
    return {"model": {"uri": f"hf://{model}"}, "engine": engine, "accelerator": wanted}


def test_two_ranks_of_vllm_get_the_2_gib_of_shared_memory_that_its_documentation_gives() -> None:
    found = needs(served("Qwen/Qwen3-32B", 2, maxModelLen=8192))
    assert found.shared == 1792 * MIB  # 1 GiB, 160 MiB and twice 240 MiB, in steps of 256
    assert found.needs_shared
    assert "sharedMemory" in pod_dict(found)
    assert any(line.startswith("/dev/shm 1.8 GiB: 2 ranks") for line in pod_reasons(found))


def test_one_rank_needs_no_mount_at_dev_shm() -> None:
    found = needs(served("Qwen/Qwen3-8B", 1, maxModelLen=8192))
    assert not found.needs_shared
    assert "sharedMemory" not in pod_dict(found)


@pytest.mark.parametrize(("gpus", "cpus"), [(1, 3), (2, 4), (8, 10)])
def test_vllm_gets_the_2_plus_n_cpus_of_its_documentation(gpus: int, cpus: int) -> None:
    assert needs(served("Qwen/Qwen3-32B", gpus, maxModelLen=8192, enforceEager=True)).cpus == cpus


def test_copies_of_the_model_have_an_engine_core_each_and_a_coordinator() -> None:
    split = {"tensor": 1, "data": 4}
    assert needs(served("Qwen/Qwen3-8B", 4, parallelism=split, maxModelLen=8192)).cpus == 10


def test_disk_and_time_to_start_follow_from_the_checkpoint_and_the_rate_that_is_given() -> None:
    spec = served("Qwen/Qwen3-32B", 2, maxModelLen=8192)
    assumed, given = needs(spec), needs(spec, rate=10**9)
    assert assumed.checkpoint == 65_524_246_528  # the index of its safetensors files
    assert assumed.disk == 66 * GIB
    assert (assumed.start, given.start) == (600 + 525, 600 + 66)
    assert any("at 125 MB/s (assumed)" in line for line in pod_reasons(assumed))
    assert any("at 1,000 MB/s (given)" in line for line in pod_reasons(given))


def test_offloaded_weights_and_caches_of_images_lie_in_host_memory() -> None:
    plain = needs(served("Qwen/Qwen3-32B", 2, maxModelLen=8192))
    offloaded = needs(served("Qwen/Qwen3-32B", 2, maxModelLen=8192, cpuOffload="10Gi"))
    assert offloaded.memory_bytes - plain.memory_bytes == 20 * GIB
    spec = served("Qwen/Qwen2.5-VL-7B-Instruct", 1, maxModelLen=8192)
    images = dict(needs(spec).memory)
    assert images[Share.MEDIA] == 2 * 4 * GIB  # of the API server and of the engine core
    text_alone = dict(needs(spec | {"workload": {"imagesPerPrompt": 0}}).memory)
    assert Share.MEDIA not in text_alone


def test_a_size_alone_is_enough_for_the_checkpoint_and_a_name_alone_is_not() -> None:
    wanted = {"allowed": ["nvidia-h100-80gb"]}
    sized = {"model": {"parameters": "70B", "bits": 8}, "accelerator": wanted}
    assert needs(sized).checkpoint == 70_000_000_000
    unknown = request({"spec": {"model": {"uri": "hf://nobody/knows"}}}, NoDocuments())
    assert checkpoint_bytes(unknown.model) is None


def test_every_figure_says_where_it_is_from() -> None:
    def leaves(node: dict[str, Any], path: str) -> list[str]:
        if "source" in node:
            return [] if node["source"] and node["known"] in ("documented", "assumed") else [path]
        parts = {key: value for key, value in node.items() if isinstance(value, dict)}
        return [line for key, value in parts.items() for line in leaves(value, f"{path}/{key}")]

    figures = _figures()
    assert leaves(figures, "") == []
    assert set(figures["engines"]) == set(NAMES)
