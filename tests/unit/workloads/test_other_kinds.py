"""Claims about the kinds that people run already: what is read of each, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from plimsoll.cli.check import command
from plimsoll.cli.fix import command as fix
from plimsoll.workloads.kinds import KINDS

if TYPE_CHECKING:
    from click.testing import Result

MANIFESTS = Path(__file__).parent / "manifests"
EXPECTED: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (MANIFESTS / "expected.yaml").read_text(encoding="utf-8")
)
L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}


def check(*documents: Any, options: tuple[str, ...] = ()) -> Result:
    """Check documents as they come through a pipe."""
    text = yaml.safe_dump_all(documents, sort_keys=False)
    return CliRunner().invoke(command, ["-", *options], input=text)


def results(*documents: Any) -> list[dict[str, Any]]:
    """What is said of each engine in documents, as data."""
    answer = check(*documents, options=("-o", "json"))
    assert answer.exit_code in (0, 1), answer.output
    found: list[dict[str, Any]] = json.loads(answer.stdout)["results"]
    return found


def deployment(**container: Any) -> dict[str, Any]:
    """A Deployment of one container on L4."""
    one = {"name": "engine", "image": "vllm/vllm-openai:v0.11.0", **container}
    one.setdefault("resources", {"limits": {"nvidia.com/gpu": 1}})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat"},
        "spec": {"template": {"spec": {"nodeSelector": L4, "containers": [one]}}},
    }


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_of_each_kind_is_read_what_its_manifest_says(name: str) -> None:
    text = (MANIFESTS / name).read_text(encoding="utf-8")
    answer = CliRunner().invoke(command, ["-", "-o", "json"], input=text)
    found = json.loads(answer.stdout)["results"]
    wanted = EXPECTED[name]
    assert [
        {key: one[key] for key in want} for one, want in zip(found, wanted, strict=True)
    ] == wanted


def test_every_kind_of_the_table_is_shown_at_work() -> None:
    texts = [(MANIFESTS / name).read_text(encoding="utf-8") for name in EXPECTED]
    documents = [one for text in texts for one in yaml.safe_load_all(text)]
    documents += [item for one in documents for item in one.get("items", ())]
    shown = {one["kind"] for one in documents if "kind" in one}
    assert {kind.name for kind in KINDS} - shown == {"LLMDeployment"}


def test_a_deployment_is_refused_at_its_own_fields_with_ways_out() -> None:
    answer = check(deployment(args=["--model", "Qwen/Qwen3-14B", "--max-model-len=8192"]))
    assert answer.exit_code == 1
    assert "Qwen/Qwen3-14B does not fit on 1 x nvidia-l4" in answer.stdout
    assert "spec.template.spec.containers[0].resources.limits[nvidia.com/gpu]: 2" in answer.stdout
    assert "spec.template.spec.containers[0].args --tensor-parallel-size: 2" in answer.stdout


def test_a_deployment_that_fits_says_so() -> None:
    answer = check(deployment(args=["--model", "Qwen/Qwen3-4B", "--max-model-len=8192"]))
    assert (answer.exit_code, "fits" in answer.stdout) == (0, True)


def test_fewer_gpus_than_ranks_are_refused() -> None:
    (one,) = results(deployment(args=["--model", "Qwen/Qwen3-4B", "-tp", "2"]))
    assert (one["decision"], one["rules"]) == ("deny", ["PL128", "PL130"])
    assert "told to use tensor 2 = 2 GPUs, and a replica has 1; give each pod 2" in one["message"]


def test_the_gpus_of_several_pods_are_spoken_of_as_such() -> None:
    text = (MANIFESTS / "groups.yaml").read_text(encoding="utf-8")
    group = next(yaml.safe_load_all(text))
    group["spec"]["leaderWorkerTemplate"]["size"] = 1
    assert "a replica has 8; give each pod 16" in results(group)[0]["message"]
    group["spec"]["leaderWorkerTemplate"]["size"] = 3
    assert any("[nvidia.com/gpu] times 3 pods: 8 of 24" in w for w in results(group)[0]["warnings"])


def test_more_gpus_than_ranks_are_a_warning() -> None:
    resources = {"limits": {"nvidia.com/gpu": 4}}
    (one,) = results(deployment(args=["--model", "Qwen/Qwen3-4B"], resources=resources))
    assert (one["decision"], one["rules"]) == ("allow", ["PL129"])


def test_without_a_kind_of_gpu_nothing_fits_for_sure() -> None:
    obj = deployment(args=["--model", "Qwen/Qwen3-4B"])
    del obj["spec"]["template"]["spec"]["nodeSelector"]
    (one,) = results(obj)
    assert (one["decision"], one["reason"]) == ("warn", "NotAllRead")
    assert any("a nodeSelector settles it" in warning for warning in one["warnings"])


def test_what_fits_on_no_gpu_is_refused_without_a_kind_of_gpu() -> None:
    obj = deployment(args=["--model", "meta-llama/Llama-3.1-405B-Instruct"])
    del obj["spec"]["template"]["spec"]["nodeSelector"]
    (one,) = results(obj)
    assert (one["decision"], one["reason"]) == ("deny", "NotEnoughMemory")


@pytest.mark.parametrize("resources", [{}, {"limits": {"nvidia.com/gpu": 0}}])
def test_without_gpus_nothing_is_certain(resources: dict[str, Any]) -> None:
    for model in ("Qwen/Qwen3-4B", "meta-llama/Llama-3.1-405B-Instruct"):
        (one,) = results(deployment(args=["--model", model], resources=resources))
        assert (one["decision"], one["reason"]) == ("warn", "NotAllRead")


def test_a_variable_without_a_value_makes_a_warning_of_any_verdict() -> None:
    for model in ("Qwen/Qwen3-4B", "Qwen/Qwen3-32B"):
        args = ["--model", model, "--max-model-len", "$(LENGTH)"]
        (one,) = results(deployment(args=args))
        assert (one["decision"], one["reason"]) == ("warn", "NotAllRead")
        place = "spec.template.spec.containers[0].args[2]"
        assert one["unreadable"] == [f"--max-model-len $(LENGTH) ({place})"]


def test_a_model_that_is_read_off_a_path_is_said_to_be() -> None:
    (one,) = results(deployment(args=["--model", "/models/Qwen/Qwen3-4B"]))
    assert (one["decision"], one["model"]) == ("warn", "/models/Qwen/Qwen3-4B")
    assert one["resolvedModel"]["name"] == "Qwen/Qwen3-4B"
    assert any("is taken for Qwen/Qwen3-4B" in warning for warning in one["warnings"])


@pytest.mark.parametrize(
    ("args", "decision"),
    [
        (["-m", "/models/Qwen3-4B-Q4_K_M.gguf"], "warn"),
        (["-hf", "unsloth/Qwen3-4B-GGUF:Q4_K_M"], "allow"),
        (["-m", "/models/qwen/Qwen3-4B-UD-Q4_K_XL-00001-of-00002.gguf"], "warn"),
    ],
)
def test_a_gguf_file_is_known_by_its_name_and_its_repository_for_sure(
    args: list[str], decision: str
) -> None:
    (one,) = results(deployment(image="ghcr.io/ggml-org/llama.cpp:server-b6500", args=args))
    assert (one["engine"], one["resolvedModel"]["name"]) == ("llama.cpp", "Qwen/Qwen3-4B")
    assert (one["decision"], one["estimate"] is not None) == (decision, True)


def test_an_annotation_says_for_sure_what_a_path_holds() -> None:
    obj = deployment(args=["--model", "/models/ours"])
    obj["metadata"]["annotations"] = {"plimsoll.dev/base-model": "Qwen/Qwen3-4B"}
    (one,) = results(obj)
    assert (one["decision"], one["resolvedModel"]["source"]) == ("allow", "FromBaseModel")


def test_a_config_of_a_private_model_is_found_by_annotation() -> None:
    config = {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
        "torch_dtype": "bfloat16",
    }
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "ours"},
        "data": {"config.json": json.dumps(config)},
    }
    obj = deployment(args=["--model", "/models/ours"])
    obj["metadata"]["annotations"] = {"plimsoll.dev/config-map": "ours"}
    (one,) = results(config_map, obj)
    assert one["resolvedModel"]["source"] == "FromConfig"
    assert one["estimate"] is not None
    (one,) = results(obj)
    assert (one["decision"], one["reason"]) == ("warn", "UnknownModel")


def test_a_version_that_no_table_covers_is_said_and_not_refused() -> None:
    (one,) = results(deployment(image="vllm/vllm-openai:v0.4.0", args=["--model", "Qwen/Qwen3-4B"]))
    assert (one["decision"], one["engineVersion"]) == ("warn", "0.4.0")
    assert "vllm 0.4.0 is older than what is modelled here" in one["unreadable"]


@pytest.mark.parametrize(
    "image", ["vllm/vllm-openai:latest", "vllm/vllm-openai@sha256:" + 64 * "a"]
)
def test_an_image_without_a_version_is_said_to_have_none(image: str) -> None:
    (one,) = results(deployment(image=image, args=["--model", "Qwen/Qwen3-4B"]))
    assert one["engineVersion"] is None
    assert [text for text in one["unreadable"] if text.startswith("engine version: ")]


@pytest.mark.parametrize(
    "container",
    [
        {"image": "nginx:1.27"},
        {"image": "vllm/vllm-openai:v0.11.0", "command": ["sleep", "infinity"]},
        {"image": "vllm/vllm-openai:v0.11.0", "command": ["bash", "-c", "echo vllm serve x.sh"]},
        {"image": "lmcache/lmstack-router:v0.1", "args": ["--model", "Qwen/Qwen3-4B"]},
        {"image": "python:3.12", "command": ["python", "-m", "http.server"]},
        {"image": None, "args": None, "command": None},
    ],
)
def test_what_serves_no_llm_is_not_reported(container: dict[str, Any]) -> None:
    answer = check(deployment(**container))
    assert answer.exit_code == 0
    assert answer.stdout.startswith("nothing to check: 1 object, and none serves an LLM")
    assert check(deployment(**container), options=("--require",)).exit_code == 1


def test_what_helm_rendered_is_placed_in_its_template() -> None:
    rendered = yaml.safe_dump(deployment(args=["--model", "Qwen/Qwen3-4B"]))
    templates = ["chat/templates/a.yaml", "chat/templates/b.yaml"]
    text = "".join(f"---\n# Source: {name}\n{rendered}" for name in templates)
    answer = CliRunner().invoke(command, ["-", "-o", "json"], input=text)
    assert [one["source"] for one in json.loads(answer.stdout)["results"]] == templates


def test_a_switch_with_a_value_is_refused_only_of_releases_that_surely_take_none() -> None:
    arguments = ["--model=Qwen/Qwen3-4B", "--max-model-len=4096", "--enable-chunked-prefill=false"]
    decided = {}
    for tag in ("v0.7.3", "v0.11.0", "latest"):
        (one,) = results(deployment(image=f"vllm/vllm-openai:{tag}", args=arguments))
        decided[tag] = (one["decision"], one["rules"])
    place = "spec.template.spec.containers[0].args[2]"
    assert "PL403" not in decided["v0.7.3"][1]
    assert decided["v0.11.0"] == ("deny", ["PL403"])
    assert decided["latest"] == ("warn", [])
    assert (
        f"--enable-chunked-prefill=false ({place}): not every release takes a value there"
        in (one["unreadable"])
    )


@pytest.mark.parametrize(("ranks", "decision"), [("2", "warn"), ("8", "warn"), ("16", "deny")])
def test_a_board_of_several_cores_may_run_a_rank_on_each(ranks: str, decision: str) -> None:
    asked = {"limits": {"aws.amazon.com/neuron": 1}}
    arguments = ["--model=Qwen/Qwen3-4B", f"--tensor-parallel-size={ranks}"]
    obj = deployment(args=arguments, resources=asked)
    del obj["spec"]["template"]["spec"]["nodeSelector"]
    (one,) = results(obj)
    assert (one["decision"], one["gpusPerPod"], one["tensor"]) == (decision, 1, int(ranks))


def test_what_names_an_accelerator_without_a_memory_model_is_not_judged_on_another() -> None:
    obj = deployment(
        image="vllm/vllm-tpu:latest",
        args=["--model=meta-llama/Llama-3.1-70B", "--tensor-parallel-size=8"],
        resources={"limits": {"google.com/tpu": 8}},
    )
    place = "spec.template.spec.nodeSelector"
    obj["spec"]["template"]["spec"]["nodeSelector"] = {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice"
    }
    answer = check(obj)
    assert (answer.exit_code, "nvidia" in answer.stdout) == (0, False)
    assert f'{place}: "google-tpu-v6e" is not in the table of accelerators' in answer.stdout


def test_a_sidecar_is_no_fault() -> None:
    obj = deployment(args=["--model", "Qwen/Qwen3-4B"])
    obj["spec"]["template"]["spec"]["containers"].insert(0, {"name": "proxy", "image": "envoy:1"})
    (one,) = results(obj)
    assert (one["decision"], one["model"]) == ("allow", "Qwen/Qwen3-4B")


def test_what_another_of_the_objects_made_is_judged_once() -> None:
    whole = deployment(args=["--model", "Qwen/Qwen3-14B", "--max-model-len=8192"])
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat", "controller": True}
    part = {**whole, "kind": "ReplicaSet"}
    part["metadata"] = {"name": "chat-5c", "ownerReferences": [owner]}
    answer = json.loads(check(part, whole, options=("-o", "json")).stdout)
    assert [one["kind"] for one in answer["results"]] == ["Deployment"]
    assert answer["madeByOthers"] == 1
    assert [one["kind"] for one in results(part)] == ["ReplicaSet"]


def test_a_pod_of_a_group_is_judged_with_all_pods_of_the_group() -> None:
    spec = deployment(args=["--model", "Qwen/Qwen3-14B", "--max-model-len=8192", "-tp=1", "-pp=2"])[
        "spec"
    ]["template"]["spec"]
    notes = {"leaderworkerset.sigs.k8s.io/size": "2"}
    leader = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "chat-0"}, "spec": spec}
    group = {**leader, "metadata": {"name": "chat-0", "annotations": notes}}
    (alone,), (together,) = results(leader), results(group)
    assert (alone["decision"], together["decision"]) == ("deny", "allow")
    assert (together["podsPerReplica"], together["gpusPerReplica"]) == (2, 2)


def test_a_folder_that_is_kept_for_other_tools_is_forgiven(tmp_path: Path) -> None:
    files = {
        "Chart.yaml": "apiVersion: v2\nname: chart\n",
        "kustomization.yaml": "resources: [a.yaml]\n",
        "values.yaml": "logLevel: info\n",
        "templates.yaml": "apiVersion: v1\nkind: {{ .Kind }}\n  {{- end }}\n",
        "broken.yaml": "a: [\n",
        "empty.yaml": "",
        "good.yaml": yaml.safe_dump(deployment(args=["--model", "Qwen/Qwen3-4B"])),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    answer = CliRunner().invoke(command, [str(tmp_path), "-o", "json"])
    data = json.loads(answer.stdout)
    assert (answer.exit_code, data["passedOver"], len(data["results"])) == (0, 6, 1)
    assert CliRunner().invoke(command, [str(tmp_path / "broken.yaml")]).exit_code == 2


def test_a_broken_object_of_kubernetes_is_an_error_in_a_folder_too(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: apps/v1\nkind: Deployment\nspec: [\n")
    assert CliRunner().invoke(command, [str(tmp_path)]).exit_code == 2


def test_variables_that_are_not_at_hand_make_a_warning_of_any_verdict_of_an_engine_they_tell() -> (
    None
):
    tgi = "ghcr.io/huggingface/text-generation-inference:3.3.4"
    source = [{"configMapRef": {"name": "settings"}}]
    whole = deployment(image=tgi, args=["--model-id", "Qwen/Qwen3-4B"], envFrom=source)
    (one,) = results(whole)
    place = "spec.template.spec.containers[0].envFrom[0]"
    assert f"the variables of ConfigMap settings ({place})" in one["unreadable"]
    assert (one["decision"], one["reason"]) == ("warn", "NotAllRead")
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
    assert results({**settings, "data": {}}, whole)[0]["unreadable"] == []
    secret = {"secretKeyRef": {"name": "keys", "key": "shards"}}
    env = [{"name": "NUM_SHARD", "valueFrom": secret}, {"name": "HF_TOKEN", "valueFrom": secret}]
    (one,) = results(deployment(image=tgi, args=["--model-id", "Qwen/Qwen3-4B"], env=env))
    assert [text.partition(" (")[0] for text in one["unreadable"]] == ["variable NUM_SHARD"]


def test_vllm_takes_no_settings_from_variables_that_it_is_not_told_of() -> None:
    source = [{"configMapRef": {"name": "settings"}}]
    (one,) = results(deployment(args=["--model", "Qwen/Qwen3-4B"], envFrom=source))
    assert (one["decision"], one["unreadable"]) == ("allow", [])


TOO_LARGE = ["--model=Qwen/Qwen3-8B", "--max-model-len=40960"]
"""Arguments with which a model does not fit on one L4, and would with less context."""


def test_a_pipeline_is_shown_the_argument_at_fault_and_what_to_write_there(tmp_path: Path) -> None:
    file = tmp_path / "chat.yaml"
    file.write_text(yaml.safe_dump(deployment(args=TOO_LARGE), sort_keys=False), encoding="utf-8")
    answer = CliRunner().invoke(command, [str(file), "-o", "sarif"])
    (result,) = json.loads(answer.stdout)["runs"][0]["results"]
    assert (answer.exit_code, result["ruleId"]) == (1, "PL001")
    assert result["message"]["text"].startswith("Qwen/Qwen3-8B does not fit on 1 x nvidia-l4")
    written = [
        replacement["insertedContent"]["text"]
        for way_out in result["fixes"]
        for change in way_out["artifactChanges"]
        for replacement in change["replacements"]
    ]
    assert any(text.isdecimal() for text in written)


def test_a_rule_can_be_ignored_for_an_object_of_another_kind() -> None:
    obj = deployment(args=TOO_LARGE)
    obj["metadata"]["annotations"] = {"plimsoll.dev/ignore": "PL001: sized by hand"}
    answer = check(obj)
    assert answer.exit_code == 0
    assert "PL001 ignored: sized by hand" in answer.stdout


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("sarif", '"results": []'),
        ("junit", 'tests="0"'),
        ("github", ""),
        ("markdown", "0 objects checked"),
    ],
)
def test_a_pipeline_with_nothing_to_check_gets_an_empty_report(output: str, wanted: str) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat"}}
    answer = check(service, options=("-o", output))
    assert (answer.exit_code, wanted in answer.stdout) == (0, True)
    assert check(service, options=("-o", output, "--require")).exit_code == 1


def test_fix_writes_a_way_out_for_each_engine_of_an_object(tmp_path: Path) -> None:
    one = deployment(args=TOO_LARGE)["spec"]["template"]
    roles = [{"name": name, "replicas": 1, "template": one} for name in ("prefill", "decode")]
    obj = {
        "apiVersion": "orchestration.aibrix.ai/v1alpha1",
        "kind": "StormService",
        "metadata": {"name": "chat"},
        "spec": {"template": {"spec": {"roles": json.loads(json.dumps(roles))}}},
    }
    file = tmp_path / "chat.yaml"
    file.write_text(yaml.safe_dump(obj, sort_keys=False), encoding="utf-8")
    assert CliRunner().invoke(command, [str(file)]).exit_code == 1
    answer = CliRunner().invoke(fix, [str(file)])
    assert answer.exit_code == 0, answer.output
    assert CliRunner().invoke(command, [str(file)]).exit_code == 0


def test_in_a_list_an_object_is_told_from_another_kind_of_the_same_name(tmp_path: Path) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat"}}
    file = tmp_path / "all.yaml"
    for kind, key in (("List", "items"), ("Template", "objects")):
        whole = {"apiVersion": "v1", "kind": kind, key: [service, deployment(args=TOO_LARGE)]}
        file.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
        answer = CliRunner().invoke(fix, [str(file)])
        assert answer.exit_code == 0, answer.output
        before, after = yaml.safe_load(file.read_text(encoding="utf-8"))[key]
        assert (before, after["kind"]) == (service, "Deployment")


SETS = """\
FLAGS="--disable-uvicorn-access-log"
if [ "$(date)" = x ]; then FLAGS="{other}"; fi
eval "exec vllm serve Qwen/Qwen3-4B ${{FLAGS}} $@"
"""


@pytest.mark.parametrize(
    ("other", "unreadable"),
    [
        ("", 0),
        ("--disable-log-requests", 0),
        ("--max-model-len 131072", 1),
        ("$UNHEARD_OF", 1),
        ("word", 1),
    ],
)
def test_a_flag_that_nobody_knows_to_be_set_matters_only_if_memory_hangs_on_it(
    other: str, unreadable: int
) -> None:
    command = ["bash", "-c", SETS.format(other=other), "--"]
    (found,) = results(deployment(command=command))
    assert found["model"] == "Qwen/Qwen3-4B"
    assert len(found["unreadable"]) == unreadable, found["unreadable"]
    assert [one for one in found["unreadable"] if "FLAGS" not in one] == []


T4 = {"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"}


@pytest.mark.parametrize(
    ("image", "args", "nodes"),
    [
        ("v0.10.0", ["--model=google/gemma-7b-AWQ", "--quantization=awq"], L4),
        ("v0.8.5", ["--model=google/gemma-7b-AWQ", "--max-model-len=1024"], T4),
        (
            "v0.6.1",
            ["--model=deepseek-ai/deepseek-coder-33b-instruct", "--max-model-len=17000"],
            L4,
        ),
    ],
)
def test_what_a_copys_own_config_says_is_not_refused_for_what_the_models_says(
    image: str, args: list[str], nodes: dict[str, str]
) -> None:
    obj = deployment(image=f"vllm/vllm-openai:{image}", args=args)
    obj["spec"]["template"]["spec"]["nodeSelector"] = nodes
    (one,) = results(obj)
    assert not {"PL252", "PL254", "PL303"} & set(one["rules"])


@pytest.mark.parametrize(
    ("context", "tag", "decision"),
    [("16384", "latest", "warn"), ("16384", "v0.33.0", "deny"), ("131072", "latest", "deny")],
)
def test_a_refusal_that_hangs_on_the_release_is_a_warning_where_nobody_says_which(
    context: str, tag: str, decision: str
) -> None:
    model = "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"
    args = [f"--model={model}", f"--max-model-len={context}", "--kv-cache-dtype=fp8"]
    args += ["--gpu-memory-utilization=0.92", "--max-num-batched-tokens=16384"]
    obj = deployment(image=f"vllm/vllm-openai:{tag}", args=args)
    labels = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    obj["spec"]["template"]["spec"]["nodeSelector"] = labels
    (one,) = results(obj)
    assert one["decision"] == decision
    said = "nothing says which release of the engine runs"
    assert any(said in warning for warning in one["warnings"]) is (decision == "warn")
