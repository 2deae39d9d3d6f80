"""What guarding other people's kinds costs those that serve no LLM.

sent        a Deployment that trains on GPUs: its review against one that nobody reads, in turn
not sent    Deployments of a web server, created in a namespace that is guarded: how many
            reviews the API server sends, and how long a create takes against one in a
            namespace without the label
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import statistics
import time
from typing import TYPE_CHECKING, Any

from cluster.fixtures_operator import install, until
from cluster.workloads import deployment
from controlplane import ControlPlane
from perf.admission import review, servers
from perf.load import as_fast
from perf.results import Report, percentile
from plimsoll_operator.api.webhook import at_url, workloads_configuration

if TYPE_CHECKING:
    from cluster.fixtures_operator import OperatorProcess

CREATES = 200
ROUNDS = 5
REVIEWS = 400
LABEL = "plimsoll.dev/workloads"


def training(number: int) -> dict[str, Any]:
    """A Deployment that asks for GPUs and serves no LLM."""
    arguments = ["train.py", "--batch", str(number)]
    image = "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime"
    return deployment(f"train-{number}", arguments, 8, "NVIDIA-L4", "bench", image=image)


def web(number: int, namespace: str) -> dict[str, Any]:
    """A Deployment of a web server."""
    return deployment(f"web-{number}", [], 0, "NVIDIA-L4", namespace, image="nginx:1.29")


def seen(ours: OperatorProcess) -> int:
    """How many reviews came in so far."""
    lines = ours.get("/metrics")[1].splitlines()
    counts = [line for line in lines if line.startswith("plimsoll_admission_seconds_count")]
    return sum(int(float(line.rpartition(" ")[2])) for line in counts)


def sent(report: Report, url: str, baseline: str, context: ssl.SSLContext) -> None:
    """What the review of one that is sent adds."""

    def median(target: str, first: int, wanted: bytes) -> float:
        bodies = [review(training(first + i), first + i) for i in range(REVIEWS)]
        load = asyncio.run(as_fast(target, context, bodies, 1, wanted))
        return percentile(load.latencies, 0.5)

    ours, theirs = [], []
    for number in range(ROUNDS + 1):
        first = number * REVIEWS
        pair = (
            median(url, first, b'"allowed":true'),
            median(baseline, first, b'"allowed": true'),
        )
        if number:  # the first warms both up
            ours.append(pair[0])
            theirs.append(pair[1])
    added = statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
    name = "review of a Deployment that is no LLM, beyond the baseline's"
    report.add(name, added, "ms", "<= 1", statistics.median(theirs))


def not_sent(report: Report, plane: ControlPlane, url: str, ours: OperatorProcess) -> None:
    """How many of what cannot be an LLM are sent, and what their creates take."""
    certificate, key = plane.authority.issue("guard", ["system:masters"]).write(
        plane.folder, "guard"
    )
    context = ssl.create_default_context(cadata=plane.authority.bundle.decode())
    context.load_cert_chain(certificate, key)
    configuration = workloads_configuration("plimsoll-bench", at_url(url, plane.authority.bundle))
    plane.kubectl("apply", "-f", "-", input=json.dumps(configuration))
    before = seen(ours)
    probe = json.dumps(training(10**6))
    dry = ("create", "--dry-run=server", "-f", "-")

    def is_asked() -> bool:
        plane.kubectl(*dry, input=probe)
        return seen(ours) > before

    until(is_asked, 30, "the API server asks")
    time.sleep(1)
    before = seen(ours)
    took: dict[str, float] = {}
    for namespace in ("plain", "bench", "plain", "bench"):
        target = f"{plane.url}/apis/apps/v1/namespaces/{namespace}/deployments"
        first = len(took) * CREATES + (10**5 if namespace in took else 0)
        bodies = [json.dumps(web(first + i, namespace)).encode() for i in range(CREATES)]
        load = asyncio.run(as_fast(target, context, bodies, 1, b'"uid"'))
        took[namespace] = percentile(load.latencies, 0.5)
    name = f"reviews sent of {2 * CREATES} Deployments without GPUs, guarded"
    report.add(name, seen(ours) - before, "", "<= 0")
    name = "create of a Deployment without GPUs, guarded"
    report.add(name, took["bench"], "ms", "ratio <= 1.25", took["plain"])
    plane.kubectl("delete", "validatingwebhookconfiguration", "plimsoll-bench")


def run(report: Report) -> None:
    """All figures of what is no LLM."""
    with ControlPlane() as plane:
        install(plane)
        plane.kubectl("create", "namespace", "plain")
        plane.kubectl("create", "namespace", "bench")
        plane.kubectl("label", "namespace", "bench", f"{LABEL}=enforce")
        context = ssl.create_default_context(cadata=plane.authority.bundle.decode())
        os.sched_setaffinity(0, {1})
        try:
            with servers(plane) as (url, baseline, ours):
                sent(report, url, baseline, context)
                not_sent(report, plane, url, ours)
        finally:
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
