"""Good reviews while admission is attacked, and its memory afterwards.

One core is the server's and the good client's, the other the attackers': the figures are of a
machine that is otherwise idle.
"""

from __future__ import annotations

import asyncio
import os
import resource
import ssl
import sys
import time
from pathlib import Path

from cluster.fixtures_operator import install
from controlplane import ControlPlane
from controlplane.processes import Process
from perf import requests
from perf.admission import review, servers
from perf.load import Load, at_rate
from perf.results import Report, percentile

CONNECTIONS = 5000
SECONDS = 20
PER_SECOND = 25
CALM = 8.0
"""Seconds that memory has to come back in: connections that say nothing are closed after 5."""


def good(url: str, context: ssl.SSLContext, seconds: int) -> Load:
    """Good reviews at a steady rate, each of them answered."""
    bodies = [review(requests.allowed(i), i) for i in range(seconds * PER_SECOND)]
    return asyncio.run(at_rate(url, context, bodies, PER_SECOND, b'"allowed":true'))


def run(report: Report) -> None:
    """Latency under attack against latency before, and memory after against before."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16384), most))
    with ControlPlane() as plane:
        install(plane)
        context = ssl.create_default_context(cadata=plane.authority.bundle.decode())
        with servers(plane) as (url, _, ours):
            port = url.split(":")[2].partition("/")[0]
            calm = good(url, context, 8)
            before = ours.memory()
            program = str(Path(__file__).with_name("attackers.py"))
            attackers = Process(
                "attackers",
                [sys.executable, program, "127.0.0.1", port, str(CONNECTIONS)],
                plane.folder / "attackers.log",
            )
            try:
                os.sched_setaffinity(attackers.pid, {1})
                attacked = good(url, context, SECONDS)
            finally:
                attackers.kill()
            time.sleep(CALM)
            report.add(
                "admission under attack: p99 of good reviews",
                percentile(attacked.latencies, 0.99), "ms", "<= 100",
                percentile(calm.latencies, 0.99),
            )  # fmt: skip
            report.add(
                "admission after the attack: memory of all its processes",
                ours.memory() / 2**20, "MiB", "ratio <= 1.2", before / 2**20,
            )  # fmt: skip
