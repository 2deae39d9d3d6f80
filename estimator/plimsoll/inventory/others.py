"""Accelerators of a node that are not planned on, each with the reason why.

Resources of other makers, of GPUs that several pods share, and of GPUs that virtual machines get;
labels that tell of an accelerator where no resource does. It must not count any of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.machines import instance_type, machine_of
from plimsoll.errors import clean, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAKERS: Final = (
    ("habana.ai/", "Intel Gaudi: no label says how much memory one has"),
    ("gpu.intel.com/", "Intel GPUs"),
    ("aws.amazon.com/neuron", "AWS Trainium or Inferentia"),
    ("google.com/tpu", "Google TPUs"),
    ("cloud-tpus.google.com/", "Google TPUs"),
    ("huawei.com/ascend", "Huawei Ascend"),
    ("huawei.com/npu", "Huawei Ascend"),
    ("cambricon.com/", "Cambricon MLUs"),
    ("metax-tech.com/", "MetaX GPUs"),
    ("mthreads.com/", "Moore Threads GPUs"),
    ("hygon.com/", "Hygon DCUs"),
    ("enflame.com/", "Enflame GCUs"),
    ("iluvatar.ai/", "Iluvatar GPUs"),
    ("kunlunxin.com/", "Kunlunxin XPUs"),
    ("birentech.com/", "Biren GPUs"),
    ("alibabacloud.com/ppu", "Alibaba PPUs"),
    ("furiosa.ai/", "FuriosaAI NPUs"),
    ("rebellions.ai/", "Rebellions NPUs"),
    ("tenstorrent.com/", "Tenstorrent cards"),
    ("qualcomm.com/qaic", "Qualcomm Cloud AI cards"),
    ("iluvatar.com/", "Iluvatar GPUs"),
    ("vastaitech.com/", "Vastai cards"),
    ("graphcore.ai/", "Graphcore IPUs"),
    ("baidu.com/xpu", "Kunlunxin XPUs"),
    ("sophgo.com/", "Sophgo TPUs"),
    ("sambanova.ai/", "SambaNova RDUs"),
    ("cerebras.net/", "Cerebras wafers"),
    ("ibm.com/spyre", "IBM Spyre"),
    ("microsoft.com/directx", "GPUs of a Windows node"),
)
"""Beginnings of other makers' resources, in small letters, with what they are."""
_SHARED: Final = (
    ("nvidia.com/gpu.shared", "time-slicing or MPS"),
    ("nvidia.com/gpumem", "HAMi"),
    ("nvidia.com/gpucores", "HAMi"),
    ("aliyun.com/gpu-mem", "the GPU sharing of Alibaba Cloud"),
    ("aliyun.com/gpu-core", "the GPU sharing of Alibaba Cloud"),
    ("volcano.sh/vgpu", "Volcano"),
    ("volcano.sh/gpu", "Volcano"),
    ("4paradigm.com/vgpu", "the vGPU scheduler"),
    ("tencent.com/vcuda", "the GPU manager of Tencent"),
    ("k8s.amazonaws.com/vgpu", "the virtual GPU plugin of Amazon"),
    ("tke.cloud.tencent.com/qgpu", "the GPU sharing of Tencent Cloud"),
)
"""Beginnings of resources by which several pods share a GPU, with who does it."""
_TO_MACHINES: Final = re.compile(
    r"nvidia\.com/(pgpu|vgpu|grid|nvidia|g[abhv][0-9]|ad1[0-9]|tu1[0-9]"
    r"|.*(tesla|rtx|geforce|quadro|[_-][abhltv][0-9]{1,3}))",
    re.IGNORECASE,
)
_SOUNDS_SHARED: Final = re.compile(r"(?<![a-z])[vqc]gpu|gpu[-_.]?(?:mem|core|slice|share|perc)")
_SOUNDS: Final = re.compile(r"(?<![a-z])(?:gpus?|[nxhitpl]pus?|dcu|mlu|gcu|accelerators?)(?![a-z])")
"""Words in the names of resources of makers that nobody listed here."""
_COUNTED: Final = ("nvidia.com/gpu", "amd.com/gpu")
_AMD_PARTITION: Final = re.compile(r"amd\.com/(spx|dpx|tpx|qpx|cpx)_nps[0-9]")
_TELLING: Final = (
    ("intel.feature.node.kubernetes.io/gaudi", "Intel Gaudi"),
    ("habana.ai/product.name", "Intel Gaudi"),
    ("cloud.google.com/gke-tpu-accelerator", "Google TPUs"),
    ("aws.amazon.com/neuron.present", "AWS Trainium or Inferentia"),
    ("gpu.intel.com/device.count", "Intel GPUs"),
    ("gpu.intel.com/product", "Intel GPUs"),
    ("accelerator", "Huawei Ascend"),
    ("feature.node.kubernetes.io/aws-neuron", "AWS Trainium or Inferentia"),
    ("feature.node.kubernetes.io/pci-1200_1da3.present", "Intel Gaudi"),
)
"""Labels of other makers' accelerators."""
_PRESENT: Final = (
    "nvidia.com/gpu.present",
    "feature.node.kubernetes.io/pci-10de.present",
    "feature.node.kubernetes.io/pci-0300_10de.present",
    "feature.node.kubernetes.io/pci-0302_10de.present",
    "feature.node.kubernetes.io/amd-gpu",
)
"""Labels of a machine with a GPU of NVIDIA's or AMD's, whichever it is."""
_BEGINS: Final = {"accelerator": "huawei-ascend"}
"""How the value of a telling label begins that others use as well, in small letters."""
_LABELS: Final = {"amd.com/gpu": ("amd.com/gpu.device-id", "AMD's node labeller")}
"""Which label tells the GPUs of a resource, and who writes it, where NVIDIA's is not meant."""
REGISTERED: Final = ("hami.io/node-nvidia-register", "4pd.io/node-nvidia-register")
"""Annotations in which HAMi keeps what it makes of a node's GPUs."""
LONGEST: Final = 16_384
"""Characters of such an annotation that are looked at."""


