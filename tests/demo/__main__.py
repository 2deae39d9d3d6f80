"""`python -m demo`: check without a cluster, then apply, refuse, mend and move on a real one.

It must not pretend: every line under a command is what that command printed, and the exit code is
1 if anything that is promised did not happen.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from cluster.fixtures_operator import free_port
from controlplane import Cluster, ControlPlane, ControlPlaneError, ExternalCluster, KubectlError
from controlplane.build import ensure_built, kubernetes_version
from controlplane.nodes import gpu_node
from controlplane.processes import Process
from demo.stage import DemoError, Parts, claim, command, failure, output, run, say, until

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "deploy" / "samples"
NAMESPACE = "plimsoll-demo"
HERE = "127.0.0.1"


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    parser.add_argument("--cluster", metavar="mine", help="use the cluster of $KUBECONFIG")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.chdir(ROOT)
    parts = Parts()
    try:
        without_a_cluster(parts)
        with a_cluster(chosen.cluster, parts) as cluster:
            with_a_cluster(cluster, parts, keep=chosen.keep, shared=bool(chosen.cluster))
    except (DemoError, ControlPlaneError, KubectlError) as error:
        failure(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    parts.table()
    return 0


def plimsoll(name: str = "plimsoll") -> str:
    """The command installed beside this interpreter."""
    return str(Path(sys.executable).parent / name)


def without_a_cluster(parts: Parts) -> None:
    """The verdict in a pipeline: no cluster, no network."""
    parts.start("A pipeline's check: no cluster")
    command("plimsoll check deploy/samples")
    checked = run([plimsoll(), "check", "deploy/samples"])
    output(checked.stdout + checked.stderr)
    claim(checked.returncode == 1, "exit code 1: one of the samples is refused", checked.stderr)
    claim("short by" in checked.stdout, "the refusal says by how much it is short")
    parts.end("check without a cluster")


def a_cluster(mine: str | None, parts: Parts) -> ControlPlane | ExternalCluster:
    """A control plane of our own, or the cluster that was asked for."""
    if mine:
        named = os.environ.get("KUBECONFIG", "")
        if not named:
            raise ControlPlaneError("CLUSTER=mine takes the cluster of $KUBECONFIG, which is unset")
        return ExternalCluster(named)
    parts.start("A control plane of our own: etcd and kube-apiserver")
    programs = ensure_built()
    say(f"Kubernetes {kubernetes_version()}: {programs['kube-apiserver']}")
    parts.end("finding or building it (once)")
    return ControlPlane()


def with_a_cluster(cluster: Cluster, parts: Parts, *, keep: bool, shared: bool) -> None:
    """The story on a real API server."""
    parts.start("The cluster: nodes with GPUs, and Plimsoll's operator")
    operator = start_operator(cluster)
    try:
        nodes = [gpu_node(f"a100-{i}", "a100-80gb", count=8) for i in (1, 2)]
        nodes += [gpu_node("h100-1", "h100-80gb", count=8)]
        nodes += [gpu_node(f"l4-{i}", "l4", count=1) for i in (1, 2)]
        cluster.create(nodes)
        cluster.create([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
        command("kubectl get nodes -L nvidia.com/gpu.product,nvidia.com/gpu.count")
        output(
            kubectl(cluster, "get", "nodes", "-L", "nvidia.com/gpu.product,nvidia.com/gpu.count")
        )
        parts.end("starting cluster and operator")
        place(cluster, parts)
        refuse(cluster, parts)
        move(cluster, parts)
        if keep:
            stay(cluster)
    except BaseException:
        say(operator.tail())
        raise
    finally:
        operator.kill()
        if shared:
            for name in ("a100-1", "a100-2", "h100-1", "l4-1", "l4-2", "l40s-1"):
                cluster.kubectl("delete", "node", name, "--ignore-not-found", check=False)
            cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


def start_operator(cluster: Cluster) -> Process:
    """Controller and admission in one process, the webhook registered."""
    health, port = free_port(), free_port()
    command("plimsoll-operator dev --install")
    operator = Process(
        "plimsoll-operator",
        [
            plimsoll("plimsoll-operator"),
            "dev",
            "--install",
            "--metrics-host",
            HERE,
            "--metrics-port",
            str(health),
            "--admission-host",
            HERE,
            "--admission-port",
            str(port),
        ],
        cluster.folder / "operator.log",
        cwd=cluster.folder,
        environment=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)},
    )
    until(lambda: ready(operator, health) or None, "the operator is ready", 120)
    until(lambda: ready(operator, health + 1) or None, "admission is ready", 120)
    return operator


def ready(operator: Process, port: int) -> bool:
    """Whether a process says that it is ready."""
    if operator.wait(0) is not None:
        raise DemoError(f"the operator ended:\n{operator.tail()}")
    try:
        with urllib.request.urlopen(f"http://{HERE}:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def kubectl(cluster: Cluster, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
    """What kubectl prints, errors included."""
    done = cluster.kubectl("-n", NAMESPACE, *arguments, check=check, input=stdin)
    return done.stdout + done.stderr


def placement(cluster: Cluster, name: str) -> dict[str, Any] | None:
    """The placement in an object's status, once its spec has been observed."""
    found = cluster.get("llmd", name, "-n", NAMESPACE)
    status = found.get("status", {})
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return None
    placed: dict[str, Any] | None = status.get("placement")
    return placed


