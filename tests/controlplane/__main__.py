"""`python -m controlplane build` and `run`: the control plane from the command line.

It must hold no logic of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time

from controlplane.build import ETCD, GITOPS, HELM, KUBERNETES, ensure_built, kubernetes_version
from controlplane.cluster import ControlPlane
from controlplane.errors import ControlPlaneError


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 if something failed, 130 after Ctrl-C before the cluster ran."""
    parser = argparse.ArgumentParser(prog="controlplane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="find or build the programs that tests need")
    build.add_argument(
        "sets",
        nargs="*",
        default=[ETCD, KUBERNETES, HELM, GITOPS],
        metavar="SET",
        help="folders under go/; without one: etcd, kube-apiserver, kubectl, helm and gitops",
    )
    run = commands.add_parser("run", help="start an empty cluster and keep it until Ctrl-C")
    run.add_argument("--keep", action="store_true", help="leave its working folder there")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what we started is ended
    try:
        if chosen.command == "build":
            for path in ensure_built(*chosen.sets).values():
                print(path)
        else:
            _run(keep=chosen.keep)
    except ControlPlaneError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(*, keep: bool) -> None:
    plane = ControlPlane(keep=keep)
    started = time.monotonic()
    with plane:
        print(
            f"Kubernetes {kubernetes_version()} at {plane.url} ({time.monotonic() - started:.1f} s)"
        )
        print(f"kubectl: {plane.kubectl_path}")
        print(f"export KUBECONFIG={plane.kubeconfig}")
        print("Ctrl-C ends it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    sys.exit(main())
