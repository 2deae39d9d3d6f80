"""The floor for other people's kinds: a policy that holds while every process of Plimsoll is down.

It must not be cleverer than certain: the weights of a model that is named literally, as it is
stored, against all the memory of the GPUs that a pod asks for. It stands in namespaces that want
other kinds looked at, and lets in whatever it cannot read.

    kinds      those whose pods stand in them: Kubernetes' own, LeaderWorkerSet (all pods of a
               group), InferenceService with containers of its own
    engine     the one container that asks for GPUs, by its image, started as that image is
    model      one ``--model`` (``--model-path``, ``--model-id``), else the first argument, else
               TGI's MODEL_ID; of the catalogue
    GPUs       nvidia.com/gpu, of the kind in nodeSelector
    passed     a shell's script, a ``$(variable)``, a flag that may make weights smaller or that
               spreads them over other pods, more ranks than the pods have GPUs; an update that
               leaves these alone or makes the shortfall no larger; an override
    denied     in namespaces that enforce; told in those that warn, noted in the API server's
               audit log in those that audit
"""

from __future__ import annotations

from typing import Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.types import Dialect
from plimsoll.api_group import WORKLOADS_LABEL
from plimsoll.decision.policy import Mode
from plimsoll.units import MIB
from plimsoll.workloads.gpus import WHOLE
from plimsoll_operator.api.policy import (
    TOLERANCE,
    VARIABLES,
    Json,
    checkpoints,
    flags_beyond_length,
    map_literal,
    shrinking_flags,
)
from plimsoll_operator.api.webhook import NOT_MADE_FOR_ANOTHER

NAME: Final = "plimsoll-workloads-floor"
RESOURCE: Final = "nvidia.com/gpu"
assert RESOURCE in WHOLE

_RULES: Final = {
    "": ("pods",),
    "apps": ("deployments", "statefulsets", "daemonsets", "replicasets"),
    "batch": ("jobs", "cronjobs"),
    "leaderworkerset.x-k8s.io": ("leaderworkersets",),
    "serving.kserve.io": ("inferenceservices",),
}
_MODEL_FLAGS: Final = ("--model", "--model-path", "--model-id")
_RANKS: Final = ("--tensor-parallel-size", "--tp-size", "--tp", "-tp", "--num-shard")
_KEPT: Final = frozenset(
    {
        *_RANKS,
        "--attention-backend",
        "--chunked-prefill-size",
        "--cuda-graph-max-bs",
        "--disable-radix-cache",
        "--enable-lora",
        "--enable-prefix-caching",
        "--kv-transfer-config",
        "--max-input-length",
        "--max-input-tokens",
        "--max-lora-rank",
        "--max-loras",
        "--max-prefill-tokens",
        "--max-total-tokens",
        "--max-batch-total-tokens",
    }
)
"""Flags of `shrinking_flags` that leave weights alone: of that table they may shrink the rest."""
_SPREADING: Final = (
    "--config",
    "--data-parallel-address",
    "--dist-init-addr",
    "--distributed-executor-backend",
    "--headless",
    "--master-addr",
    "--nnodes",
    "--node-rank",
    "--revision",
    "-O",
)
"""Flags by which weights may lie in other pods, be others or be said elsewhere."""


def passing_flags() -> tuple[str, ...]:
    """Flags with which nothing is certain any more."""
    return tuple(sorted({*shrinking_flags(), *_SPREADING} - _KEPT))


def cards() -> dict[str, int]:
    """MiB of the largest GPU that a node label may mean, with the tolerance, by ``key=value``."""
    found: dict[str, int] = {}
    for accelerator in catalogue.load().names.values():
        if not accelerator.certain or accelerator.mig_of or accelerator.resource != RESOURCE:
            continue
        size = int(accelerator.memory * TOLERANCE) // MIB
        for labels in accelerator.labels:
            if labels.dialect in _DIALECTS and len(labels.selector) == 1:
                key = "=".join(labels.selector[0])
                found[key] = max(found.get(key, 0), size)
    return found


