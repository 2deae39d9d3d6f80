"""A job controller and a kubelet of the tests' own, for Jobs of one container: no node is there.

It sees each Job that is not suspended, makes its pod as kube-controller-manager does, runs the
container's command as a process of this machine and writes pod and Job status as a kubelet and the
controller would: waiting, running, terminated with the termination message, deadline, owner gone.

    image       a folder that stands first on PYTHONPATH, with the program that python3 is there
    ConfigMap   files in a folder that takes the place of its mount
    /tmp        a folder of the pod; its termination log is a file there
    not played  isolation of any kind: users, cgroups, networks, read-only roots
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plimsoll_operator.cluster.client import UNREACHABLE, ApiError, Client, NotFound, connect
from plimsoll_operator.cluster.objects import CONFIG_MAPS, EVENTS, PODS, Resource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

JOBS = Resource("batch", "v1", "jobs")
POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies")
LAST_WORDS = "/dev/termination-log"
MOST_WORDS = 2048
"""Bytes of a log that a kubelet falls back to."""

Json = dict[str, Any]
Name = tuple[str, str]


@dataclass(frozen=True)
class Image:
    """What is in an image. packages: folders first on PYTHONPATH; python: its python3, "" for none.

    killed: its processes are ended with SIGKILL as soon as they run, as when memory runs out.
    """

    packages: tuple[Path, ...] = ()
    python: str = sys.executable
    killed: bool = False


@dataclass
class Running:
    """A container that runs. started: when its Job was, by this machine's clock."""

    process: subprocess.Popen[bytes]
    folder: Path
    pod: str
    started: float


