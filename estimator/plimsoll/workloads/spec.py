"""The spec of an LLMDeployment: fields, limits and descriptions, from which the CRD is made.

Nothing is defaulted here: an unset field is None, and stays so until `decide` resolves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from plimsoll import api_group
from plimsoll.models.quantization_config import STORED_WORDS
from plimsoll.units import MAX_COUNT


@dataclass(frozen=True, slots=True)
class Form:
    """The form that a text must have, in words: stands beside its pattern."""

    words: str


Count = Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)]
Ways = Annotated[int, Field(strict=True, ge=1, le=1024)]
Flag = Annotated[bool, Field(strict=True)]
Quantity = Annotated[
    str,
    Field(strict=True, max_length=16, pattern=r"^[1-9][0-9]{0,8}(Mi|Gi)$"),
    Form("a quantity such as 40Gi or 81559Mi"),
]
Word = Annotated[
    str,
    Field(strict=True, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$"),
    Form("a word of small letters, digits, dots and dashes"),
]
PlainWord = Annotated[
    str,
    Field(strict=True, max_length=32, pattern=r"^[a-z0-9][a-z0-9_]*$"),
    Form("a word of small letters, digits and underscores"),
]
Name = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=253, pattern=api_group.NAME_FORM),
    Form("a name of small letters, digits, dots and dashes"),
]
DataKey = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=253, pattern=api_group.DATA_KEY_FORM),
    Form("a key of letters, digits, dots, dashes and underscores"),
]
LabelKey = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=317, pattern=api_group.LABEL_FORM),
    Form("a key such as zone or example.com/zone"),
]
LabelValue = Annotated[
    str,
    Field(strict=True, max_length=63, pattern=api_group.LABEL_VALUE_FORM),
    Form("letters, digits, dots, dashes and underscores, the first and the last no mark"),
]


class Spec(BaseModel):
    """What all parts of the spec have in common: camelCase, frozen, nothing unknown."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        defer_build=True,
    )


class ConfigMapRef(Spec):
    """A ConfigMap of the same namespace that holds the model's config.json or profile."""

    name: Name = Field(description="Name of the ConfigMap, in the namespace of this object.")
    key: DataKey | None = Field(
        None,
        description="Key in it. Unset: the first there is of config.json, profile.json and "
        "model.json.",
    )


class ModelSpec(Spec):
    """What is to be served."""

    uri: (
        Annotated[
            str,
            Field(strict=True, max_length=512, pattern=r"^(hf|oci|pvc|s3|gs|file)://.+"),
            Form("a location such as hf://org/name (also oci, pvc, s3, gs, file)"),
        ]
        | None
    ) = Field(
        None,
        description="Where the weights come from, e.g. hf://meta-llama/Llama-3.3-70B-Instruct. A "
        "Hugging Face id of the catalogue says what the model is; any other location needs "
        "baseModel or configMapRef beside it.",
    )
    revision: Annotated[str, Field(strict=True, min_length=1, max_length=128)] | None = Field(
        None, description="Branch, tag or, best, commit of the weights."
    )
    base_model: Annotated[str, Field(strict=True, min_length=1, max_length=256)] | None = Field(
        None,
        description="Catalogue id of the model with the same architecture: for fine-tunes and "
        "private copies.",
    )
    config_map_ref: ConfigMapRef | None = Field(
        None,
        description="The model's own config.json, or a profile of `plimsoll models export`.",
    )
    quantization: Word | None = Field(
        None,
        description="How the checkpoint is stored, where it differs from what the model's config "
        f"says: {', '.join(STORED_WORDS)}.",
    )
    parameters: (
        Annotated[
            str,
            Field(
                strict=True,
                max_length=16,
                pattern=r"^([0-9]{1,15}|[0-9]{1,6}(\.[0-9]{1,4})?[KMBT])$",
            ),
            Form("a parameter count such as 70B or 494M"),
        ]
        | None
    ) = Field(
        None,
        description="Number of parameters, e.g. 70B or 70553706496, where nothing else is known: "
        "the rule of thumb then decides, with a warning.",
    )
    bits: Annotated[int, Field(strict=True, ge=1, le=64)] | None = Field(
        None, description="Bits per parameter as stored, beside parameters. Unset: 16."
    )


class ParallelismSpec(Spec):
    """How one replica is spread over GPUs. What is unset is planned."""

    tensor: Ways | None = Field(None, description="Tensor parallel size. Unset: planned.")
    pipeline: Ways | None = Field(
        None, description="Pipeline parallel size, in stages. Unset: planned."
    )
    data: Ways | None = Field(None, description="Data parallel size. Unset: 1.")
    expert: Flag | None = Field(
        None, description="Whether experts lie whole on one rank (expert parallel). Unset: false."
    )


