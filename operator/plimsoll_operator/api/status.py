"""The status of an LLMDeployment: fields and descriptions, from which the CRD is made.

It must not fill a status; `plimsoll_operator.controller.status` does, and a test holds the two
together.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


def _camel(name: str) -> str:
    return to_camel(name).replace("Gpu", "GPU").replace("totalGpus", "totalGPUs")


class Status(BaseModel):
    """What all parts of the status have in common."""

    model_config = ConfigDict(alias_generator=_camel, frozen=True, extra="forbid")


Size = Annotated[str, Field(max_length=32)]


class Condition(Status):
    """One aspect of the state, as the Kubernetes API conventions have it."""

    type: Annotated[str, Field(max_length=316)] = Field(
        description="Ready, ModelResolved, Fits, CapacityAvailable; Applied where output.mode has "
        "it run; Verified where verification asks for it; Overridden, Reconciling and Stalled only "
        "while true."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    observed_generation: int | None = Field(None, description="Generation that it was found on.")
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] = Field(
        description="When the status last changed."
    )
    reason: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="Why, in one word."
    )
    message: Annotated[str, Field(max_length=32768)] = Field(
        description="Why, in a sentence with figures."
    )


class PerGPU(Status):
    """Memory of one GPU in MiB: needs rounded up, possessions rounded down."""

    physical: Size | None = Field(None, description="What the GPU has.")
    usable: Size | None = Field(None, description="What the engine may use of it.")
    required: Size | None = Field(None, description="What the worst rank needs: the sum below.")
    required_low: Size | None = Field(None, description="The least that it may turn out to need.")
    required_high: Size | None = Field(
        None, description="The most that it may turn out to need: a placement holds that."
    )
    weights: Size | None = Field(None, description="Weights of that rank.")
    kv_cache: Size | None = Field(None, description="KV cache for what must be held at once.")
    activation: Size | None = Field(None, description="Peak of activations while profiling.")
    non_torch: Size | None = Field(None, description="Buffers outside the framework's allocator.")
    cuda_graphs: Size | None = Field(None, description="Captured CUDA graphs.")
    states: Size | None = Field(
        None,
        description="Recurrent states of all sequences, where the engine keeps them beside its "
        "cache.",
    )
    runner: Size | None = Field(
        None, description="What the engine's model runner keeps beside the weights."
    )
    lora: Size | None = Field(None, description="Slots for LoRA adapters, where there are some.")
    draft: Size | None = Field(
        None, description="Weights and buffers of a draft model, where there is one."
    )
    after_cache: Size | None = Field(
        None,
        description="Not in the sum: what is needed once the cache is taken, such as CUDA graphs "
        "that the engine does not count.",
    )
    left_after_cache: Size | None = Field(
        None, description="What the engine's share and its cache leave for that."
    )
    loading: Size | None = Field(
        None, description="Not in the sum: the peak while weights are loaded, if it may be more."
    )


class SplitStatus(Status):
    """How one replica is spread."""

    tensor: int | None = Field(None, description="Tensor parallel size.")
    pipeline: int | None = Field(None, description="Pipeline parallel size.")
    data: int | None = Field(None, description="Data parallel size.")
    expert: bool | None = Field(None, description="Whether experts lie whole on one rank.")


class EstimateStatus(Status):
    """What one GPU of a replica needs."""

    estimator_version: str | None = Field(None, description="Version of the estimator.")
    request_hash: str | None = Field(
        None,
        description="Hash of spec, resolved model, constants and policy: equal hashes, equal "
        "verdicts, wherever they were given.",
    )
    model_source: str | None = Field(None, description="What the model was resolved from.")
    max_concurrent_sequences: int | None = Field(
        None, description="Sequences of maxModelLen that the KV cache can hold at once."
    )
    state_blocks: int | None = Field(
        None,
        description="Blocks of the cache, where a model with recurrent layers needs one for each "
        "of maxNumSeqs sequences.",
    )
    kv_cache_tokens: int | None = Field(
        None, description="Tokens that the KV cache of a replica can hold."
    )
    engine_version: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="Version of the engine that it is for."
    )
    gpu_memory_utilization: Size | None = Field(
        None, description="Share of the GPU's memory that the engine takes."
    )
    accelerator: Annotated[str, Field(max_length=253)] | None = Field(
        None,
        description="Kind of GPU that it is for: the placement's, or the nearest that was tried "
        "where nothing fits.",
    )
    gpus_per_replica: int | None = Field(
        None, alias="gpusPerReplica", description="GPUs of one replica that it is for."
    )
    parallelism: SplitStatus | None = Field(None, description="How they are split.")
    need_per_gpu: Size | None = Field(
        None,
        alias="needPerGPU",
        description="perGPU.required for people, in GiB, rounded up to tenths.",
    )
    have_per_gpu: Size | None = Field(
        None,
        alias="havePerGPU",
        description="perGPU.usable for people, in GiB, rounded down to tenths.",
    )
    per_gpu: PerGPU | None = Field(None, alias="perGPU", description="Memory of one GPU.")
    notes: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=16)] | None = (
        Field(None, description="What was assumed on the way, in sentences.")
    )
    rule_of_thumb: Size | None = Field(
        None,
        description="For comparison, what the rule of thumb gives for the whole replica, in "
        "decimal GB: parameters x bits / 8 x 1.2. It knows no context and no concurrency.",
    )


class TolerationStatus(Status):
    """A toleration as pods have it."""

    key: str | None = Field(None, description="Key of the taint.")
    operator: str | None = Field(None, description="Exists or Equal.")
    value: str | None = Field(None, description="Value of the taint, with Equal.")
    effect: str | None = Field(None, description="Effect of the taint; every one where empty.")


class PlacementStatus(Status):
    """Where one replica runs: enough to run it."""

    accelerator: str | None = Field(None, description="Kind of GPU, by Plimsoll's name.")
    gpus_per_replica: int | None = Field(
        None, alias="gpusPerReplica", description="GPUs of one replica."
    )
    nodes_per_replica: int | None = Field(None, description="Nodes of one replica.")
    total_gpus: int | None = Field(None, alias="totalGPUs", description="GPUs of all replicas.")
    parallelism: SplitStatus | None = Field(None, description="How a replica is spread.")
    resources: dict[str, str] | None = Field(
        None, description="Extended resources that each pod of a replica asks for."
    )
    node_selector: dict[str, str] | None = Field(
        None, description="Labels of the nodes; empty while no node is there to read them from."
    )
    tolerations: list[TolerationStatus] | None = Field(
        None, description="Tolerations for the taints of those nodes."
    )
    engine_args: list[str] | None = Field(
        None,
        description="The engine's flags. The share of the GPU's memory is among them where the "
        "engine has a flag for it: its default differs from release to release.",
    )
    on_nodes: bool | None = Field(
        None,
        description="Whether nodes with these labels were seen when it was chosen. It then "
        "stays until the spec changes or it no longer fits, whatever nodes come and go.",
    )
    topology_key: str | None = Field(
        None,
        description="Label of which the nodes of a replica should share a value: the narrowest "
        "level of Kueue's Topologies that has enough nodes.",
    )
    price_per_hour: Size | None = Field(
        None, description="Price of one replica an hour, where an AcceleratorPool says one."
    )
    reason: str | None = Field(None, description="Why this placement.")


class PodStatus(Status):
    """What each pod of a replica needs beside GPUs."""

    memory: Size | None = Field(None, description="Host memory, /dev/shm in it.")
    cpu: Size | None = Field(None, description="CPUs.")
    shared_memory: Size | None = Field(
        None, description="At /dev/shm, where it is more than a container has anyway."
    )
    storage: Size | None = Field(
        None, description="Disk for the checkpoint and what lies beside it."
    )
    start_seconds: int | None = Field(
        None, description="Seconds that a start may take, for the start-up probe."
    )
    reasons: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=8)] | None = (
        Field(None, description="Why each is so, in a sentence with figures.")
    )


class ChangeStatus(Status):
    """One field to change."""

    path: str = Field(description="Path of the field from spec on.")
    value: str = Field(description="The value to give it.")


class AlternativeStatus(Status):
    """Changes that, made together, make it fit."""

    changes: list[ChangeStatus] | None = Field(None, description="The changes, made together.")
    accelerator: str | None = Field(None, description="Kind of GPU after them.")
    gpus_per_replica: int | None = Field(
        None, alias="gpusPerReplica", description="GPUs of one replica after them."
    )
    required_per_gpu: Size | None = Field(
        None, alias="requiredPerGPU", description="Need per GPU after them."
    )
    usable_per_gpu: Size | None = Field(
        None, alias="usablePerGPU", description="Usable memory per GPU after them."
    )
    available: bool | None = Field(None, description="Whether nodes for it are there today.")


class ObjectStatus(Status):
    """One object that runs, of this namespace."""

    api_version: Annotated[str, Field(max_length=253)] = Field(description="Its apiVersion.")
    kind: Annotated[str, Field(max_length=63)] = Field(description="Its kind.")
    name: Annotated[str, Field(max_length=253)] = Field(description="Its name.")


class WorkloadStatus(Status):
    """What was made of the placement, where output.mode asks for it."""

    mode: Annotated[str, Field(max_length=16)] | None = Field(
        None, description="The mode in which it was made."
    )
    objects: Annotated[list[ObjectStatus], Field(max_length=8)] | None = Field(
        None, description="The objects that are there, the workload first."
    )


class DryStartStatus(Status):
    """What the engine's own start-up said without a GPU, where verification asks for it."""

    key: Annotated[str, Field(max_length=64)] = Field(
        description="Hash of image, harness, arguments, config and GPU: of another the engine is "
        "asked anew."
    )
    outcome: Literal["Starts", "Refused", "Unknown"] = Field(
        description="Starts: it came to its end. Refused: the engine itself said no. Unknown: "
        "neither was learned."
    )
    image: Annotated[str, Field(max_length=512)] | None = Field(None, description="Image that ran.")
    image_id: Annotated[str, Field(max_length=512)] | None = Field(
        None, alias="imageID", description="Its digest, as the node resolved it."
    )
    engine_version: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="Version that the engine gave itself."
    )
    reached: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="How far it came: config, model, profile, cache, allocation, end."
    )
    message: Annotated[str, Field(max_length=1024)] | None = Field(
        None, description="The engine's words, or why nothing was learned."
    )
    place: Annotated[str, Field(max_length=1024)] | None = Field(
        None, description="Where in the engine's code."
    )
    weights: Size | None = Field(None, description="Weights of a rank by its own count.")
    kv_cache_tokens: int | None = Field(
        None, description="Tokens that its cache holds, CUDA's own memory not counted."
    )
    tries: int | None = Field(None, description="How often nothing was learned.")


class LLMDeploymentStatus(Status):
    """What Plimsoll found. Written by the controller only."""

    observed_generation: int | None = Field(
        None, description="Generation that this status is for; -1 before the first look."
    )
    conditions: list[Condition] | None = Field(None, description="The state, aspect by aspect.")
    estimate: EstimateStatus | None = Field(None, description="What one GPU needs, and has.")
    placement: PlacementStatus | None = Field(
        None, description="Where one replica runs; absent where it does not fit."
    )
    pod: PodStatus | None = Field(
        None, description="What each pod of the placement needs beside GPUs."
    )
    replicas: int | None = Field(
        None, description="Replicas that are there, where output.mode has them run."
    )
    ready_replicas: int | None = Field(None, description="Replicas that are available.")
    selector: Annotated[str, Field(max_length=256)] | None = Field(
        None, description="Labels of the pods, for the scale subresource."
    )
    workload: WorkloadStatus | None = Field(
        None, description="What runs, where output.mode has it run."
    )
    dry_start: DryStartStatus | None = Field(
        None, description="What the engine's own start-up said, where verification asks for it."
    )
    alternatives: Annotated[list[AlternativeStatus], Field(max_length=5)] | None = Field(
        None, description="What would make it fit, cheapest first."
    )
