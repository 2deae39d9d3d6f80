"""The image, built for real and started as Kubernetes starts it: its user, a read-only root.

It is built without a registry: bases made of Debian's packages stand in for those of a release.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from packaging.requirements import Requirement

from cluster.fixtures_operator import conditions, free_port, install, operator_process, until
from controlplane import Cluster, ControlPlane
from controlplane.cache import cache_folder
from controlplane.certificates import LOOPBACK
from controlplane.nodes import gpu_node
from image.build import USER, Image, build, why_not
from plimsoll import __version__
from plimsoll_operator.api.webhook import at_url, webhook_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.timeout(900), pytest.mark.skipif(bool(why_not()), reason=why_not())]

SAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "samples"
LARGEST = 230e6
"""Bytes, unpacked, with a base of 66 MB that Debian's packages make."""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image of this tree."""
    return build(tmp_path_factory.mktemp("image"), cache_folder() / "image")


def run(image: Image, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Its entry point with these arguments."""
    return subprocess.run(
        image.command(*arguments),
        env=image.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_starts_as_its_own_user_with_a_read_only_root(image: Image) -> None:
    assert image.user == f"{USER}:{USER}"
    done = run(image, "--version")
    assert done.stdout.strip().endswith(__version__), done.stderr
    listed = {p for p in image.folder.rglob("*") if p.is_file() and p.stat().st_uid == USER}
    assert not listed, "its user owns no file in it"


def test_it_holds_neither_pip_nor_compiler_nor_health_check(image: Image) -> None:
    names = {path.name for path in image.folder.rglob("bin/*")}
    assert not names & {"pip", "pip3", "gcc", "cc", "ld", "make", "go", "apt-get", "curl"}
    assert not list(image.folder.rglob("site-packages/pip"))
    assert "Healthcheck" not in image.config


def test_it_is_small(image: Image) -> None:
    print(f"image {image.size / 1e6:.0f} MB, of which base {image.base_size / 1e6:.0f} MB")
    assert image.size < LARGEST


def test_a_list_in_spdx_names_everything_in_it(image: Image) -> None:
    listed = json.loads((image.folder / "opt/plimsoll/sbom.spdx.json").read_text())
    assert listed["spdxVersion"] == "SPDX-2.3"
    purls = {r["referenceLocator"] for p in listed["packages"] for r in p.get("externalRefs", ())}
    assert f"pkg:pypi/plimsoll-gpu@{__version__}" in purls
    lock = (SAMPLES.parents[1] / "requirements" / "operator.lock").read_text()
    for line in lock.splitlines():
        if "==" not in line or line.startswith((" ", "#")):
            continue
        wanted = Requirement(line.removesuffix("\\").strip())
        if wanted.marker is None or wanted.marker.evaluate():
            (version,) = wanted.specifier
            assert f"pkg:pypi/{wanted.name.lower()}@{version.version}" in purls
    assert any(purl.startswith("pkg:deb/debian/") for purl in purls), "the base's packages too"


def test_the_command_line_is_in_it(image: Image) -> None:
    whole = image.command()
    entry = whole.index(image.entrypoint[0], whole.index(image.user))
    done = subprocess.run(
        [*whole[:entry], "/opt/plimsoll/bin/plimsoll", "estimate", "Qwen/Qwen2.5-7B-Instruct"],
        env=image.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "nvidia-h100-80gb" in done.stdout, done.stderr


@pytest.fixture(scope="module")
def served(image: Image, control_plane: Cluster, tmp_path_factory: Any) -> Iterator[Cluster]:
    """A cluster with both processes, run from the image."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("needs a control plane that trusts our certificates")
    plane = control_plane
    install(plane)
    port = free_port()
    share = tmp_path_factory.mktemp("share")
    certificate, key = plane.authority.issue("admission", sans=LOOPBACK).write(share, "tls")
    files = [certificate, key]
    for account in ("plimsoll-webhook", "plimsoll-controller"):
        made = plane.kubeconfig_for_service_account("plimsoll-system", account)
        files.append(share / account)
        files[-1].write_bytes(made.read_bytes())
    for path in files:
        path.chmod(0o440)
        subprocess.run(["chown", f"root:{USER}", str(path)], check=True)
    share.chmod(0o755)
    settings = {
        "admission_host": "127.0.0.1",
        "admission_port": port,
        "tls_cert": f"/mnt/{certificate.name}",
        "tls_key": f"/mnt/{key.name}",
    }
    started: dict[str, Any] = {"folder": plane.folder, "environment": image.environment}
    with (
        operator_process(
            "admission",
            Path("/mnt/plimsoll-webhook"),
            settings=settings,
            program=image.command("admission", share=share),
            **started,
        ) as admission,
        operator_process(
            "controller",
            Path("/mnt/plimsoll-controller"),
            program=image.command("controller", share=share),
            **started,
        ),
    ):
        url = f"https://127.0.0.1:{port}/fit"
        own = webhook_configuration("plimsoll-image", at_url(url, plane.authority.bundle))
        plane.kubectl("apply", "-f", "-", input=json.dumps(own))
        status = Path(f"/proc/{admission.process.pid}/status").read_text()
        assert f"Uid:\t{USER}\t{USER}" in status
        try:
            yield plane
        finally:
            plane.kubectl("delete", "validatingwebhookconfiguration", "plimsoll-image")


def test_it_refuses_what_the_demo_refuses_and_decides_what_fits(
    served: Cluster, namespace: str
) -> None:
    served.create([gpu_node("image-a100")])

    def refused() -> bool:
        done = served.kubectl(
            "-n", namespace, "apply", "-f", str(SAMPLES / "refused.yaml"), check=False
        )
        if done.returncode == 0:  # the API server takes a moment to know a webhook
            served.kubectl("-n", namespace, "delete", "llmd", "--all")
            time.sleep(0.3)
            return False
        assert "short by" in done.stderr, done.stderr
        return True

    until(refused, 20, "refused")
    served.kubectl("-n", namespace, "apply", "-f", str(SAMPLES / "smallest.yaml"))
    name = yaml.safe_load((SAMPLES / "smallest.yaml").read_text())["metadata"]["name"]

    def fits() -> bool:
        found = served.kubectl("-n", namespace, "get", "llmd", name, "-o", "json").stdout
        return conditions(json.loads(found)).get("Fits", {}).get("status") == "True"

    until(fits, 20, "the controller in the image decided")