class LoraSpec(Spec):
    """Adapters that are served beside the model. Its slots are allocated when the engine starts."""

    max_loras: Ways | None = Field(
        None, description="Adapters held in GPU memory at once. Unset: the engine's default, 1."
    )
    max_rank: Ways | None = Field(
        None, description="Largest rank of an adapter. Unset: the engine's default, 16."
    )


class SpeculativeSpec(Spec):
    """Tokens guessed ahead of the model, by a draft that takes memory beside it."""

    method: PlainWord | None = Field(
        None,
        description="How they are guessed: ngram, suffix, draft_model, eagle, eagle3, mtp, medusa. "
        "Unset: follows from the model.",
    )
    model: Annotated[str, Field(strict=True, min_length=1, max_length=256)] | None = Field(
        None,
        description="Hugging Face id of the draft, e.g. Qwen/Qwen3-0.6B. Unset: the method needs "
        "none.",
    )
    tokens: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = Field(
        None, description="Tokens guessed in one step. Unset: as the draft's own config says."
    )


class EngineSpec(Spec):
    """The engine that serves, and its memory-relevant settings. Unset: the engine's default."""

    name: Literal["vllm", "sglang", "tensorrt-llm", "llama.cpp", "tgi", "generic"] | None = Field(
        None,
        description="The engine. generic: one that is not listed; only what follows from the "
        "model alone is certain then. Unset: vllm.",
    )
    version: Annotated[str, Field(strict=True, min_length=1, max_length=64)] | None = Field(
        None,
        description="Version of the engine, e.g. 0.19.0: its defaults and overheads change. "
        "Unset: the newest that Plimsoll knows.",
    )
    dtype: Word | None = Field(
        None,
        description="Type of weights and activations: auto, bfloat16, float16, float32. "
        "Unset: the model's own.",
    )
    quantization: Word | None = Field(
        None,
        description="Quantization applied while loading, e.g. fp8 or bitsandbytes. Unset: as "
        "stored.",
    )
    max_model_len: Count | None = Field(
        None, description="Longest context, in tokens. Unset: the model's maximum."
    )
    max_num_seqs: Count | None = Field(
        None,
        description="Most sequences in one step; drives the activation peak. Unset: the engine's "
        "default.",
    )
    max_num_batched_tokens: Count | None = Field(
        None,
        description="Most tokens in one step; drives the activation peak. Unset: the engine's "
        "default.",
    )
    kv_cache_dtype: PlainWord | None = Field(
        None, description="Type of the KV cache, e.g. fp8. Unset: the model's type."
    )
    kv_cache_memory: Quantity | None = Field(
        None,
        description="KV cache per GPU as a fixed amount, e.g. 20Gi; the engine then ignores "
        "gpuMemoryUtilization for it.",
    )
    gpu_memory_utilization: (
        Annotated[
            str,
            Field(strict=True, max_length=8, pattern=r"^(0\.[0-9]{1,4}|1)$"),
            Form('a share between 0 and 1 as a string, such as "0.92"'),
        ]
        | None
    ) = Field(
        None,
        description="Share of a GPU's memory that the engine may take, as a string, e.g. "
        '"0.92". Unset: the default of the engine version.',
    )
    enforce_eager: Flag | None = Field(
        None,
        description="Whether CUDA graphs are left out, which saves their memory. Unset: false.",
    )
    lora: LoraSpec | None = Field(
        None, description="LoRA adapters beside the model. Unset: none. vLLM only."
    )
    speculative: SpeculativeSpec | None = Field(
        None, description="Speculative decoding. Unset: none. vLLM only."
    )
    cpu_offload: Quantity | None = Field(
        None,
        description="Weights per GPU that lie in host memory instead, e.g. 10Gi. Unset: none. "
        "vLLM only.",
    )
    parallelism: ParallelismSpec | None = Field(
        None, description="How one replica is spread over GPUs."
    )
    extra_args: (
        Annotated[list[Annotated[str, Field(strict=True, max_length=512)]], Field(max_length=64)]
        | None
    ) = Field(
        None,
        description="Further flags in the engine's own grammar. They are read: one that "
        "contradicts a typed field is an error.",
    )


