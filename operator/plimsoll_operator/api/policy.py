"""The floor: a ValidatingAdmissionPolicy that holds while every process of Plimsoll is down.

It must not be cleverer than certain: weights alone, against all the memory that was asked for.
Everything finer is admission's, and nothing that admission would let in is refused here.

    refused    weights > GPUs x memory of the largest accelerator allowed
    weights    the catalogue's checkpoint for a uri or baseModel that it knows, as stored and at
               most 16 bits a parameter; else parameters x bits / 8 if those are given
    GPUs       gpusPerReplica, else tensor x pipeline x data if tensor and pipeline are given
    passed     no count or no accelerator given; warn or audit on the namespace; an update that
               changes nothing here, or adds GPUs; an override by a user who has the verb;
               anything that changes how weights are stored or loaded
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from plimsoll.accelerators import catalogue
from plimsoll.api_group import GROUP, OVERRIDE_ANNOTATION, PLURAL, POLICY_LABEL, VERSION
from plimsoll.models.catalogue import load
from plimsoll.models.storage import stored_bytes
from plimsoll.units import MIB

Json = dict[str, Any]

NAME: Final = "plimsoll-floor"
TOLERANCE: Final = 1.03
"""Memory is allowed to be this much more than the table says: drivers differ."""


def mebibytes() -> dict[str, int]:
    """MiB of each accelerator whose memory is certain, with the tolerance, by every name of it."""
    return {
        name: int(accelerator.memory * TOLERANCE) // MIB
        for name, accelerator in catalogue.load().names.items()
        if accelerator.certain
    }


def checkpoints() -> dict[str, int]:
    """MiB of the weights of each model of the catalogue, rounded down, by id and alias.

    0 if the structure is assumed. The engine loads 32-bit checkpoints as 16-bit ones.
    """
    found: dict[str, int] = {}
    for entry in load():
        architecture = entry.architecture
        if architecture.dtype == "float32":
            architecture = replace(architecture, dtype="bfloat16")
        size = 0 if architecture.assumed else stored_bytes(architecture) // MIB
        found |= {name.lower(): size for name in (entry.id, *entry.aliases)}
    return found


def _map(entries: dict[str, int]) -> str:
    """A CEL map literal."""
    return "{" + ", ".join(f"'{key}': {value}" for key, value in sorted(entries.items())) + "}"


_MODEL: Final = "object.spec.model"
_ENGINE: Final = "object.spec.?engine"
_SPLIT: Final = f"{_ENGINE}.?parallelism"
_PARSED: Final = (
    f"double({_MODEL}.parameters.replace('K','').replace('M','').replace('B','').replace('T','')) "
    f"* ({_MODEL}.parameters.endsWith('T') ? 1e12 : {_MODEL}.parameters.endsWith('B') ? 1e9 : "
    f"{_MODEL}.parameters.endsWith('M') ? 1e6 : {_MODEL}.parameters.endsWith('K') ? 1e3 : 1.0)"
)
_OWN_FILES: Final = ("llama.cpp", "generic")
"""Engines that may serve a file of fewer bits than the checkpoint of that name: the floor does not
know how many, or may keep a part of it elsewhere."""
_SAME: Final = (
    "model",
    "?engine.?quantization",
    "?engine.?dtype",
    "?engine.?extraArgs",
    "?engine.?cpuOffload",
    "?engine.?parallelism",
    "?workload.?imagesPerPrompt",
    "?workload.?videosPerPrompt",
    "?accelerator.?allowed",
)
"""Parts of the spec which, left as they were, leave the weights and each GPU's memory alone."""

