"""A dry start as a Job in a cluster, by kubectl: created, waited for, read and removed.

The Job is made suspended, owns what lies beside it, and starts when all of it is there. Whatever
ends this command, its objects go: it removes them itself, and where it was killed outright the
Job's own time to live does, an hour after its end.
"""

from __future__ import annotations

import json
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import click

from plimsoll.errors import clean
from plimsoll.measured.dry_job import Standing, nothing_learned, standing
from plimsoll.measured.dry_start import BESIDE, job

if TYPE_CHECKING:
    from plimsoll.cli.kubectl import Kubectl
    from plimsoll.measured.dry_facts import Answer
    from plimsoll.measured.dry_start import Asked

_LOOK_EVERY: Final = 2.0
_SLACK: Final = 60
"""Seconds beyond the Job's own limit after which it is not waited for any more."""
_MOST: Final = 600


def in_cluster(
    what: Asked, image: str, name: str, namespace: str, seconds: int, kubectl: Kubectl
) -> Answer:
    """What a Job in that namespace said, or why it said nothing. It leaves nothing there."""
    name = f"{name}-{secrets.token_hex(3)}"
    before = signal.signal(signal.SIGTERM, _ended)
    try:
        refused = _create(what, image, name, namespace, seconds, kubectl)
        if refused:
            return nothing_learned(refused)
        return _wait(name, namespace, seconds, kubectl)
    finally:
        _remove(name, namespace, kubectl)
        signal.signal(signal.SIGTERM, before)


def _ended(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _create(
    what: Asked, image: str, name: str, namespace: str, seconds: int, kubectl: Kubectl
) -> str:
    """Make the objects and let the Job start; what the cluster said if it refused one."""
    config, policy, waiting = job(what, image, name, namespace, seconds, suspended=True)
    made = _one(waiting, namespace, kubectl)
    if isinstance(made, str):
        return f"the cluster did not take its Job: {made}"
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": made["metadata"]["uid"]}
    for obj in (config, policy):
        owned = {**obj, "metadata": {**obj["metadata"], "ownerReferences": [owner]}}
        there = _one(owned, namespace, kubectl)
        if isinstance(there, str):
            return f"the cluster did not take its {obj['kind']}: {there}"
    patch = ["--type=merge", "--patch", '{"spec":{"suspend":false}}']
    done = kubectl.run(["patch", "job", name, "-n", namespace, *patch])
    return _words(done.stderr) if done.returncode else ""


def _one(obj: dict[str, Any], namespace: str, kubectl: Kubectl) -> dict[str, Any] | str:
    """An object as it was made, or what the cluster said instead."""
    done = kubectl.run(["create", "-f", "-", "-n", namespace, "-o", "json"], json.dumps(obj))
    if done.returncode:
        return _words(done.stderr)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def _wait(name: str, namespace: str, seconds: int, kubectl: Kubectl) -> Answer:
    """Look at the Job until it has ended, and say meanwhile what it waits for."""
    limit = time.monotonic() + seconds + BESIDE + _SLACK
    told, here = "", ["-n", namespace, "-o", "json"]
    while True:
        label = f"--selector=app.kubernetes.io/instance={name}"
        done = kubectl.run(["get", "jobs,pods", label, *here])
        stands = Standing(None, f"the cluster cannot be asked: {_words(done.stderr)}")
        if not done.returncode:
            items = json.loads(done.stdout)["items"]
            jobs = [one for one in items if one["kind"] == "Job"]
            pods = [one for one in items if one["kind"] == "Pod"]
            stands = standing(jobs[0] if jobs else None, pods)
            if stands.answer is None and not pods:
                refused = _no_pod(name, here, kubectl)
                stands = Standing(nothing_learned(refused)) if refused else stands
        if stands.answer is not None:
            return stands.answer
        if stands.words != told:
            told = stands.words
            click.echo(f"job {name}: {told}", err=True)
        if time.monotonic() > limit:
            return nothing_learned(f"it did not end in time; the last that was seen: {told}")
        time.sleep(_LOOK_EVERY)


def _no_pod(name: str, here: list[str], kubectl: Kubectl) -> str:
    """Why the cluster makes no pod of the Job, as an Event tells; empty if none does."""
    about = f"--field-selector=involvedObject.name={name},reason=FailedCreate"
    done = kubectl.run(["get", "events", about, *here])
    found = [] if done.returncode else json.loads(done.stdout)["items"]
    return f"the cluster did not take its pod: {found[-1].get('message')}" if found else ""


def _remove(name: str, namespace: str, kubectl: Kubectl) -> None:
    """Delete the Job and what lies beside it; its pod goes with it."""
    every = [f"{kind}/{name}" for kind in ("job", "networkpolicy", "configmap")]
    words = ["delete", *every, "-n", namespace, "--ignore-not-found", "--wait=false"]
    done = kubectl.run(words)
    if done.returncode:
        text = f"not removed: {_words(done.stderr)}; do: kubectl delete {' '.join(every)}"
        click.echo(f"warning: {text} -n {namespace}", err=True)


def _words(stderr: str) -> str:
    """What kubectl said, in one line."""
    return clean(" ".join(stderr.split()).removeprefix("Error from server "), _MOST)