class WorkloadSpec(Spec):
    """What must be held at once. What nobody states is one request of maxModelLen."""

    concurrent_sequences: Count | None = Field(
        None, description="Sequences whose KV cache must fit at the same time. Unset: 1."
    )
    input_tokens: Count | None = Field(
        None,
        description="Tokens of one prompt. Where this or outputTokens is not given, a sequence is "
        "maxModelLen long.",
    )
    output_tokens: Count | None = Field(
        None,
        description="Tokens of one answer. Where this or inputTokens is not given, a sequence is "
        "maxModelLen long.",
    )
    images_per_prompt: Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)] | None = Field(
        None,
        description="Most images in one prompt of a model that takes some; 0: no videos either, "
        "unless videosPerPrompt says otherwise, and the vision tower is not loaded. Unset: the "
        "engine's default. vLLM only.",
    )
    videos_per_prompt: Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)] | None = Field(
        None,
        description="Most videos in one prompt of a model that takes some. The engine measures the "
        "largest video at start-up, which may take gigabytes; 0 spares them. Unset: the engine's "
        "default. vLLM only.",
    )


class TolerationSpec(Spec):
    """One taint that is tolerated, or several, as a pod says it."""

    key: LabelKey | None = Field(
        None, description="Key of the taint. Unset, with operator Exists: every key."
    )
    operator: Literal["Exists", "Equal"] | None = Field(
        None, description="How the value is compared. Unset: Equal."
    )
    value: LabelValue | None = Field(None, description="Value of the taint, with operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint. Unset: every effect."
    )


class AcceleratorSpec(Spec):
    """Which GPUs may be used, and how many. What is unset is planned; what is set is checked."""

    allowed: (
        Annotated[
            list[Annotated[str, Field(strict=True, min_length=1, max_length=63)]],
            Field(min_length=1, max_length=16),
        ]
        | None
    ) = Field(
        None,
        description="Names from Plimsoll's accelerator table (`plimsoll accelerators`), not raw "
        "labels, e.g. nvidia-a100-80gb. Unset: any.",
    )
    gpus_per_replica: Annotated[int, Field(strict=True, ge=1, le=4096)] | None = Field(
        None, description="GPUs of one replica. Unset: the smallest number that fits."
    )
    allocation: Literal["DevicePlugin", "DRA"] | None = Field(
        None,
        description="How pods get their GPUs, where output has them made. DevicePlugin: by an "
        "extended resource. DRA: by a ResourceClaimTemplate that asks for the memory needed "
        "(Kubernetes 1.34 or later, NVIDIA's driver). Unset: as the nodes give them out.",
    )
    prefer: Literal["FewestGPUs", "Smallest", "Cheapest", "FirstAvailable"] | None = Field(
        None,
        description="Which of several placements that fit is taken. FewestGPUs: fewest GPUs, then "
        "least memory. Smallest: least memory of all GPUs of a replica, then fewest GPUs. "
        "Cheapest: least price an hour, by AcceleratorPools or a list of prices; a pool that may "
        "scale up counts as if it had. FirstAvailable: the first name in allowed that has nodes. "
        "Unset: FewestGPUs.",
    )
    min_memory: Quantity | None = Field(
        None, description="Least physical memory of a GPU, e.g. 40Gi."
    )
    reserved: Quantity | None = Field(
        None,
        description="Memory of each GPU that others hold while the engine starts, e.g. 3Gi: "
        "another engine on the same card, a desktop, a monitoring agent. Unset: none.",
    )
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] | None = Field(
        None,
        description="Further labels that the nodes must carry. Labels that name a GPU leave no "
        "other of those allowed.",
    )
    memory: Quantity | None = Field(
        None,
        description="Memory of one GPU as its driver reports it, e.g. 48640Mi: for a card, a MIG "
        "slice or a vGPU profile that Plimsoll does not know, or that has another memory than the "
        "one of its name. At most one name in allowed then. Unset: the table's.",
    )
    compute_capability: (
        Annotated[
            str,
            Field(strict=True, max_length=5, pattern=r"^[1-9][0-9]?\.[0-9]$"),
            Form('a compute capability as a string, such as "8.9"'),
        ]
        | None
    ) = Field(
        None,
        description='Compute capability of a GPU whose memory is stated, e.g. "8.9". Unset: the '
        "table's, or assumed with a warning.",
    )
    family: Word | None = Field(
        None,
        description="Family of a GPU whose memory is stated: ampere, hopper, blackwell, cdna3, "
        "rdna4 ... Unset: follows from computeCapability.",
    )
    tolerations: Annotated[list[TolerationSpec], Field(max_length=16)] | None = Field(
        None,
        description="Taints that nodes may have, as in a pod. Those that only keep pods without a "
        "GPU off (nvidia.com/gpu, sku=gpu) need not be named. Unset: no other taint is tolerated.",
    )


class TokenSecretRef(Spec):
    """A Secret of the same namespace that holds the token for the models' hub."""

    name: Name = Field(description="Name of the Secret.")
    key: DataKey | None = Field(None, description="Key in it. Unset: token.")