@dataclass
class PodRunner:
    """Plays both until it is closed. images: by name; one that is not there cannot be pulled.

    hurry: seconds of a Job's deadline that pass in one.
    """

    kubeconfig: Path
    images: Mapping[str, Image]
    hurry: float = 1.0
    run: list[Name] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._running: dict[Name, Running] = {}
        self._uids: dict[Name, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._play()), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End what runs."""
        self._stop.set()
        self._thread.join(30)
        for name in list(self._running):
            self._end(name)

    @property
    def processes(self) -> list[int]:
        """The containers that run, as process ids."""
        return [one.process.pid for one in self._running.values() if one.process.poll() is None]

    async def _play(self) -> None:
        async with connect(str(self.kubeconfig)) as client:
            while not self._stop.is_set():
                try:
                    await self._look(client)
                except (ApiError, *UNREACHABLE) as error:  # a Job may go at any moment
                    self.faults.append(str(error))
                await asyncio.sleep(0.2)

    async def _look(self, client: Client) -> None:
        jobs = (await client.request("GET", JOBS.path()))["items"]
        there = {_name(one): one for one in jobs if not one["metadata"].get("deletionTimestamp")}
        for name, job in there.items():
            with contextlib.suppress(NotFound):
                await self._job(client, name, job)
        for name in [name for name in self._running if name not in there]:
            self._end(name)
        await self._collect(client)

    async def _job(self, client: Client, name: Name, job: Json) -> None:
        conditions = job.get("status", {}).get("conditions") or ()
        finished = any(c["type"] in ("Failed", "Complete") for c in conditions)
        if finished or job["spec"].get("suspend"):
            return
        if self._uids.get(name) != job["metadata"]["uid"]:
            self._uids[name] = job["metadata"]["uid"]
            await self._start(client, name, job)
        running = self._running.get(name)
        if running is None:
            return
        limit = job["spec"].get("activeDeadlineSeconds", 1 << 30)
        if running.process.poll() is not None:
            await self._ended(client, name, job, running)
        elif (time.monotonic() - running.started) * self.hurry > limit:
            self._end(name)
            await client.delete(PODS, running.pod, namespace=name[0])
            said = "Job was active longer than specified deadline"
            await self._finish(client, name, "Failed", "DeadlineExceeded", said)

    async def _start(self, client: Client, name: Name, job: Json) -> None:
        """Make the pod of a Job, and run its container."""
        template, uid = job["spec"]["template"], job["metadata"]["uid"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name[1], "uid": uid}
        metadata: Json = {
            "name": f"{name[1][:50]}-{uuid.uuid4().hex[:5]}",
            "labels": {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": name[1]},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        try:
            await client.create(PODS, pod, namespace=name[0])
        except ApiError as error:
            await self._tell(client, name, job, f"Error creating: {error.message}")
            return
        container = pod["spec"]["containers"][0]
        image, own = self.images.get(container["image"]), metadata["name"]
        if image is None:
            said = f'Back-off pulling image "{container["image"]}": not found'
            waiting = {"waiting": {"reason": "ImagePullBackOff", "message": said}}
            await self._say(client, name[0], own, container, "Pending", waiting)
            return
        if not image.python:
            said = 'exec: "python3": executable file not found in $PATH: unknown'
            end = {"exitCode": 127, "reason": "StartError", "message": said}
            await self._say(client, name[0], own, container, "Failed", {"terminated": end})
            said = "Job has reached the specified backoff limit"
            await self._finish(client, name, "Failed", "BackoffLimitExceeded", said)
            return
        folder = Path(tempfile.mkdtemp(prefix="pod-"))
        process = await self._container(client, name[0], folder, pod["spec"], image)
        self.run.append(name)
        self._running[name] = Running(process, folder, own, time.monotonic())
        state = {"running": {"startedAt": _now()}}
        await self._say(client, name[0], own, container, "Running", state)

    async def _container(
        self, client: Client, namespace: str, folder: Path, spec: Json, image: Image
    ) -> subprocess.Popen[bytes]:
        container = spec["containers"][0]
        places = {LAST_WORDS: str(folder / "last-words")}
        for mount in container.get("volumeMounts", ()):
            volume = next(one for one in spec["volumes"] if one["name"] == mount["name"])
            place = folder / mount["name"]
            place.mkdir()
            places[mount["mountPath"]] = str(place)
            if source := volume.get("configMap"):
                path = CONFIG_MAPS.path(namespace, source["name"])
                found = await client.request("GET", path)
                for key, text in (found.get("data") or {}).items():
                    (place / key).write_text(text, "utf-8")
                for key, packed in (found.get("binaryData") or {}).items():
                    (place / key).write_bytes(base64.b64decode(packed))
        said = {one["name"]: _placed(one["value"], places) for one in container.get("env", ())}
        words = [_placed(word, places) for word in container["command"]]
        assert words[0] == "python3", words
        process = _process(image, words[1:], folder, {"TMPDIR": str(folder), **said})
        if image.killed:
            os.killpg(process.pid, signal.SIGKILL)
        return process

    async def _ended(self, client: Client, name: Name, job: Json, running: Running) -> None:
        """A container has ended: its status, and the Job's."""
        container = job["spec"]["template"]["spec"]["containers"][0]
        code = running.process.returncode
        words, log = running.folder / "last-words", (running.folder / "log").read_bytes()
        said = words.read_bytes()[:4096] if words.exists() else b""
        fallback = container.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if not said and code and fallback:
            said = log[-MOST_WORDS:]
        end = {
            "exitCode": 128 - code if code < 0 else code,
            "reason": "OOMKilled" if code == -9 else "Error" if code else "Completed",
            "message": said.decode("utf-8", "replace"),
            "startedAt": _now(),
            "finishedAt": _now(),
        }
        phase = "Failed" if code else "Succeeded"
        await self._say(client, name[0], running.pod, container, phase, {"terminated": end})
        self._end(name)
        if code:
            text = "Job has reached the specified backoff limit"
            await self._finish(client, name, "Failed", "BackoffLimitExceeded", text)
        else:
            text = "Reached expected number of succeeded pods"
            await self._finish(client, name, "Complete", "CompletionsReached", text)

    def _end(self, name: Name) -> None:
        running = self._running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
        shutil.rmtree(running.folder, ignore_errors=True)

    async def _say(
        self, client: Client, namespace: str, pod: str, container: Json, phase: str, state: Json
    ) -> None:
        """Write a pod's status, as a kubelet does."""
        told = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        await self._patch(
            client, PODS, namespace, pod, {"phase": phase, "containerStatuses": [told]}
        )

    async def _finish(
        self, client: Client, name: Name, kind: str, reason: str, message: str
    ) -> None:
        """Write a Job's status, as its controller does: its criteria first, then its end."""
        first = {"Failed": "FailureTarget", "Complete": "SuccessCriteriaMet"}[kind]
        told = {
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": _now(),
        }
        status: Json = {
            "startTime": _now(),
            "conditions": [{"type": first, **told}, {"type": kind, **told}],
            "failed" if kind == "Failed" else "succeeded": 1,
            **({"completionTime": _now()} if kind == "Complete" else {}),
        }
        await self._patch(client, JOBS, name[0], name[1], status)

    async def _patch(
        self, client: Client, resource: Resource, namespace: str, name: str, status: Json
    ) -> None:
        await client.request(
            "PATCH",
            resource.path(namespace, name, "status"),
            body={"status": status},
            content_type="application/merge-patch+json",
        )

    async def _tell(self, client: Client, name: Name, job: Json, message: str) -> None:
        """The Event of a pod that could not be made."""
        about = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "namespace": name[0],
            "name": name[1],
            "uid": job["metadata"]["uid"],
        }
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name[1][:50]}.{uuid.uuid4().hex[:8]}", "namespace": name[0]},
            "involvedObject": about,
            "type": "Warning",
            "reason": "FailedCreate",
            "message": message,
            "source": {"component": "job-controller"},
        }
        await client.create(EVENTS, event, namespace=name[0])

    async def _collect(self, client: Client) -> None:
        """Delete what belonged to Jobs that are gone, as the garbage collector does: Jobs are
        looked for after what may be theirs, so that nothing of a new one is taken for an orphan."""
        owned = []
        for resource in (PODS, CONFIG_MAPS, POLICIES):
            for one in (await client.request("GET", resource.path()))["items"]:
                owners = one["metadata"].get("ownerReferences") or ()
                if mine := {owner["uid"] for owner in owners if owner["kind"] == "Job"}:
                    owned.append((resource, _name(one), mine))
        jobs = (await client.request("GET", JOBS.path()))["items"]
        there = {
            one["metadata"]["uid"] for one in jobs if not one["metadata"].get("deletionTimestamp")
        }
        for resource, (namespace, name), mine in owned:
            if not mine & there:
                body = {"gracePeriodSeconds": 0} if resource is PODS else None
                with contextlib.suppress(NotFound):
                    await client.request("DELETE", resource.path(namespace, name), body=body)


@contextlib.contextmanager
def pod_runner(
    kubeconfig: Path, images: Mapping[str, Image], hurry: float = 1.0
) -> Iterator[PodRunner]:
    """A runner until the end of the block."""
    runner = PodRunner(kubeconfig, images, hurry)
    try:
        yield runner
    finally:
        runner.close()


def _process(
    image: Image, words: list[str], folder: Path, said: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """The image's python3 with these words, in a group of its own; what it prints is kept."""
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [image.python, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(map(str, image.packages)),
                "PYTHONDONTWRITEBYTECODE": "1",
                **said,
            },
            start_new_session=True,
        )


def _name(obj: Json) -> Name:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _placed(word: str, places: Mapping[str, str]) -> str:
    """A word of a command with the machine's place in that of the container."""
    for inside, outside in places.items():
        if word == inside or word.startswith(f"{inside}/"):
            return outside + word[len(inside) :]
    return word
