"""The floor: a ValidatingAdmissionPolicy that holds while every process of Plimsoll is down.

It must not be cleverer than certain: weights alone, against all the memory that was asked for.
Everything finer is admission's, and nothing that admission would let in is refused here.

    refused    weights > GPUs x memory of the largest accelerator allowed
    weights    the catalogue's checkpoint for a uri that it knows, else for a baseModel, as stored
               and at most 16 bits a parameter; else parameters x bits / 8 if those are given
    GPUs       gpusPerReplica, else tensor x pipeline x data if tensor and pipeline are given
    passed     no count or no accelerator given; warn or audit on the namespace; an update that
               changes nothing here, or adds GPUs; an override by a user who has the verb;
               anything that may make weights smaller while they are loaded, and what is said of
               how they are stored unless the catalogue knows it of that very uri
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import plimsoll.engines.sglang.settings
import plimsoll.engines.tensorrt_llm.settings
import plimsoll.engines.tgi.settings
import plimsoll.engines.vllm.arguments
from plimsoll.accelerators import catalogue
from plimsoll.api_group import GROUP, OVERRIDE_ANNOTATION, PLURAL, POLICY_LABEL, VERSION
from plimsoll.engines.flags import OF_LENGTH, FlagRole
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

    0 if the structure is assumed. The engine loads 32-bit checkpoints as 16-bit ones. Copies of
    which only the name says how they are stored are left to admission.
    """
    found: dict[str, int] = {}
    for entry in load():
        if entry.word:
            continue
        architecture = entry.architecture
        if architecture.dtype == "float32":
            architecture = replace(architecture, dtype="bfloat16")
        size = 0 if architecture.assumed else stored_bytes(architecture) // MIB
        found |= {name.lower(): size for name in (entry.id, *entry.aliases)}
    return found


def shrinking_flags() -> tuple[str, ...]:
    """Flags of the engines that the floor judges which may make the weights of a GPU smaller.

    Those of each engine's table, and all that set the split, the quantization or an option of the
    engine's own; with dashes for underscores.
    """
    found: set[str] = set()
    for grammar in _GRAMMARS:
        own = {
            flag.name
            for flag in grammar.flags.values()
            if flag.role is FlagRole.OPTION
            or (flag.role is FlagRole.FIELD and flag.sets in _SETS_WEIGHTS)
        }
        own |= set(grammar.can_shrink_weights)
        own |= {alias for alias, name in grammar.aliases.items() if name in own}
        found |= {name.replace("_", "-") for name in own}
    return tuple(sorted(found))


_LENGTHS: Final = "|".join(sorted(OF_LENGTH))
_ANY: Final = r"[{][^{}]*[}]|\"[^\"\\]*\"|[^{}\"\[\],\s]+"
_LENGTH_ALONE: Final = (
    r"^--(hf.overrides|json.model.override.args)"
    rf"(=\s*[{{](\s*\"({_LENGTHS})\"\s*:\s*({_ANY})\s*,?)*\s*[}}]\s*|[.]({_LENGTHS})[.=].*)$"
)
"""Flags of vLLM and SGLang whose object as JSON says how long a context is, and nothing else."""


def flags_beyond_length(words: str) -> str:
    """CEL: the flags among words, without those that only say how long a context is.

    An object that is a word of its own is put together with its flag first.
    """
    joined = ".replace('overrides\\n{', 'overrides={').replace('args\\n{', 'args={')"
    return (
        f"{words}.join('\\n'){joined}.split('\\n')"
        f".filter(w, w.startsWith('-') && !w.matches(r'{_LENGTH_ALONE}'))"
    )


def map_literal(entries: dict[str, int]) -> str:
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
_GRAMMARS: Final = (
    plimsoll.engines.vllm.arguments.GRAMMAR,
    plimsoll.engines.sglang.settings.GRAMMAR,
    plimsoll.engines.tensorrt_llm.settings.GRAMMAR,
    plimsoll.engines.tgi.settings.GRAMMAR,
)
_SETS_WEIGHTS: Final = ("quantization", "tensor", "pipeline", "data", "expert")
"""Settings on which the weights of a GPU depend."""
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
    "?accelerator.?memory",
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
    "uri": f"(has({_MODEL}.uri) && {_MODEL}.uri.startsWith('hf://') ? {_MODEL}.uri.substring(5)"
    " : '').split('@')[0].lowerAscii().replace('/', ' ').trim().replace(' ', '/')",
    "known": f"variables.uri in variables.checkpoints && !has({_MODEL}.revision) && "
    f"!{_MODEL}.uri.contains('@')",
    "plain": f"(variables.known || !has({_MODEL}.quantization) && !has({_MODEL}.configMapRef)) && "
    f"!{_ENGINE}.?quantization.hasValue() && !{_ENGINE}.?cpuOffload.hasValue() && "
    f"!({_ENGINE}.?name.orValue('vllm') in {list(_OWN_FILES)}) && "
    "object.spec.?workload.?imagesPerPrompt.orValue(1) > 0 && "
    f"!{flags_beyond_length(f'{_ENGINE}.?extraArgs.orValue([])')}"
    ".map(a, a.split('=')[0].split('.')[0].split(' ')[0].replace('_', '-'))"
    ".exists(a, variables.shrinking.exists(flag, flag.startsWith(a)))",
    "named": f"variables.known || !has({_MODEL}.baseModel) ? variables.uri : "
    f"{_MODEL}.baseModel.split('@')[0]"
    ".lowerAscii().replace('/', ' ').trim().replace(' ', '/')",
}
"""What the policy is made of, beside the three tables; evaluated only when needed."""


def floor_policy() -> Json:
    """The ValidatingAdmissionPolicy."""
    weights = (
        "!variables.plain ? 0.0 : variables.named in variables.checkpoints ? "
        "double(variables.checkpoints[variables.named]) : "
        f"has({_MODEL}.parameters) && !has({_MODEL}.baseModel) ? "
        f"{_PARSED} * double({_MODEL}.?bits.orValue(16)) / 8388608.0 : 0.0"
    )
    room = (
        "object.spec.?accelerator.?memory.hasValue() ? 0 : "
        "variables.allowed.size() > 0 && variables.allowed.all(a, a in variables.mebibytes) ? "
        "variables.gpus * variables.allowed.map(a, variables.mebibytes[a]).max() : 0"
    )
    variables = {
        "mebibytes": map_literal(mebibytes()),
        "checkpoints": map_literal(checkpoints()),
        "shrinking": str(list(shrinking_flags())),
        **VARIABLES,
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
