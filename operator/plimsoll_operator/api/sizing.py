"""The spec and the status of a SizingPolicy: fields and descriptions, from which its CRD is made.

It must not read one; `plimsoll.workloads.sizing_policy` does, and a test holds the two together.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from plimsoll.engines import registry
from plimsoll.workloads import sizing_policy
from plimsoll.workloads.spec import LabelKey, LabelValue
from plimsoll_operator.api.status import Condition, Status

KIND: Final = sizing_policy.KIND
PLURAL: Final = "sizingpolicies"
MOST: Final = sizing_policy.MOST_LISTED
Version = Annotated[str, Field(pattern=r"^v?b?[0-9]{1,9}(\.[0-9]{1,9}){0,3}$", max_length=45)]
Gpus = Annotated[int, Field(ge=1, le=1_000_000)]


def _camel(name: str) -> str:
    return to_camel(name).replace("Gpus", "GPUs")


class Spec(BaseModel):
    """What all parts of the spec have in common."""

    model_config = ConfigDict(alias_generator=_camel, frozen=True, extra="forbid")


class Expression(Spec):
    """One condition on a label, as Kubernetes has it."""

    key: LabelKey = Field(description="Key of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="How its value relates to `values`, or whether it is there at all."
    )
    values: Annotated[list[LabelValue], Field(max_length=MOST)] | None = Field(
        None, description="Of In and NotIn, at least one; of the others none."
    )


class Selector(Spec):
    """Labels of namespaces."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=MOST)] | None = Field(
        None, description="Labels with their values, all of which a namespace carries."
    )
    match_expressions: Annotated[list[Expression], Field(max_length=MOST)] | None = Field(
        None, description="Conditions on labels, all of which hold."
    )


class SizingPolicySpec(Spec):
    """Bounds of what namespaces may ask for."""

    namespace_selector: Selector | None = Field(
        None,
        description="Namespaces to hold to it, by their labels. Unset or empty: all. Where several "
        "policies select one, the strictest holds, bound by bound.",
    )
    kinds: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=63)]],
            Field(min_length=1, max_length=MOST),
        ]
        | None
    ) = Field(
        None,
        description="Kinds to hold to it, by their names, e.g. LLMDeployment, Deployment. Other "
        "people's kinds are looked at where they are named here, or where the namespace carries "
        "plimsoll.dev/workloads. Unset: LLMDeployments, and what is looked at by that label.",
    )
    mode: Literal["enforce", "warn", "audit"] | None = Field(
        None,
        description="What is done with a denial where the namespace carries no label "
        "plimsoll.dev/policy (plimsoll.dev/workloads for other people's kinds): refuse it, warn, "
        "or record it. Of several policies the strictest. Unset: enforce, and warn for other "
        "people's kinds.",
    )
    headroom: (
        Annotated[
            str,
            Field(max_length=32, pattern=r"^([0-9]|[1-8][0-9]|90)%$|^[0-9]+(\.[0-9]+)?(Mi|Gi|Ti)$"),
        ]
        | None
    ) = Field(
        None,
        description="Memory of each GPU that stays free of what a replica needs, the estimate's "
        "error beside it: a share of the GPU's memory (10%, up to 90%) or a size (4Gi). Unset: "
        "none.",
    )
    allowed_accelerators: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=63)]],
            Field(min_length=1, max_length=MOST),
        ]
        | None
    ) = Field(
        None,
        description="Kinds of GPU that may be used: names from Plimsoll's accelerator table "
        "(`plimsoll accelerators`). A MIG slice has a name of its own. Unset: any.",
    )
    max_gpus_per_replica: Gpus | None = Field(
        None, description="GPUs that a replica may have at most. Unset: any number."
    )
    max_gpus_per_object: Gpus | None = Field(
        None,
        description="GPUs that all replicas and engines of an object may have at most, together. "
        "GPUs of a namespace are a ResourceQuota's. Unset: any number.",
    )
    oldest_engine_versions: Annotated[dict[str, Version], Field(max_length=MOST)] | None = Field(
        None,
        description='Oldest version of each engine that may run, by its name, e.g. vllm: "0.11.0". '
        "A version that cannot be read, such as the tag latest, is a warning. Unset: any.",
    )
    required_annotations: Annotated[list[LabelKey], Field(min_length=1, max_length=MOST)] | None = (
        Field(
            None,
            description="Keys of annotations that each object carries itself, e.g. cost-center. "
            "Unset: none.",
        )
    )


class PolicyCondition(Condition):
    """One aspect of the state of a policy."""

    type: Annotated[str, Field(max_length=316)] = Field(description="Accepted.")


class SizingPolicyStatus(Status):
    """What came of a policy."""

    observed_generation: int | None = Field(
        None, description="Generation of the spec that this status is of."
    )
    objects: int | None = Field(
        None,
        description="Objects that it covers: LLMDeployments, and other people's kinds as far as "
        "the controller audits them.",
    )
    refused: int | None = Field(
        None,
        description="Of those, objects whose verdict is a denial by everything that holds for "
        "them, whether they are let in or not.",
    )
    conditions: list[PolicyCondition] | None = Field(
        None, description="Accepted: whether all of the spec is read and holds."
    )


RULES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    (
        "oldestEngineVersions",
        {
            "rule": f"self.all(engine, engine in {sorted(registry.NAMES)})",
            "message": f"names of engines are {', '.join(sorted(registry.NAMES))}",
        },
    ),
    (
        "kinds",
        {
            "rule": f"self.all(kind, kind in {sorted(sizing_policy.KINDS)})",
            "message": "a kind is none that is read: `kubectl explain sizingpolicy.spec.kinds`, "
            "docs/sizing-policies.md lists them",
        },
    ),
)
"""CEL rules of fields of the spec."""
EXPRESSION_RULE: Final = {
    "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
    "message": "In and NotIn take values, Exists and DoesNotExist take none",
}