class TargetRef(Spec):
    """A workload of the same namespace that somebody else keeps."""

    kind: Literal["Deployment", "StatefulSet", "LeaderWorkerSet"] = Field(
        description="Its kind: a LeaderWorkerSet where a replica spans nodes, else one of the "
        "others."
    )
    name: Name = Field(description="Its name.")
    container: Name | None = Field(None, description="The engine's. Unset: the only one.")
    parts: (
        Annotated[
            list[Literal["Resources", "Nodes", "Flags", "Probe", "SharedMemory"]],
            Field(min_length=1, max_length=5),
        ]
        | None
    ) = Field(
        None,
        description="What is applied onto it. Resources: GPUs, CPU and memory of the container. "
        "Nodes: selector, affinity and tolerations. Flags: command and arguments. Probe: the "
        "start-up probe. SharedMemory: a mount at /dev/shm. Unset: all of it.",
    )


class OutputSpec(Spec):
    """What is made of the placement: the objects that `plimsoll render` prints, or that run."""

    mode: Literal["Recommend", "Create", "Apply"] | None = Field(
        None,
        description="Recommend: the placement is advice in the status. Create: the controller "
        "creates, updates and removes the Deployment (or LeaderWorkerSet) and the Service that run "
        "it, if it was given the right to (the chart's workloads.create). Apply: it applies the "
        "same onto targetRef, and never forces it (workloads.apply). Unset: Recommend.",
    )
    target_ref: TargetRef | None = Field(
        None, description="With mode Apply: the workload that is to be as planned."
    )
    image: Annotated[str, Field(strict=True, min_length=1, max_length=512)] | None = Field(
        None, description="Image of the engine. Unset: the engine's own, of its version."
    )
    registry: Annotated[str, Field(strict=True, min_length=1, max_length=256)] | None = Field(
        None,
        description="Mirror that the image is pulled from in the place of its own registry, e.g. "
        "registry.example.com/mirror.",
    )
    token_secret_ref: TokenSecretRef | None = Field(
        None, description="Token for models whose licence must be accepted, as HF_TOKEN."
    )
    cache_claim: Name | None = Field(
        None,
        description="PersistentVolumeClaim that keeps what is downloaded and compiled; every "
        "replica mounts it. Unset: an emptyDir as large as the checkpoint takes.",
    )
    queue_name: LabelValue | None = Field(None, description="LocalQueue of Kueue. Unset: none.")
    read_rate: Quantity | None = Field(
        None,
        description="Bytes per second with which a pod reads the checkpoint, e.g. 1Gi: the "
        "start-up probe waits that long. Unset: 125 MB/s.",
    )
    pin: Literal["Utilization", "KVCacheBytes", "Nothing"] | None = Field(
        None,
        description="What is said outright, so that another release cannot change it. "
        "Utilization: the share of a GPU's memory. KVCacheBytes: the least cache that the estimate "
        "leaves, in bytes (vLLM from 0.10.2 on). Nothing: the engine's defaults. Unset: "
        "Utilization.",
    )
    template: dict[str, Any] | None = Field(
        None,
        description="Pod template that is laid over the one that is made, as kubectl merges them: "
        "containers by name (the engine's is engine), volumes by name, mounts by path; null "
        "removes a field.",
    )


class LLMDeploymentSpec(Spec):
    """One model, served by one engine, for one workload, on GPUs yet to be found."""

    replicas: Annotated[int, Field(strict=True, ge=0, le=10_000)] | None = Field(
        None, description="Replicas that are to run; the placement is for one. Unset: 1."
    )
    placement_policy: Literal["Stay", "Follow"] | None = Field(
        None,
        description="Stay: a placement on nodes stays as long as it fits and the spec says the "
        "same; a better one is told of in condition BetterPlacement. Follow: the best of today is "
        "taken. Unset: Stay.",
    )
    model: ModelSpec = Field(
        description="What is to be served: at least one of uri, baseModel, configMapRef and "
        "parameters says it."
    )
    engine: EngineSpec | None = Field(None, description="The engine that serves it.")
    workload: WorkloadSpec | None = Field(None, description="What must be held at once.")
    accelerator: AcceleratorSpec | None = Field(
        None, description="Which GPUs may be used, and how many."
    )
    verification: Literal["None", "DryStart"] | None = Field(
        None,
        description="DryStart: where nobody can be sure, or the model or the engine is unknown, "
        "the controller has the engine's own start-up run in a Job of this namespace, without a "
        "GPU, keeps what it said in the status and decides with it, if it was given the right to "
        "(the chart's dryStart.enabled). vLLM only. Unset: None.",
    )
    output: OutputSpec | None = Field(
        None, description="What is made of the placement. Unset: it stays advice in the status."
    )
