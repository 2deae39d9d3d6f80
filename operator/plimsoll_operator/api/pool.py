"""The spec of an AcceleratorPool: fields and descriptions, from which its CRD is made.

It must not read one; `plimsoll.inventory.declared` does, and a test holds the two together.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from plimsoll.inventory import declared
from plimsoll.workloads.spec import LabelKey, LabelValue

KIND: Final = declared.KIND
PLURAL: Final = "acceleratorpools"


class TaintSpec(BaseModel):
    """A taint as nodes have it."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="forbid")

    key: LabelKey = Field(description="Key of the taint.")
    value: LabelValue | None = Field(None, description="Its value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        description="What it does to pods that do not tolerate it."
    )


class AcceleratorPoolSpec(BaseModel):
    """Nodes that a provisioner or a person may add."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="forbid")

    accelerator: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description="Kind of GPU: a name from Plimsoll's accelerator table (`plimsoll "
        "accelerators`), e.g. nvidia-h100-80gb."
    )
    gpus_per_node: Annotated[int, Field(ge=1, le=1024)] = Field(description="GPUs of one node.")
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=16)] | None = Field(
        None,
        description="Labels that new nodes will have, all of which a placement selects by, e.g. "
        "cloud.google.com/gke-nodepool: h100. Unset: the labels of that GPU in the dialect that "
        "the cluster's other nodes speak, if there is one.",
    )
    taints: Annotated[list[TaintSpec], Field(max_length=16)] | None = Field(
        None,
        description="Taints that new nodes will have. Those that only keep pods without a GPU off "
        "are tolerated; any other only if an LLMDeployment names it. Unset: none.",
    )
    max_nodes: Annotated[int, Field(ge=1, le=100000)] | None = Field(
        None, description="Nodes that the pool may have at most. Unset: not known."
    )
    price_per_hour: (
        Annotated[str, Field(pattern=r"^[0-9]{1,7}(\.[0-9]{1,6})?$", max_length=14)] | None
    ) = Field(
        None,
        description='Price of one node an hour as a decimal, e.g. "98.32", in one currency for '
        "all pools: what accelerator.prefer: Cheapest goes by. Unset: not known.",
    )
    spot: bool | None = Field(
        None, description="Whether nodes may be taken away at any time. Unset: no."
    )
