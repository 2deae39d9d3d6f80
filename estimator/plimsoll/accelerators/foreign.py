"""What a cloud's, a provisioner's or AMD's labels name: every dialect but that of NVIDIA.

    Karpenter (AWS), EKS Auto Mode   name and memory of the GPU, as EC2 describes it
    GKE                              kind of GPU, and the MIG profile of a partitioned one
    Karpenter (Azure), AKS, others   the type of the machine (see `plimsoll.accelerators.machines`)
    CoreWeave, Alibaba Cloud         name of the product
    AMD                              name of the product, or the device's id; memory in GiB
    DigitalOcean, Amazon, SkyPilot,
    Nebius, Karpenter (Google)       a name that people or tools write, in whichever spelling

It must not read memory out of a name, and it must not know how many GPUs a node has to give.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.found import Found, Unclear, checked, mebibytes, pairs, unlisted
from plimsoll.accelerators.machines import instance_type, machine_of
from plimsoll.accelerators.types import Accelerator, Dialect
from plimsoll.errors import shown
from plimsoll.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GKE: Final = "cloud.google.com/gke-accelerator"
PARTITION: Final = "cloud.google.com/gke-gpu-partition-size"
_EC2: Final = {
    Dialect.KARPENTER_AWS: "karpenter.k8s.aws/",
    Dialect.EKS_AUTO: "eks.amazonaws.com/",
}
_NEAR: Final = 0.12
"""How far the memory in a label of EC2's may lie from the table's value of that label: its tables
have counted in GB and in GiB, before and after what the driver keeps."""
_SKU: Final = "karpenter.azure.com/sku-name"
_AZURE_GPU: Final = "karpenter.azure.com/sku-gpu-name"
_COREWEAVE: Final = ("gpu.nvidia.com/class", "gpu.nvidia.com/model")
_ALIBABA: Final = "aliyun.accelerator/nvidia_name"
_ALIBABA_MEMORY: Final = "aliyun.accelerator/nvidia_mem"
_VRAM: Final = "amd.com/gpu.vram"
_AMD: Final = ("amd.com/gpu.product-name", "beta.amd.com/gpu.product-name", "amd.com/gpu.device-id")
_AMD_MEMORY: Final = (_VRAM, "beta.amd.com/gpu.vram")
_AMD_PARTITION: Final = (
    "amd.com/gpu.compute-memory-partition",
    "amd.com/compute-memory-partition",
)
_BY_HAND: Final = (
    "doks.digitalocean.com/gpu-model",
    "k8s.amazonaws.com/accelerator",
    "skypilot.co/accelerator",
    "nebius.com/gpu-name",
    "karpenter.k8s.gcp/instance-gpu-name",
)
Said = Found | Unclear | None


def readings(labels: Mapping[str, str]) -> list[Found | Unclear]:
    """What each dialect but NVIDIA's makes of labels, in the order in which they are asked."""
    return [said for read in _READERS if (said := read(labels)) is not None]


def foreign(labels: Mapping[str, str]) -> Said:
    """What labels other than NVIDIA's name; None if they name nothing.

    Two of them that name different GPUs are a contradiction.
    """
    said = readings(labels)
    named = [one for one in said if isinstance(one, Found)]
    for other in named[1:]:
        if not same(named[0].accelerator, other.accelerator):
            return contradiction(pairs(named[0].selector), other)
    return next(iter(named or said), None)


def contradiction(label: str, other: Found) -> Unclear:
    """That a label contradicts what another one names."""
    named = f"{pairs(other.selector)}, which is {other.accelerator.title}"
    return Unclear(f"label {label} contradicts {named}")


def same(one: Accelerator, other: Accelerator) -> bool:
    """Whether two accelerators are, or are slices of, the same GPU, as far as labels tell."""
    return not set(may_be(one)).isdisjoint(may_be(other))


def may_be(accelerator: Accelerator) -> tuple[str, ...]:
    """The names of the GPUs that an accelerator may be: several, where a name without a memory
    stands for cards of more than one.
    """
    name = accelerator.mig_of or accelerator.name
    several = catalogue.load().several.values()
    alike = (cards for cards in several if name in cards and not accelerator.certain)
    return next(alike, (name,))


def _meant(name: str) -> Accelerator | None:
    """The accelerator that somebody means by a name; of cards of several memories the one of least
    memory, which is not certain then.
    """
    known = catalogue.load()
    for written in (name, name.lower().removeprefix("nvidia-")):
        cards = [known.names[card] for card in known.several.get(written.lower(), ())]
        if cards:
            return replace(min(cards, key=lambda card: card.memory), certain=False)
        if (card := catalogue.find(written)) is not None:
            return card
    return None