_DIALECTS: Final = (Dialect.GFD, Dialect.GKE)
"""Those whose one label names a kind of GPU; that of a machine's type stands for its count, too."""
_VLLM: Final = "(vllm serve |python3? -m vllm[.]entrypoints[.]openai[.]api_server |)"
_STARTS: Final = (
    ("(^|/)vllm-openai(:|@|$)", f"^ {_VLLM}(--|[A-Za-z0-9_.-]+/)"),
    ("(^|/)sglang(:|@|$)", "^ python3? -m sglang[.]launch_server --"),
    ("(^|/)text-generation-inference(:|@|$)", "^ (--| $|$)"),
)
"""Of each engine: its image, and its command line as it must be."""
_ASKS: Final = f"c.?resources.?limits[?'{RESOURCE}'].hasValue()"


def _gpus(pod: str) -> str:
    asked = f"int(string(c.resources.limits['{RESOURCE}']))"
    return f"{pod}.?containers.orValue([]).filter(c, {_ASKS}).map(c, {asked}).sum()"


def _variables(obj: str, mark: str) -> dict[str, str]:
    """What is read of one state of the object. mark: stands before each variable's name."""
    one, own = f"dyn({obj})", f"variables.{mark}"
    group = f"{one}.spec.leaderWorkerTemplate"
    engine = f"{own}asking[0]"
    tgi = f"{engine}.?image.orValue('').contains('text-generation-inference')"
    flag = "|".join(_MODEL_FLAGS)
    starts = " || ".join(
        f"{engine}.?image.orValue('').matches('{image}') && {own}line.matches('{line}')"
        for image, line in _STARTS
    )
    found = {
        "pod": f"{one}.kind == 'Pod' ? {one}.spec : {one}.kind == 'CronJob' ? "
        f"{one}.spec.jobTemplate.spec.template.spec : {one}.kind == 'LeaderWorkerSet' ? "
        f"{group}.?leaderTemplate.orValue({group}.workerTemplate).spec : "
        f"{one}.kind == 'InferenceService' ? {one}.spec.predictor : {one}.spec.template.spec",
        "gpus": f"{_gpus(f'{own}pod')} + ({one}.kind == 'LeaderWorkerSet' ? "
        f"({group}.?size.orValue(1) - 1) * {_gpus(f'{group}.workerTemplate.spec')} : 0)",
        "asking": f"{own}pod.?containers.orValue([]).filter(c, {_ASKS})",
        "words": f"{own}asking.size() == 1 ? {engine}.?command.orValue([]) + "
        f"{engine}.?args.orValue([]) : []",
        "line": f"' ' + {own}words.map(w, string(w)).join(' ') + ' '",
        "flags": f"{own}line.findAll(' ({flag})[ =][^ ]+')",
        "first": f"{own}line.find('^ {_VLLM}[A-Za-z0-9_.-]+/[^ ]+ ').trim()",
        "ids": f"{own}asking.size() != 1 ? [] : "
        f"{own}flags.map(f, f.replace('=', ' ').split(' ')[2]) + "
        f"({own}first == '' ? [] : [{own}first.split(' ')[{own}first.split(' ').size() - 1]]) + "
        f"(!{tgi} ? [] : {engine}.?env.orValue([]).filter(e, e.name == 'MODEL_ID')"
        ".map(e, e.?value.orValue('$')))",
        "plain": f"{own}asking.size() == 1 && !{own}line.contains('$(') && "
        f"!{own}line.contains('\\n') && ({starts}) && "
        f"(!{tgi} || "
        f"!{engine}.?envFrom.hasValue() && !{engine}.?env.orValue([])"
        ".exists(e, e.name in ['QUANTIZE', 'REVISION', 'NUM_SHARD', 'SHARDED'])) && "
        f"!{flags_beyond_length(f'{own}words.map(w, string(w))')}"
        f".filter(w, !(w.split('=')[0].replace('_', '-') in {list(_MODEL_FLAGS)}))"
        ".map(w, w.split('=')[0].split('.')[0].replace('_', '-'))"
        ".exists(w, variables.passing.exists(f, f.startsWith(w))) && "
        f"{own}line.findAll(' ({'|'.join(_RANKS)})[ =][0-9]+')"
        f".all(f, int(f.replace('=', ' ').split(' ')[2]) <= {own}gpus)",
        "named": f"{own}ids.size() == 1 && {own}plain ? {own}ids[0].lowerAscii() : ''",
        "weights": f"{own}named in variables.checkpoints ? variables.checkpoints[{own}named] : 0",
        "sizes": f"{own}pod.?nodeSelector.orValue({{}})"
        f".map(k, k + '=' + {own}pod.nodeSelector[k]).filter(l, l in variables.cards)"
        ".map(l, variables.cards[l])",
        "short": f"{own}weights == 0 || {own}sizes.size() == 0 ? 0 : "
        f"{own}weights - {own}gpus * {own}sizes.max()",
    }
    return {f"{mark}{name}" if mark else name: text for name, text in found.items()}


