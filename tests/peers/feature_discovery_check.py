"""Claims about nodes that NVIDIA's own gpu-feature-discovery (v0.18.0) labels: they are read right.

Not collected by `pytest`: `make test-peers` builds that program, once, and runs this file. There is
no GPU: a library in place of the driver's (nvml.c) says what NVML says on each card. Names and
MiB are those of nvidia-smi on such cards, capabilities of NVIDIA's list of CUDA GPUs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.build import FEATURE_DISCOVERY, ensure_built
from plimsoll.inventory.saved import from_dict
from plimsoll.units import MIB

CARDS = (
    ("Tesla T4", 15360, (7, 5), 4, "nvidia-t4"),
    ("Tesla V100-SXM2-32GB", 32768, (7, 0), 8, "nvidia-v100-32gb"),
    ("NVIDIA A10G", 23028, (8, 6), 4, "nvidia-a10g"),
    ("NVIDIA L4", 23034, (8, 9), 2, "nvidia-l4"),
    ("NVIDIA L40S", 46068, (8, 9), 8, "nvidia-l40s"),
    ("NVIDIA A100-SXM4-40GB", 40960, (8, 0), 8, "nvidia-a100-40gb"),
    ("NVIDIA A100-SXM4-80GB", 81920, (8, 0), 8, "nvidia-a100-80gb"),
    ("NVIDIA H100 80GB HBM3", 81559, (9, 0), 8, "nvidia-h100-80gb"),
    ("NVIDIA H200", 143771, (9, 0), 8, "nvidia-h200-141gb"),
    ("NVIDIA B200", 183359, (10, 0), 8, "nvidia-b200"),
)
"""As the driver names them: MiB, compute capability, GPUs; and our name."""


@dataclass(frozen=True)
class Discovery:
    """The program, and the library that stands in for the driver's."""

    program: Path
    folder: Path

    def labels(self, name: str, mib: int, compute: tuple[int, int], count: int) -> dict[str, str]:
        """What it writes on a node with such GPUs; its configuration may lie in the folder."""
        config = self.folder / "config.yaml"
        told = "|".join(map(str, (count, name, mib, *compute)))
        done = subprocess.run(
            [
                self.program,
                "--oneshot",
                "--no-timestamp",
                "--fail-on-init-error",
                f"--output-file={self.folder / 'labels'}",
                f"--machine-type-file={self.folder / 'machine'}",
                *([f"--config-file={config}"] if config.exists() else ()),
            ],
            env=os.environ
            | {
                "LD_LIBRARY_PATH": str(self.folder),
                "DEVICE_DISCOVERY_STRATEGY": "nvml",
                "PLIMSOLL_NVML": told,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        written = (self.folder / "labels").read_text().split()
        return dict(line.partition("=")[::2] for line in written)


@pytest.fixture
def discovery(tmp_path: Path) -> Discovery:
    """The program of this module, and its library made anew."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    program = ensure_built(FEATURE_DISCOVERY)[FEATURE_DISCOVERY]
    source, library = Path(__file__).with_name("nvml.c"), tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    (tmp_path / "machine").write_text("machine")
    return Discovery(program, tmp_path)


def node(labels: dict[str, str], gpus: int) -> dict[str, object]:
    """A node as the device plugin leaves it."""
    counts = {"cpu": "64", "nvidia.com/gpu": str(gpus)}
    ready = [{"type": "Ready", "status": "True"}]
    return {
        "kind": "Node",
        "metadata": {"name": "n", "labels": labels},
        "status": {"capacity": counts, "allocatable": counts, "conditions": ready},
    }


@pytest.mark.parametrize("card", CARDS, ids=[card[-1] for card in CARDS])
def test_the_labels_of_nvidias_own_program_name_the_gpu_and_its_memory(
    discovery: Discovery, card: tuple[str, int, tuple[int, int], int, str]
) -> None:
    name, mib, compute, count, ours = card
    labels = discovery.labels(name, mib, compute, count)
    (pool,) = from_dict({"kind": "List", "items": [node(labels, count)]}).pools
    assert (pool.accelerator.name, pool.gpus_per_node) == (ours, count)
    assert pool.accelerator.memory == mib * MIB
    assert dict(pool.labels)["nvidia.com/gpu.product"] == labels["nvidia.com/gpu.product"]


def test_gpus_that_are_shared_in_time_are_not_counted_as_whole_ones(discovery: Discovery) -> None:
    shared = {"resources": [{"name": "nvidia.com/gpu", "replicas": 4}]}
    config = {"version": "v1", "sharing": {"timeSlicing": shared}}
    (discovery.folder / "config.yaml").write_text(json.dumps(config))
    labels = discovery.labels("NVIDIA A100-SXM4-80GB", 81920, (8, 0), 8)
    assert labels["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-80GB-SHARED"
    found = from_dict({"kind": "List", "items": [node(labels, 32)]})
    assert found.pools == ()
    (aside,) = found.set_aside
    assert "shared" in aside.why, aside
