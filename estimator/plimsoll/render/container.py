"""The container that serves the model: image, arguments, environment, resources and probes.

    start-up probe   /health every 10 s, for as long as a start may take
    liveness         /health every 10 s, dead after 60 s
    readiness        /health every 5 s, out of the Service after 15 s

CPU and memory are requests and have no limits: page cache of the weights counts against a limit of
memory, and a CPU that is held back stalls a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.verdict import Beside
from plimsoll.engines.registry import engine as engine_of
from plimsoll.errors import Problem, shown
from plimsoll.render import images
from plimsoll.render.weights import FOLDER, Weights, weights
from plimsoll.units import GIB, MIB, ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.decision.pod import PodNeeds
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Placement, Verdict
    from plimsoll.render.images import Server
    from plimsoll.workloads.spec import LLMDeploymentSpec, OutputSpec

CONTAINER: Final = "engine"
"""The container's name: templates change it by that."""
CACHE: Final = "cache"
SHARED: Final = "shm"
WEIGHTS: Final = "weights"
CACHE_FOLDER: Final = "/cache"
EVERY: Final = 10
"""Seconds between two probes of a start."""
UNKNOWN_START: Final = 3600
"""Seconds that a start may take where the size of the checkpoint is not known."""
_BYTES_FROM: Final = (0, 10, 2)
"""The first vLLM that takes its cache in bytes (--kv-cache-memory-bytes)."""


@dataclass(frozen=True, slots=True)
class Started:
    """What a container is made of. server: how the engine is started; image: its image.

    arguments: all of them, without those that only a pod of several nodes has.
    """

    server: Server
    image: str
    weights: Weights
    arguments: tuple[str, ...]
    version: str


def started(
    spec: LLMDeploymentSpec, name: str, request: Request, verdict: Verdict, output: OutputSpec
) -> Started | list[Problem]:
    """How the engine of a verdict is started, or everything that keeps it from being rendered.

    name: by which the model is served where it is not an id of a hub.
    """
    assert verdict.placement is not None
    settings, problems = request.engine, list[Problem]()
    server = images.server(settings.name)
    if server is None:
        wanted = "an engine whose server is known: vllm, sglang, tgi, tensorrt-llm or llama.cpp"
        return [Problem(images.ENGINE_PATH, shown(settings.name), wanted, "name one of them")]
    assert verdict.estimate is not None
    version = settings.version or verdict.estimate.version
    found: str | Problem = output.image or images.image(
        settings.name, version, verdict.placement.resource, output.registry or ""
    )
    if isinstance(found, Problem):
        problems.append(found)
    place = weights(spec.model)
    if isinstance(place, Problem):
        problems.append(place)
    pinned = _flags(request, verdict, output, version)
    if isinstance(pinned, Problem):
        problems.append(pinned)
    revision = spec.model.revision
    if revision and not server.revision and isinstance(place, Weights) and place.hub:
        fix = "leave it out, or mount the weights of that revision and say their path"
        wanted = f"no revision, which {settings.name} has no flag for"
        problems.append(Problem("spec.model.revision", shown(revision), wanted, fix))
    if isinstance(found, Problem) or isinstance(place, Problem) or isinstance(pinned, Problem):
        return problems
    place = _typed(server, place, settings.quantization, pinned)
    if isinstance(place, Problem):
        problems.append(place)
    if problems or isinstance(place, Problem):
        return problems
    arguments = (
        *_model(server, place, name, revision if place.hub else None),
        *server.listen,
        *pinned,
    )
    return Started(server, found, place, arguments, version)


def _typed(server: Server, place: Weights, kind: str, flags: Sequence[str]) -> Weights | Problem:
    """The weights with the type of the file in their name, where an engine picks one by that."""
    if not server.typed or not place.hub or any(flag.startswith("--hf-file") for flag in flags):
        return place
    if not kind:
        wanted = "the type of the GGUF file, such as q4_k_m: the engine would take another"
        return Problem("spec.engine.quantization", "", wanted, "say it, or --hf-file in extraArgs")
    return replace(place, argument=f"{place.argument}:{kind.upper()}")


def _model(server: Server, place: Weights, name: str, revision: str | None) -> Sequence[str]:
    """The arguments that name the model, its revision and the name by which it is served."""
    flag = server.model if place.hub else server.file
    said = [] if flag else [place.argument]
    served_as = place.argument if place.hub else name
    pairs = ((flag, place.argument), (server.named, served_as), (server.revision, revision))
    for key, value in pairs:
        if key and value:
            said += [key, value] if server.apart else [f"{key}={value}"]
    return said