def set_aside(resources: Mapping[str, int]) -> tuple[str, ...]:
    """Why accelerators among a node's resources are not counted, one sentence a resource."""
    told = []
    for name in sorted(resources):
        if resources[name] <= 0:
            continue
        lower, given = name.lower(), clean(f"{name}: {resources[name]}")
        for start, maker in _MAKERS:
            if lower.startswith(start):
                told.append(f"{given}: accelerators of this kind are not known ({maker})")
        for start, who in _SHARED:
            if lower.startswith(start):
                told.append(
                    f"{given}: GPUs are shared by {who}: no model can count on the memory of one"
                )
        if lower.endswith(".shared") and lower.startswith("nvidia.com/mig-"):
            told.append(f"{given}: slices are shared: no model can count on the memory of one")
        elif _TO_MACHINES.match(name) and not lower.startswith("nvidia.com/gpu"):
            told.append(f"{given}: GPUs for virtual machines, which no pod of an engine gets")
        elif _AMD_PARTITION.fullmatch(lower):
            told.append(f"{given}: how much memory one partition has is not known")
        elif not told or not told[-1].startswith(given):
            told += _by_its_sound(lower, given)
    return tuple(dict.fromkeys(told))


def _by_its_sound(name: str, given: str) -> list[str]:
    """What a resource is that no table lists, by the words in its name; nothing if they say
    nothing of accelerators.
    """
    domain, _, local = name.partition("/")
    if not local or name in _COUNTED or name.startswith("nvidia.com/mig-"):
        return []
    if _SOUNDS_SHARED.search(local):
        who = clean(domain)
        return [f"{given}: GPUs are shared by {who}: no model can count on the memory of one"]
    if domain in ("nvidia.com", "amd.com") and (_SOUNDS.search(local) or catalogue.find(local)):
        named = " and ".join(_COUNTED)
        return [f"{given}: a device plugin gives GPUs this name: {named} are planned on"]
    if _SOUNDS.search(local):
        return [f"{given}: accelerators of this kind are not known"]
    return []


@lru_cache(maxsize=1024)
def is_accelerator(name: str) -> bool:
    """Whether a resource is one that `set_aside` has words for."""
    return bool(set_aside({name: 1}))


def told_of(labels: Mapping[str, str]) -> str:
    """What labels say of an accelerator that no resource of the node gives; empty if nothing."""
    for key, maker in _TELLING:
        value = labels.get(key, "false").lower()
        if value not in ("false", "0", "") and value.startswith(_BEGINS.get(key, "")):
            given = f"{key}={clean(labels[key])}"
            return f"{given}: accelerators of this kind are not known ({maker})"
    named = instance_type(labels)
    machine = machine_of(labels)
    if named and machine and catalogue.find(machine.accelerator) is None:
        return f"{named[0]}={named[1]}: {machine.accelerator} is not in the accelerator table"
    for key in _PRESENT:
        if labels.get(key, "").lower() == "true":
            return (
                f"{key}=true and no GPU in its capacity: the device plugin has not started, or "
                "has failed, or its GPUs are given out by DRA"
            )
    return ""


def shared_by_hami(annotations: Mapping[str, str]) -> str:
    """How HAMi shares the GPUs of a node; empty if it does not, or gives each to one pod."""
    text = next((annotations[key] for key in REGISTERED if annotations.get(key)), "")[:LONGEST]
    if not text:
        return ""
    most = max((count for count in _to_one(text)), default=0)
    return "" if most == 1 else f"shared by HAMi{f', {most} pods to one' if most else ''}"


def _to_one(text: str) -> Iterable[int]:
    """Pods to one GPU, of each that HAMi registered: as JSON, or as lines of an older release."""
    try:
        devices: Any = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        devices = [
            {"count": int(parts[1])}
            for parts in (device.split(",") for device in text.split(":"))
            if len(parts) > 4 and parts[1].isascii() and parts[1].isdecimal() and len(parts[1]) < 6
        ]
    for device in devices if isinstance(devices, list) else ():
        count = device.get("count") if isinstance(device, Mapping) else None
        if isinstance(count, int) and not isinstance(count, bool) and 0 < count < 10_000:
            yield count


def unnamed(labels: Mapping[str, str], resource: str) -> str:
    """Why a node with GPUs in its capacity cannot be counted: no label says which they are."""
    named = instance_type(labels)
    machine = f" ({named[0]}={shown(named[1])} is not in the table of machines)" if named else ""
    wanted, whose = _LABELS.get(resource, (catalogue.PRODUCT, "GPU Feature Discovery"))
    return (
        f"no label says which GPU it has{machine}: {wanted} ({whose}) or a cloud's own label is "
        "wanted"
    )