@cache
def _index() -> dict[tuple[Dialect, tuple[tuple[str, str], ...]], Accelerator]:
    """The table by dialect and selector."""
    return {
        (entry.dialect, entry.selector): accelerator
        for accelerator in reversed(catalogue.full_gpus())
        for entry in accelerator.labels
    }


def _ec2(labels: Mapping[str, str]) -> Said:
    """Name and memory as EC2 describes them, in Karpenter's or EKS Auto Mode's labels."""
    for dialect, prefix in _EC2.items():
        keys = (f"{prefix}instance-gpu-memory", f"{prefix}instance-gpu-name")
        name = labels.get(keys[1], "")
        if not name:
            continue
        selector = tuple((key, labels[key]) for key in keys if key in labels)
        named = _by_ec2_name(dialect).get(name.lower(), ())
        memory = mebibytes(labels, keys[0])
        near = [
            (abs(memory - nominal), a)
            for nominal, a in named
            if memory is not None and abs(memory - nominal) <= _NEAR * nominal
        ]
        if near:
            return Found(min(near, key=lambda pair: pair[0])[1], dialect, selector)
        if keys[0] not in labels and len({a.name for _, a in named}) == 1:
            return Found(named[0][1], dialect, selector)
        return Unclear(f"{pairs(selector)} is not in the accelerator table")
    return None


@cache
def _by_ec2_name(dialect: Dialect) -> dict[str, tuple[tuple[int, Accelerator], ...]]:
    """The accelerators of each name that EC2 has, with the bytes that it says of them."""
    found: dict[str, list[tuple[int, Accelerator]]] = {}
    for accelerator in catalogue.full_gpus():
        for entry in accelerator.labels:
            if entry.dialect is dialect:
                memory, name = (value for _, value in entry.selector)
                found.setdefault(name.lower(), []).append((int(memory) * MIB, accelerator))
    return {name: tuple(pairs) for name, pairs in found.items()}


def _gke(labels: Mapping[str, str]) -> Said:
    """GKE's name of a GPU, and the profile of its slices."""
    kind = labels.get(GKE, "")
    if not kind:
        return None
    selector = ((GKE, kind),)
    accelerator = _index().get((Dialect.GKE, selector))
    if accelerator is None:
        accelerator = _coreweave_name(kind)  # set by hand elsewhere, in whichever spelling
    if accelerator is None:
        return Unclear(f"{pairs(selector)} is not in the accelerator table")
    profile = labels.get(PARTITION, "")
    if not profile:
        return Found(accelerator, Dialect.GKE, selector)
    known = catalogue.find(f"{accelerator.name}-mig-{profile}")
    if known is None:
        return Unclear(
            f"label {PARTITION}={shown(profile)} names no MIG profile of "
            f"{accelerator.title} that is in the accelerator table"
        )
    return Found(known, Dialect.GKE, (*selector, (PARTITION, profile)))


def _azure(labels: Mapping[str, str]) -> Said:
    """Karpenter's name of an Azure machine, or of its GPU where that has one size only."""
    sku = labels.get(_SKU, "")
    accelerator = _index().get((Dialect.KARPENTER_AZURE, ((_SKU, sku),)))
    if accelerator is not None:
        return Found(accelerator, Dialect.KARPENTER_AZURE, ((_SKU, sku),))
    name = labels.get(_AZURE_GPU, "")
    if not name:
        return None
    known = {
        a.name: a
        for a in catalogue.full_gpus()
        if any(entry.dialect is Dialect.KARPENTER_AZURE for entry in a.labels)
        and name.lower() in a.name.split("-")
    }
    selector = ((_AZURE_GPU, name),)
    if len(known) == 1:
        return Found(next(iter(known.values())), Dialect.KARPENTER_AZURE, selector)
    return Unclear(f"{pairs(selector)} does not tell which GPU it is, and no {_SKU} that is known")


def _coreweave(labels: Mapping[str, str]) -> Said:
    """CoreWeave's class of a GPU."""
    key = next((k for k in _COREWEAVE if labels.get(k)), None)
    if key is None:
        return None
    selector = ((key, labels[key]),)
    known = _coreweave_name(labels[key])
    if known is None:
        return Unclear(f"{pairs(selector)} is not in the accelerator table")
    return Found(known, Dialect.COREWEAVE, selector)


def _coreweave_name(name: str) -> Accelerator | None:
    """The accelerator of a class, or of a name that people use, underlines for dashes."""
    by_class = _index().get((Dialect.COREWEAVE, (("gpu.nvidia.com/class", name),)))
    return by_class or _meant(name.replace("_", "-"))


