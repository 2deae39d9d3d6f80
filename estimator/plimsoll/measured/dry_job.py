"""What has become of the Job of a dry start, read from it and its pods. It speaks to no cluster.

The facts are what the container ended with (its termination message): nobody needs to read logs.

    facts                    the engine said what it would do, or the harness what it met
    killed, evicted, late    nothing was learned: unknown, in words that say which
    no image, no python3     the same; so is whatever else was printed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Unreadable, clean
from plimsoll.measured.dry_facts import Answer, read
from plimsoll.measured.dry_start import CONTAINER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Json = Mapping[str, Any]

_NEVER: Final = (
    "CreateContainerError", "ErrImageNeverPull", "ImageInspectError", "ImagePullBackOff",
    "InvalidImageName", "RunContainerError",
)  # fmt: skip
"""Reasons for which a container waits and will not start by itself."""
_NOT_RUN: Final = ("ContainerCannotRun", "StartError")
_KILLED: Final = 128 + 9
_WORDS: Final = 600


@dataclass(frozen=True, slots=True)
class Standing:
    """How a Job stands. answer: once it has ended, else None. words: what it waits for."""

    answer: Answer | None
    words: str = ""


def nothing_learned(words: str) -> Answer:
    """The answer of a dry start that ended without facts. words: why."""
    return Answer("", "unknown", "", clean(words, _WORDS), "", {})


def standing(job: Json | None, pods: Iterable[Json]) -> Standing:
    """How a Job stands. job: None if it is gone; pods: those of the Job."""
    waits = "no pod has been made for it yet"
    ended: Answer | None = None
    for pod in pods:
        found, words = _of_pod(pod)
        if found is not None and found.facts:
            return Standing(found)
        ended, waits = found or ended, words or waits
    if job is None:
        return Standing(ended or nothing_learned("its Job was deleted before it ended"))
    spec = _object(job.get("spec"))
    for condition in _objects(_object(job.get("status")).get("conditions")):
        kind, true = condition.get("type"), condition.get("status") == "True"
        if not true or kind not in ("Failed", "Complete"):
            continue
        if condition.get("reason") == "DeadlineExceeded":
            limit = spec.get("activeDeadlineSeconds")
            return Standing(nothing_learned(f"it did not end within {limit} s, and was ended"))
        said = f"{condition.get('reason')}: {condition.get('message')}"
        gone = "its pod is gone, and what it said with it"
        return Standing(ended or nothing_learned(gone if kind == "Complete" else f"{gone}: {said}"))
    return Standing(ended, waits)


def _of_pod(pod: Json) -> tuple[Answer | None, str]:
    """What a pod said; what it waits for, if it has not ended."""
    status = _object(pod.get("status"))
    if status.get("phase") == "Failed" and status.get("reason"):
        why = f"{status.get('reason')}: {status.get('message')}"
        return nothing_learned(f"its pod was ended by the node: {why}"), ""
    for container in _objects(status.get("containerStatuses")):
        if container.get("name") != CONTAINER:
            continue
        state = _object(container.get("state"))
        waiting, terminated = _object(state.get("waiting")), _object(state.get("terminated"))
        if terminated:
            return _of_end(terminated), ""
        why = f"{waiting.get('reason')}: {waiting.get('message') or 'no more is said'}"
        if waiting.get("reason") in _NEVER:
            return nothing_learned(f"its container cannot start: {why}"), ""
        if waiting:
            return None, f"its container waits: {clean(why, _WORDS)}"
        return None, "it runs"
    for condition in _objects(status.get("conditions")):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            said = clean(str(condition.get("message")), _WORDS)
            return None, f"its pod waits for a node: {said}"
    return None, "its pod starts"


def _of_end(terminated: Json) -> Answer:
    """What a container ended with."""
    code, message = terminated.get("exitCode"), str(terminated.get("message") or "")
    reason = terminated.get("reason")
    try:
        return read(message)
    except Unreadable:
        pass
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if reason == "OOMKilled":
        return nothing_learned("it was killed: it took more memory than its limit")
    if reason in _NOT_RUN:
        return nothing_learned(f"the image could not run python3: {last or message}")
    if code == _KILLED:
        return nothing_learned(f"it was killed (exit code {code})")
    said = f", and last said: {last}" if last else ", and said nothing"
    return nothing_learned(f"it ended with exit code {code} and no facts{said}")


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
