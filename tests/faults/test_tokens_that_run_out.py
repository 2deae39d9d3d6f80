"""The claim that both processes go on when their tokens run out, whatever the clock says.

The tokens are real and of a few seconds: signed here with the control plane's own key, since the
API server makes none for less than ten minutes. It takes one for a minute after its end (for clocks
that differ) and remembers for ten seconds that it was good.
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from cluster.fixtures_operator import conditions, llm_deployment, until
from cluster.plane import own_plane
from controlplane.nodes import gpu_node
from faults.both import both

if TYPE_CHECKING:
    from pathlib import Path

    from controlplane import ControlPlane

LEEWAY = 60.0
LIVES = 20.0
REMEMBERED = 12.0

plane = own_plane(nodes=[gpu_node("a100-0")], scope="function")


def part(of: bytes) -> str:
    return base64.urlsafe_b64encode(of).rstrip(b"=").decode()


class Tokens:
    """Files with tokens, and kubeconfigs that lead to them."""

    def __init__(self, plane: ControlPlane) -> None:
        pem = (plane.folder / "certificates" / "service-accounts.key").read_bytes()
        key = serialization.load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self._files: list[tuple[Path, dict[str, Any]]] = []

    def kubeconfig(self, given: Path) -> Path:
        """One whose token lies in a file and ends soon, in place of one that holds its token."""
        config = json.loads(given.read_text())
        user = config["users"][0]["user"]
        claims = user.pop("token").split(".")[1]
        file = given.with_suffix(".token")
        read = json.loads(base64.urlsafe_b64decode(claims + "=="))
        self._files.append((file, read))
        self._write(file, read, LIVES - LEEWAY)
        user["tokenFile"] = str(file)
        path = given.with_suffix(".token.kubeconfig")
        path.write_text(json.dumps(config))
        return path

    def rotate(self) -> None:
        """Newer tokens, as a kubelet writes them long before the old ones end."""
        for file, claims in self._files:
            self._write(file, claims, 3600)

    def _write(self, file: Path, claims: dict[str, Any], ends: float) -> None:
        now = int(time.time())
        claims |= {"exp": int(now + ends), "iat": now - 3600, "nbf": now - 3600}
        head = {"alg": "ES256"}
        text = ".".join(part(json.dumps(each).encode()) for each in (head, claims))
        signature = self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        numbers = decode_dss_signature(signature)
        file.write_text(f"{text}.{part(b''.join(n.to_bytes(32, 'big') for n in numbers))}")


def ready(plane: ControlPlane, name: str) -> bool:
    found = conditions(plane.get("llmdeployment", name))
    return found.get("Ready", {}).get("status") == "True"


@pytest.mark.timeout(300)
def test_both_processes_go_on_with_the_newer_token_of_the_file_when_theirs_has_run_out(
    plane: ControlPlane,
) -> None:
    tokens = Tokens(plane)
    with both(plane, tokens.kubeconfig) as kubelets:
        started = time.monotonic()
        for kubelet in kubelets:
            until(kubelet.running.ready, LIVES, "it is ready with the first token")
        tokens.rotate()
        plane.create([llm_deployment("before", "default")])
        until(lambda: ready(plane, "before"), LIVES)
        time.sleep(max(0.0, LIVES + REMEMBERED - (time.monotonic() - started)))
        plane.stop_apiserver()  # every watch begins again, and asks with what it has
        plane.start_apiserver()
        controller, admission = (kubelet.running for kubelet in kubelets)
        plane.kubectl("label", "namespace", "default", "plimsoll.dev/policy=warn")

        def let_in() -> bool:
            large = llm_deployment(
                "large",
                "default",
                {
                    "engine": {"parallelism": {"tensor": 1}},
                    "accelerator": {"allowed": ["nvidia-l4"], "gpusPerReplica": 1},
                },
                uri="hf://meta-llama/Llama-3.3-70B-Instruct",
            )
            done = plane.kubectl("apply", "-f", "-", input=json.dumps(large), check=False)
            return done.returncode == 0

        until(let_in, 40, "admission has heard of the policy")
        until(lambda: conditions(plane.get("llmdeployment", "large")), 40, "the controller too")
        for process in (controller, admission):
            assert process.process.returncode is None
            refused = [line for line in process.log().splitlines() if "401" in line]
            assert len(refused) <= 6, refused
            print(*refused, sep="\n")
