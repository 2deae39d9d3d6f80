"""A dry start of one request: what the engine is asked, and how its environment is made to answer.

The harness is `plimsoll_drystart`, which runs inside the engine's environment and which nothing
here imports: it goes there as one file.

    python      the engine's own Python on this machine
    container   the engine's image under docker or podman: no GPU, no network, no rights
    job         the same on a node without a GPU, as objects to apply: the harness and the case in a
                ConfigMap, a NetworkPolicy that lets nothing in or out, restricted pod security
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines import registry
from plimsoll.engines.layers.gpu_memory import visible_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.decision.request import Request
    from plimsoll.engines.base import Estimate

PREFIX: Final = "PLIMSOLL-FACTS "
"""What the harness puts before its line of facts."""
PACKAGE: Final = "plimsoll_drystart"
ARCHIVE, CASE = "drystart.pyz", "case.jsonl"
CONTAINER: Final = "engine"
"""Name of the container of a Job's pod."""
LAST_WORDS: Final = "/dev/termination-log"
"""Where a container writes what it ends with, which its pod's status then holds."""
BESIDE: Final = 300
"""Seconds that a Job may take beyond the start-up: to be scheduled, and to pull the image."""
SECONDS: Final = 600
"""Most time of one dry start: an image that has never run there imports for minutes."""
MEMORY_GIB: Final = 8
_MOUNTED: Final = "/plimsoll"
_NOBODY: Final = 65534
_MAIN: Final = f"import sys\nfrom {PACKAGE}.__main__ import main\nsys.exit(main())\n"
_FIELDS: Final = (
    "dtype", "quantization", "max_model_len", "max_num_seqs", "max_num_batched_tokens",
    "kv_cache_dtype", "utilization", "enforce_eager", "block_size",
)  # fmt: skip
_DATE: Final = (2026, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the engine. case: as the harness reads it."""

    case: Mapping[str, Any]

    @property
    def line(self) -> str:
        """The case as the one line of its file."""
        return json.dumps(self.case, separators=(",", ":"), sort_keys=True) + "\n"


def asked(
    request: Request,
    estimate: Estimate | None,
    accelerator: Accelerator,
    *,
    config: Mapping[str, Any] | None = None,
    files: Mapping[str, Any] | None = None,
    folder: str = "",
) -> Asked:
    """The case of a request on one kind of GPU.

    estimate: of its placement; None if the model is not known to us. config: the model's
    config.json, with the JSON files beside it; folder: where they are, instead.
    """
    model = {"folder": folder} if folder else {"config": config, "files": dict(files or {})}
    gpu = {
        "name": accelerator.title,
        "capability": list(accelerator.compute),
        "nvml_bytes": accelerator.memory,
        "cuda_bytes": visible_memory(accelerator),
        "count": max(accelerator.gpus_per_node, estimate.parallelism.gpus if estimate else 1),
    }
    words = command_line(request, estimate)
    return Asked({"id": request.model.name, "device": gpu, "command_line": words, **model})


def command_line(request: Request, estimate: Estimate | None) -> list[str]:
    """The flags with which the engine would be started."""
    engine, settings = registry.engine(request.engine.name), request.engine
    if estimate is not None:
        return list(engine.arguments(estimate, settings))
    grammar = registry.grammar(settings.name)
    split = request.wanted.split
    values: dict[str, object] = {name: getattr(settings, name) for name in _FIELDS}
    values |= {"tensor": split.tensor, "pipeline": split.pipeline, "data": split.data}
    values["expert"] = split.expert
    values = {name: value or None for name, value in values.items()}
    assert grammar is not None
    return [*grammar.write(values, {}), *grammar.passed_on(settings)]


def archive() -> bytes:
    """The harness as one file that a Python runs, always the same bytes."""
    found = importlib.util.find_spec(PACKAGE)
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        parts = {f"{PACKAGE}/{path.name}": path.read_bytes() for path in folder.glob("*.py")}
        for name, content in sorted((parts | {"__main__.py": _MAIN.encode()}).items()):
            file.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def arguments(archive_at: str, case_at: str, seconds: int) -> list[str]:
    """What a Python is told to run the harness; the facts come on standard output."""
    limits = ["--seconds", str(seconds), "--memory-gib", str(MEMORY_GIB)]
    return [archive_at, "--cases", case_at, *limits]


def container(program: str, image: str, folder: Path, seconds: int, name: str = "") -> list[str]:
    """The command that runs the engine's image here. folder: where the archive and the case are.

    program: docker or podman. name: of the container, to remove it by; empty: it has none.
    """
    return [
        program, "run", "--rm", *([f"--name={name}"] if name else []), "--network=none",
        "--read-only", f"--user={_NOBODY}:{_NOBODY}",
        "--cap-drop=ALL", "--security-opt=no-new-privileges", f"--memory={MEMORY_GIB}g",
        "--cpus=2", "--pids-limit=512", "--tmpfs=/tmp:rw,exec,size=2g",
        "--env=NVIDIA_VISIBLE_DEVICES=void", "--env=HOME=/tmp",
        f"--volume={folder}:{_MOUNTED}:ro", "--entrypoint=python3", image,
        *arguments(f"{_MOUNTED}/{ARCHIVE}", f"{_MOUNTED}/{CASE}", seconds),
    ]  # fmt: skip


def name_of(request: Request) -> str:
    """A name for the Job's objects, after the model."""
    plain = re.sub(r"[^a-z0-9]+", "-", request.model.name.lower().rsplit("/", 1)[-1]).strip("-")
    return f"dry-start-{plain[:40].strip('-') or 'model'}"


def job(
    what: Asked,
    image: str,
    name: str,
    namespace: str,
    seconds: int,
    *,
    suspended: bool = False,
    owner: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The objects of a dry start in a cluster: a ConfigMap, a NetworkPolicy, a Job.

    suspended: the Job makes no pod before that is taken back. owner: whose they are: a reference
    to the object that they go with.
    """
    labels = {"app.kubernetes.io/name": "plimsoll-dry-start", "app.kubernetes.io/instance": name}
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": labels}
    if owner is not None:
        metadata["ownerReferences"] = [dict(owner)]
    packed = base64.b64encode(archive()).decode()
    return [
        {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "binaryData": {ARCHIVE: packed}, "data": {CASE: what.line},
        },
        {
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata,
            "spec": {
                "podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress", "Egress"],
            },
        },
        {
            "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
            "spec": {
                "backoffLimit": 0, "activeDeadlineSeconds": seconds + BESIDE,
                "ttlSecondsAfterFinished": 3600,
                **({"suspend": True} if suspended else {}),
                "template": {"metadata": {"labels": labels}, "spec": _pod(image, name, seconds)},
            },
        },
    ]  # fmt: skip


def _pod(image: str, name: str, seconds: int) -> dict[str, Any]:
    """A pod that passes the restricted profile, asks for no GPU and cannot speak to anybody."""
    run = arguments(f"{_MOUNTED}/{ARCHIVE}", f"{_MOUNTED}/{CASE}", seconds)
    run += ["--brief", LAST_WORDS]
    size = f"{MEMORY_GIB + 2}Gi"
    return {
        "restartPolicy": "Never", "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": _NOBODY, "runAsGroup": _NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": CONTAINER, "image": image, "command": ["python3", *run],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "env": [
                {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"},
                {"name": "HOME", "value": "/tmp"},
            ],
            "resources": {
                "requests": {"cpu": "1", "memory": "4Gi", "ephemeral-storage": "1Gi"},
                "limits": {"cpu": "2", "memory": size, "ephemeral-storage": "4Gi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": "plimsoll", "mountPath": _MOUNTED, "readOnly": True},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }],
        "volumes": [
            {"name": "plimsoll", "configMap": {"name": name}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}},
        ],
    }  # fmt: skip
