"""Adapters, drafts, offload and images in a manifest: typed fields, flags, and both together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.decision.decide import decide
from plimsoll.engines.base import Lora, Speculative, TermName
from plimsoll.units import GIB
from plimsoll.workloads.llmdeployment import NoDocuments, request
from worded import problems_in

QWEN = "hf://Qwen/Qwen3-8B"


def manifest(
    engine: dict[str, Any] | None = None, workload: dict[str, Any] | None = None, uri: str = QWEN
) -> dict[str, Any]:
    spec = {
        "model": {"uri": uri},
        "engine": engine or {},
        "workload": workload or {},
        "accelerator": {"allowed": ["nvidia-h100-80gb"]},
    }
    return {"metadata": {"name": "a", "namespace": "b"}, "spec": spec}


def test_typed_fields_say_what_the_flags_say() -> None:
    typed = request(
        manifest(
            {
                "lora": {"maxLoras": 4, "maxRank": 32},
                "speculative": {"method": "ngram", "tokens": 3},
                "cpuOffload": "4Gi",
            },
            {"imagesPerPrompt": 2},
        ),
        NoDocuments(),
    )
    flags = [
        "--enable-lora",
        "--max-loras=4",
        "--max-lora-rank=32",
        "--cpu-offload-gb=4",
        '--speculative-config={"method": "ngram", "num_speculative_tokens": 3}',
        '--limit-mm-per-prompt={"image": 2}',
    ]
    said = request(manifest({"extraArgs": flags}), NoDocuments())
    assert typed.problems == said.problems == ()
    assert typed.engine == said.engine
    assert typed.engine.lora == Lora(4, 32)
    assert typed.engine.speculative == Speculative("ngram", "", 3)
    assert (typed.engine.cpu_offload, typed.engine.images) == (4 * GIB, 2)
    assert decide(typed).request_hash == decide(said).request_hash


@pytest.mark.parametrize(
    ("workload", "limits"),
    [
        ({"imagesPerPrompt": 0}, (0, 0)),
        ({"imagesPerPrompt": 0, "videosPerPrompt": 1}, (0, 1)),
        ({"imagesPerPrompt": 2}, (2, None)),
        ({"videosPerPrompt": 0}, (None, 0)),
    ],
)
def test_no_images_means_no_videos_unless_they_are_asked_for(
    workload: dict[str, int], limits: tuple[int | None, int | None]
) -> None:
    engine = request(manifest({}, workload), NoDocuments()).engine
    assert (engine.images, engine.videos) == limits


def test_the_estimate_has_a_line_for_the_slots_and_the_flags_run_them() -> None:
    verdict = decide(request(manifest({"lora": {"maxLoras": 2}}), NoDocuments()))
    assert verdict.estimate is not None
    assert verdict.estimate.terms[TermName.LORA].bytes > 0
    assert verdict.placement is not None
    assert {"--enable-lora", "--max-loras=2"} <= set(verdict.placement.engine_args)


@pytest.mark.parametrize(
    ("engine", "workload", "path"),
    [
        ({"lora": {"maxRank": 24}}, {}, "spec.engine.lora.maxRank"),
        ({"speculative": {"tokens": 3}}, {}, "spec.engine.speculative"),
        ({"speculative": {"method": "ngram"}}, {}, "spec.engine.speculative.tokens"),
        ({"lora": {"maxLoras": 0}}, {}, "spec.engine.lora.maxLoras"),
        ({"cpuOffload": "4GB"}, {}, "spec.engine.cpuOffload"),
        ({}, {"imagesPerPrompt": -1}, "spec.workload.imagesPerPrompt"),
        ({}, {"videosPerPrompt": -1}, "spec.workload.videosPerPrompt"),
        ({"lora": {}, "extraArgs": ["--no-enable-lora"]}, {}, "spec.engine.extraArgs[0]"),
        ({"name": "sglang", "lora": {}}, {}, "spec.engine.lora"),
        ({"name": "tgi", "cpuOffload": "4Gi"}, {}, "spec.engine.cpuOffload"),
        ({"name": "llama.cpp"}, {"imagesPerPrompt": 1}, "spec.workload.imagesPerPrompt"),
    ],
)
def test_what_cannot_be_is_said_at_its_field(
    engine: dict[str, Any], workload: dict[str, Any], path: str
) -> None:
    verdict = decide(request(manifest(engine, workload), NoDocuments()))
    assert path in [problem.path for problem in problems_in(verdict)]


def test_a_size_alone_is_never_refused_if_weights_may_lie_on_the_host() -> None:
    def decision(engine: dict[str, Any]) -> str:
        made = manifest(engine)
        made["spec"]["model"] = {"parameters": "405B"}
        made["spec"]["accelerator"]["gpusPerReplica"] = 1
        return str(decide(request(made, NoDocuments())).decision)

    assert decision({}) == "deny"
    assert decision({"cpuOffload": "800Gi"}) == "warn"


def test_a_large_model_fits_with_its_weights_on_the_host() -> None:
    made = manifest(
        {"cpuOffload": "80Gi", "maxModelLen": 4096}, uri="hf://meta-llama/Llama-3.3-70B-Instruct"
    )
    made["spec"]["accelerator"]["gpusPerReplica"] = 1
    assert str(decide(request(made, NoDocuments())).decision) == "allow"


def test_requests_without_features_keep_their_hash() -> None:
    plain = decide(request(manifest(), NoDocuments()))
    again = decide(request(manifest({"extraArgs": []}), NoDocuments()))
    assert plain.request_hash == again.request_hash
    other = decide(request(manifest({"lora": {}}), NoDocuments()))
    assert other.request_hash != plain.request_hash


VALUES = st.one_of(
    st.sampled_from(["", "0", "-1", "1e9", "auto", "{}", "[]", "null", "true", "{", "a=1,b=2",
                     '{"kv_connector": []}', '{"model": {}}', '{"image": {"count": []}}',
                     '{"method": "mtp", "num_speculative_tokens": 999999999}', "99999999999999"]),
    st.text(max_size=12),
)  # fmt: skip


@pytest.mark.sweep
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "--enable-lora",
                    "--max-loras",
                    "--max-lora-rank",
                    "--lora-dtype",
                    "--runner",
                    "--lora-target-modules",
                    "--speculative-config",
                    "--spec-model",
                    "--spec-tokens",
                    "--limit-mm-per-prompt",
                    "--cpu-offload-gb",
                    "--offload-group-size",
                    "-dcp",
                    "--offload-num-in-group",
                    "--num-gpu-blocks-override",
                    "--kv-transfer-config",
                    "--speculative-config.method",
                    "--task",
                    "--language-model-only",
                ]
            ),
            VALUES,
            st.booleans(),
        ),
        max_size=5,
    )
)
def test_no_flag_of_a_feature_ever_crashes_a_decision(
    uses: list[tuple[str, str, bool]],
) -> None:
    args = [f"{flag}={value}" if joined else flag for flag, value, joined in uses]
    assert decide(request(manifest({"extraArgs": args}), NoDocuments())).decision