def _alibaba(labels: Mapping[str, str]) -> Said:
    """Alibaba Cloud's name of a product, and the memory that its driver reports."""
    name = labels.get(_ALIBABA, "")
    if not name:
        return None
    selector = ((_ALIBABA, name),)
    memory = mebibytes(labels, _ALIBABA_MEMORY)
    known = catalogue.of_product(name, memory) or catalogue.find(name)
    if known is not None:
        accelerator = checked(known, memory, labels, _ALIBABA_MEMORY, pairs(selector))
        if isinstance(accelerator, Unclear):
            return accelerator
        return Found(accelerator, Dialect.ALIBABA, selector)
    if memory is None:
        return Unclear(f"{pairs(selector)} is not in the accelerator table")
    source = f"node label {_ALIBABA_MEMORY}"
    own = unlisted(name, memory, source=source, label=selector[0], dialect=Dialect.ALIBABA)
    return Found(own, Dialect.ALIBABA, selector)


def _amd(labels: Mapping[str, str]) -> Said:
    """AMD's product name or device id, with the memory of its label.

    That is rounded to GiB: half a GiB less is sure.
    """
    named = [(key, labels[key]) for key in _AMD if labels.get(key)]
    memory_key = next((key for key in _AMD_MEMORY if key in labels), "")
    if not named and not memory_key:
        return _amd_mixed(labels)
    selector = named[0] if named else (memory_key, labels[memory_key])
    known: Accelerator | None = None
    for key, value in named:
        entry = (key.removeprefix("beta."), value)
        known = _index().get((Dialect.AMD, (entry,)))
        if known is not None:
            selector = (key, value)
            break
    for key in _AMD_PARTITION:
        if not labels.get(key, "spx").lower().startswith("spx"):
            return Unclear(
                f"its GPUs are partitioned ({key}={shown(labels[key])}): how much memory one "
                "partition has is not known"
            )
    if not memory_key:
        if known is not None:
            return Found(known, Dialect.AMD, (selector,))
        return Unclear(
            f"{pairs((selector,))} is not in the accelerator table and the node has no label "
            f"{_VRAM}"
        )
    vram = labels[memory_key]
    gib = vram.removesuffix("G")
    if not (gib.isascii() and gib.isdecimal() and 0 < len(gib) <= 5 and int(gib)):
        return Unclear(f"label {memory_key}={shown(vram)} is not a number of GiB")
    memory = int(gib) * GIB - GIB // 2
    if known is None:
        title = f"AMD {selector[1]}" if named else f"AMD GPU of {gib} GiB"
        own = unlisted(
            title,
            memory,
            source=f"node label {memory_key}",
            label=selector,
            resource="amd.com/gpu",
            dialect=Dialect.AMD,
        )
        return Found(own, Dialect.AMD, (selector,))
    accelerator = checked(known, memory, labels, memory_key, pairs((selector,)))
    return (
        accelerator
        if isinstance(accelerator, Unclear)
        else Found(accelerator, Dialect.AMD, (selector,))
    )


def _amd_mixed(labels: Mapping[str, str]) -> Said:
    """AMD's labeller counts by value, and says no value, where the GPUs of a node differ."""
    counts = sorted(
        key
        for key in labels
        if key.startswith(("amd.com/gpu.vram.", "amd.com/gpu.product-name.")) and labels[key]
    )
    if len(counts) < 2:
        return None
    return Unclear(
        f"its GPUs are of several kinds ({', '.join(counts[:4])}): which a pod gets is not known"
    )


def _machine(labels: Mapping[str, str]) -> Said:
    """The accelerator in a cloud's machine."""
    said = instance_type(labels)
    machine = machine_of(labels)
    if said is None or machine is None:
        return None
    known = catalogue.find(machine.accelerator)
    if known is None or known.resource == "habana.ai/gaudi":
        return None
    return Found(known, machine.dialect, (said,))


def _by_hand(labels: Mapping[str, str]) -> Said:
    """A label that people or tools write, if its value is a name that the table knows."""
    for key in _BY_HAND:
        known = _meant(labels[key]) if labels.get(key) else None
        if known is not None:
            return Found(known, Dialect.NODE_LABEL, ((key, labels[key]),))
    return None


_READERS: Final[tuple[Callable[[Mapping[str, str]], Said], ...]] = (
    _ec2,
    _gke,
    _azure,
    _coreweave,
    _alibaba,
    _amd,
    _machine,
    _by_hand,
)
"""Who reads labels, in the order in which they are asked: the first says how to select."""