def _flags(
    request: Request, verdict: Verdict, output: OutputSpec, version: str
) -> tuple[str, ...] | Problem:
    """The engine's flags as planned, with what its cache is made of said outright."""
    placement, estimate = verdict.placement, verdict.estimate
    assert placement is not None
    settings = request.engine
    if estimate is None or settings.kv_cache_memory is not None:
        return placement.engine_args
    if output.pin == "KVCacheBytes":
        if settings.name != "vllm" or images.numbers(version) < _BYTES_FROM:
            wanted = "Utilization or Nothing: only vLLM from 0.10.2 on takes its cache in bytes"
            return Problem("spec.output.pin", shown(output.pin), wanted)
        room = estimate.kv_capacity_low // MIB * MIB
        return engine_of("vllm").arguments(estimate, replace(settings, kv_cache_memory=room))
    if output.pin == "Nothing":
        return engine_of(settings.name).arguments(estimate, settings)
    return placement.engine_args


def container(
    one: Started,
    placement: Placement,
    needs: PodNeeds,
    output: OutputSpec,
    *,
    serves: bool = True,
    over_nodes: Sequence[str] = (),
    claim: str = "",
) -> dict[str, Any]:
    """The container. serves: whether it answers requests. over_nodes: arguments of its place.

    claim: by which it gets its GPUs; empty: by an extended resource.
    """
    made: dict[str, Any] = {
        "name": CONTAINER,
        "image": one.image,
        "command": list(one.server.command),
        "args": [*one.arguments, *over_nodes],
        "env": environment(one.server, needs, output),
        "resources": resources(placement, needs, output, claim),
        "volumeMounts": _mounts(one.weights, needs),
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    if runs_restricted(one.server, placement):
        made["securityContext"]["capabilities"] = {"drop": ["ALL"]}
    if serves:
        made["ports"] = [{"name": "http", "containerPort": one.server.port, "protocol": "TCP"}]
        made |= probes(needs)
    return made


def runs_restricted(server: Server, placement: Placement) -> bool:
    """Whether the pod meets the restricted Pod Security Standard.

    AMD's device files belong to groups whose numbers differ from node to node: who runs as
    another user than root must be told them.
    """
    return server.nonroot and images.vendor_of(placement.resource) == "nvidia"


def environment(server: Server, needs: PodNeeds, output: OutputSpec) -> list[dict[str, Any]]:
    """The variables: a home to write to, the token, and how long a start may take."""
    values = {
        "HOME": CACHE_FOLDER,
        "USER": "plimsoll",
        "HF_HOME": f"{CACHE_FOLDER}/huggingface",
        **dict(server.environment),
    }
    if server.start_environment:
        values[server.start_environment] = str(needs.start or UNKNOWN_START)
    made: list[dict[str, Any]] = [{"name": key, "value": value} for key, value in values.items()]
    token = output.token_secret_ref
    if token is not None:
        reference = {"name": token.name, "key": token.key or "token"}
        made.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})
    return made


def resources(
    placement: Placement, needs: PodNeeds, output: OutputSpec, claim: str = ""
) -> dict[str, Any]:
    """What the container asks for."""
    requests = {"cpu": str(needs.cpus), "memory": quantity(needs.memory_bytes)}
    if needs.disk is not None and output.cache_claim is None:
        requests[Beside.DISK.value] = quantity(needs.disk)
    if claim:
        return {"requests": requests, "claims": [{"name": claim}]}
    return {"requests": requests, "limits": {placement.resource: str(placement.gpus_per_node)}}


def _mounts(place: Weights, needs: PodNeeds) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [{"name": CACHE, "mountPath": CACHE_FOLDER}]
    if needs.needs_shared:
        made.append({"name": SHARED, "mountPath": "/dev/shm"})
    if place.volume is not None:
        made.append({"name": WEIGHTS, "mountPath": FOLDER, "readOnly": True})
    return made


def volumes(place: Weights, needs: PodNeeds, output: OutputSpec) -> list[dict[str, Any]]:
    """What the container mounts."""
    cache: dict[str, Any] = {"name": CACHE, "emptyDir": {}}
    if output.cache_claim is not None:
        cache = {"name": CACHE, "persistentVolumeClaim": {"claimName": output.cache_claim}}
    elif needs.disk is not None:
        cache["emptyDir"]["sizeLimit"] = quantity(needs.disk)
    made = [cache]
    if needs.needs_shared:
        shared = {"medium": "Memory", "sizeLimit": quantity(needs.shared)}
        made.append({"name": SHARED, "emptyDir": shared})
    if place.volume is not None:
        made.append({"name": WEIGHTS, **place.volume})
    return made


def probes(needs: PodNeeds) -> dict[str, Any]:
    """The three probes."""
    start = ceil_div(needs.start or UNKNOWN_START, EVERY)
    return {
        "startupProbe": _probe(EVERY, start),
        "livenessProbe": _probe(10, 6),
        "readinessProbe": _probe(5, 3),
    }


def _probe(seconds: int, times: int) -> dict[str, Any]:
    ask = {"path": "/health", "port": "http"}
    often = {"periodSeconds": seconds, "failureThreshold": times}
    return {"httpGet": ask, "timeoutSeconds": 5, **often}


def quantity(size: int) -> str:
    """Bytes as a quantity, rounded up to MiB, in the spelling that the API server gives back."""
    mib = ceil_div(size, MIB)
    return f"{mib // 1024}Gi" if mib % (GIB // MIB) == 0 else f"{mib}Mi"