def floor_policy(name: str = NAME) -> Json:
    """The ValidatingAdmissionPolicy."""
    variables = {
        "checkpoints": map_literal(checkpoints()),
        "cards": map_literal(cards()),
        "passing": str(list(passing_flags())),
        "overridden": VARIABLES["overridden"],
        **_variables("object", ""),
        **_variables("oldObject", "old"),
    }
    fits = (
        "has(object.metadata.deletionTimestamp) || variables.short <= 0 || "
        "(oldObject != null && variables.oldshort >= variables.short) || variables.overridden"
    )
    message = (
        "'the weights of ' + variables.ids[0] + ' alone are ' + "
        "string(variables.weights / 1024) + ' GiB, more than all the memory of the ' + "
        "string(variables.gpus) + (variables.gpus == 1 ? ' GPU' : ' GPUs') + "
        "' asked for (at most ' + "
        "string(variables.sizes.max() / 1024) + ' GiB each, by its nodeSelector): it takes at "
        "least ' + string((variables.weights + variables.sizes.max() - 1) / "
        "variables.sizes.max()) + '; `plimsoll check FILE` shows the ways out'"
    )
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Ignore",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "resourceRules": [
                    {
                        "apiGroups": [group],
                        "apiVersions": ["*"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": list(plurals),
                        "scope": "Namespaced",
                    }
                    for group, plurals in _RULES.items()
                ],
            },
            "matchConditions": [
                {"name": "not-made-for-another", "expression": NOT_MADE_FOR_ANOTHER}
            ],
            "variables": [{"name": n, "expression": e} for n, e in variables.items()],
            "validations": [{"expression": fits, "messageExpression": message}],
        },
    }


def _spellings(mode: Mode) -> list[str]:
    return [mode.value, mode.value.capitalize(), mode.value.upper()]


_ACTIONS: Final = {
    Mode.ENFORCE: (["Deny"], [("In", _spellings(Mode.ENFORCE))]),
    Mode.WARN: (
        ["Warn", "Audit"],
        [("Exists", []), ("NotIn", [*_spellings(Mode.ENFORCE), *_spellings(Mode.AUDIT)])],
    ),
    Mode.AUDIT: (["Audit"], [("In", _spellings(Mode.AUDIT))]),
}
"""Of each mode what is done, and the values of the label that mean it; the rest warns."""


def floor_bindings(name: str = NAME) -> list[Json]:
    """The bindings that put the policy in force, one for each mode of a namespace."""
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": f"{name}-{mode.value}"},
            "spec": {
                "policyName": name,
                "validationActions": actions,
                "matchResources": {
                    "matchPolicy": "Equivalent",
                    "objectSelector": {},
                    "namespaceSelector": {
                        "matchExpressions": [
                            {
                                "key": WORKLOADS_LABEL,
                                "operator": operator,
                                **({"values": values} if values else {}),
                            }
                            for operator, values in conditions
                        ]
                    },
                },
            },
        }
        for mode, (actions, conditions) in _ACTIONS.items()
    ]