def on_nodes(cluster: Cluster, name: str) -> dict[str, Any] | None:
    """The placement, once it is on nodes that are there: nodes and objects were new together."""
    placed = placement(cluster, name)
    return placed if placed and placed["nodeSelector"] else None


def place(cluster: Cluster, parts: Parts) -> None:
    """What fits is admitted, sized and placed."""
    parts.start("kubectl apply: what fits is placed")
    names = ["smallest", "llama-70b", "fine-tune", "moe", "rule-of-thumb"]
    files = [f"deploy/samples/{name}.yaml" for name in names]
    flags = [part for file in files for part in ("-f", file)]
    command("kubectl apply " + " ".join(flags))
    output(kubectl(cluster, "apply", *flags))
    placed = until(lambda: on_nodes(cluster, "llama-70b"), "llama-70b is placed on nodes")
    for name in ("qwen3-moe", "smallest", "support-bot"):
        until(partial(on_nodes, cluster, name), f"{name} is placed on nodes")
    command("kubectl get llmd")
    output(kubectl(cluster, "get", "llmd"))
    command("kubectl get llmd llama-70b -o jsonpath={.status.placement} | yq -P")
    output(yaml.safe_dump(placed, sort_keys=False))
    claim(placed["accelerator"] == "nvidia-a100-80gb", "the 70B model got 80GB A100s")
    claim(placed["gpusPerReplica"] > 1, f"{placed['gpusPerReplica']} of them")
    claim(
        placed["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"},
        "and the node selector of the nodes that have them",
    )
    parts.end("apply and place five models")