VARIABLES: Final = {
    "relaxed": "namespaceObject.metadata.?labels[?"
    f"'{POLICY_LABEL}'].orValue('').lowerAscii() in ['warn', 'audit']",
    "noWorse": "has(object.metadata.deletionTimestamp) || (oldObject != null && "
    + " && ".join(f"object.spec.{part} == oldObject.spec.{part}" for part in _SAME)
    + " && object.spec.?engine.?name.orValue('vllm') == "
    "oldObject.spec.?engine.?name.orValue('vllm')"
    + " && object.spec.?accelerator.?gpusPerReplica.orValue(0) >= "
    "oldObject.spec.?accelerator.?gpusPerReplica.orValue(0))",
    "overridden": f"object.metadata.?annotations[?'{OVERRIDE_ANNOTATION}']"
    f".orValue('').trim() != '' && authorizer.group('{GROUP}').resource('{PLURAL}')"
    ".namespace(request.namespace).name(request.name).check('override').allowed()",
    "gpus": "object.spec.?accelerator.?gpusPerReplica.orValue("
    f"{_SPLIT}.?tensor.orValue(0) * {_SPLIT}.?pipeline.orValue(0) * {_SPLIT}.?data.orValue(1))",
    "allowed": "object.spec.?accelerator.?allowed.orValue([]).map(a, a.lowerAscii())",
    "plain": f"!has({_MODEL}.quantization) && !has({_MODEL}.configMapRef) && "
    f"!{_ENGINE}.?quantization.hasValue() && !{_ENGINE}.?dtype.hasValue() && "
    f"!{_ENGINE}.?extraArgs.hasValue() && !{_ENGINE}.?cpuOffload.hasValue() && "
    f"!({_ENGINE}.?name.orValue('vllm') in {list(_OWN_FILES)}) && "
    "!object.spec.?workload.?imagesPerPrompt.hasValue()",
    "named": f"(has({_MODEL}.baseModel) ? {_MODEL}.baseModel : has({_MODEL}.uri) && "
    f"{_MODEL}.uri.startsWith('hf://') ? {_MODEL}.uri.substring(5) : '').split('@')[0]"
    ".lowerAscii().replace('/', ' ').trim().replace(' ', '/')",
}
"""What the policy is made of, beside the two tables; evaluated only when needed."""


def floor_policy() -> Json:
    """The ValidatingAdmissionPolicy."""
    weights = (
        "!variables.plain ? 0.0 : variables.named in variables.checkpoints ? "
        "double(variables.checkpoints[variables.named]) : "
        f"has({_MODEL}.parameters) && !has({_MODEL}.baseModel) ? "
        f"{_PARSED} * double({_MODEL}.?bits.orValue(16)) / 8388608.0 : 0.0"
    )
    room = (
        "variables.allowed.size() > 0 && variables.allowed.all(a, a in variables.mebibytes) ? "
        "variables.gpus * variables.allowed.map(a, variables.mebibytes[a]).max() : 0"
    )
    variables = VARIABLES | {
        "mebibytes": _map(mebibytes()),
        "checkpoints": _map(checkpoints()),
        "weights": weights,
        "room": room,
    }
    fits = (
        "variables.relaxed || variables.room == 0 || variables.noWorse || "
        "variables.weights <= double(variables.room) || variables.overridden"
    )
    field = (
        "(has(object.spec.accelerator.gpusPerReplica) ? 'spec.accelerator.gpusPerReplica' : "
        "'spec.engine.parallelism')"
    )
    message = (
        f"{field} + ': Invalid value: ' + string(variables.gpus) + "
        "': the weights alone are ' + string(int(variables.weights / 1024.0)) + "
        "' GiB, more than all the memory of ' + string(variables.gpus) + ' x ' + "
        "variables.allowed.join(' or ') + '; raise it, or leave it out and Plimsoll computes it'"
    )
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "resourceRules": [
                    {
                        "apiGroups": [GROUP],
                        "apiVersions": [VERSION],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": [PLURAL],
                        "scope": "Namespaced",
                    }
                ],
            },
            "variables": [{"name": n, "expression": e} for n, e in variables.items()],
            "validations": [{"expression": fits, "messageExpression": message}],
        },
    }


def floor_binding() -> Json:
    """The binding that puts the policy in force everywhere."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": NAME},
        "spec": {"policyName": NAME, "validationActions": ["Deny"]},
    }