def refuse(cluster: Cluster, parts: Parts) -> None:
    """What certainly does not fit is refused, and a fix that the refusal names is accepted."""
    parts.start("kubectl apply: what cannot fit is refused, with the ways out")
    command("kubectl apply -f deploy/samples/refused.yaml")
    done = cluster.kubectl(
        "-n", NAMESPACE, "apply", "-f", "deploy/samples/refused.yaml", check=False
    )
    said = done.stdout + done.stderr
    output(said)
    claim(done.returncode != 0, "refused", said)
    claim("short by" in said and "fits:" in said, "with the breakdown and the fixes", said)
    say()
    say("One of the fixes, as `plimsoll check -o json` gives it:")
    checked = json.loads(
        run([plimsoll(), "check", "-o", "json", str(SAMPLES / "refused.yaml")]).stdout
    )
    fix = next(
        a
        for a in checked["results"][0]["alternatives"]
        if any(c["path"] == "spec.accelerator.gpusPerReplica" for c in a["changes"])
        or any(c["path"] == "spec.engine.maxModelLen" for c in a["changes"])
    )
    changed = yaml.safe_load((SAMPLES / "refused.yaml").read_text())
    for change in fix["changes"]:
        say(f"  {change['path']}: {change['value']}")
        put(changed, change["path"], yaml.safe_load(change["value"]))
    changed["metadata"]["name"] = "mended"
    command("kubectl apply -f mended.yaml")
    output(kubectl(cluster, "apply", "-f", "-", stdin=yaml.safe_dump(changed)))
    mended = until(lambda: placement(cluster, "mended"), "the mended manifest has a placement")
    claim(mended["gpusPerReplica"] == fix["gpusPerReplica"], "accepted, and placed as promised")
    parts.end("refuse, mend and accept")


def put(obj: dict[str, Any], path: str, value: Any) -> None:
    """Set a field by its path."""
    *parents, last = path.split(".")
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value


def move(cluster: Cluster, parts: Parts) -> None:
    """When nodes go, a placement stays, and moves if it is told to follow."""
    parts.start("Nodes go: the placement stays, a better one is told of, and taken when asked for")
    before = until(lambda: on_nodes(cluster, "smallest"), "smallest is placed on nodes")
    say(f"smallest runs on {before['gpusPerReplica']} x {before['accelerator']}")
    gone = [
        node["metadata"]["name"]
        for node in cluster.get("nodes")["items"]
        if before["nodeSelector"].items() <= node["metadata"]["labels"].items()
    ]
    command(f"kubectl delete node {' '.join(gone)}")
    output(cluster.kubectl("delete", "node", *gone).stdout)

    def better() -> dict[str, Any] | None:
        conditions = cluster.get("llmd", "smallest", "-n", NAMESPACE)["status"]["conditions"]
        return next((c for c in conditions if c["type"] == "BetterPlacement"), None)

    told = until(better, "a better placement is told of")
    say(f"BetterPlacement: {told['message']}")
    now = until(lambda: on_nodes(cluster, "smallest"), "smallest is where it was")
    claim(now["nodeSelector"] == before["nodeSelector"], "the placement stays")
    follow = '{"spec": {"placementPolicy": "Follow"}}'
    command(f"kubectl patch llmd smallest --type=merge -p '{follow}'")
    started = time.monotonic()
    output(kubectl(cluster, "patch", "llmd", "smallest", "--type=merge", "-p", follow))

    def moved() -> dict[str, Any] | None:
        now = on_nodes(cluster, "smallest")
        return now if now and now["accelerator"] != before["accelerator"] else None

    after = until(moved, "the placement moves")
    seconds = time.monotonic() - started
    command("kubectl get llmd smallest")
    output(kubectl(cluster, "get", "llmd", "smallest"))
    claim(True, f"moved to {after['gpusPerReplica']} x {after['accelerator']} in {seconds:.1f} s")
    command("kubectl get events --field-selector involvedObject.name=smallest")
    output(
        kubectl(
            cluster,
            "get",
            "events",
            "--field-selector",
            "involvedObject.name=smallest",
            "-o",
            "custom-columns=TYPE:.type,REASON:.reason,MESSAGE:.message",
        )
    )
    parts.end("a placement stays, and follows when it is told to")


def stay(cluster: Cluster) -> None:
    """Leave it running for the user to try."""
    say()
    say("It stays until Ctrl-C. In another terminal:")
    say(f"  export KUBECONFIG={cluster.kubeconfig}")
    say(f"  alias kubectl={cluster.kubectl_path}")
    say(f"  kubectl -n {NAMESPACE} get llmd")
    say(f"  kubectl -n {NAMESPACE} apply -f deploy/samples/refused.yaml")
    signal.pause()


if __name__ == "__main__":
    sys.exit(main())
