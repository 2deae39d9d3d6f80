"""The GPUs that an object asks for: how many a pod gets, and of which kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.found import Found
from plimsoll.accelerators.labels import plain_profile, recognise
from plimsoll.decision.splits import MOST_GPUS
from plimsoll.errors import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MIG: Final = "nvidia.com/mig-"
"""How resources of MIG slices begin; the rest is the profile."""
WHOLE: Final = (
    "nvidia.com/gpu",
    "amd.com/gpu",
    "nvidia.com/gpu.shared",
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
    "habana.ai/gaudi",
    "google.com/tpu",
    "aws.amazon.com/neuron",
    "aws.amazon.com/neuroncore",
    "aws.amazon.com/neurondevice",
    "huawei.com/ascend910",
    "gpu",
)
"""Resources that are counted as GPUs."""
_MOST_RANKS: Final = {
    "aws.amazon.com/neuron": 8,
    "aws.amazon.com/neurondevice": 8,
    "google.com/tpu": 2,
    "huawei.com/ascend910": 2,
}
"""Resources that count boards of several cores each, of which an engine may start a rank on every
one: at most 8 on Trainium2 (2 on Trainium and Inferentia2), 2 on TPU v7x and Ascend 910C."""
_INSTANCE_LABELS: Final = (
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "karpenter.k8s.aws/instance-family",
)
_INSTANCES: Final = (
    ("p6-b200.", "nvidia-b200"),
    ("p6e-gb200", "nvidia-gb200"),
    ("p6-b300.", "nvidia-b300"),
    ("p5e.", "nvidia-h200-141gb"),
    ("p5en.", "nvidia-h200-141gb"),
    ("p5.", "nvidia-h100-80gb"),
    ("p4de.", "nvidia-a100-80gb"),
    ("p4d.", "nvidia-a100-40gb"),
    ("p3dn.", "nvidia-v100-32gb"),
    ("p3.", "nvidia-v100-16gb"),
    ("g6e.", "nvidia-l40s"),
    ("g6.", "nvidia-l4"),
    ("gr6.", "nvidia-l4"),
    ("g5.", "nvidia-a10g"),
    ("g4dn.", "nvidia-t4"),
    ("a4-highgpu", "nvidia-b200"),
    ("a3-ultragpu", "nvidia-h200-141gb"),
    ("a3-", "nvidia-h100-80gb"),
    ("a2-ultragpu", "nvidia-a100-80gb"),
    ("a2-", "nvidia-a100-40gb"),
    ("g2-", "nvidia-l4"),
    ("bm.gpu.gb200", "nvidia-gb200"),
    ("bm.gpu.b200", "nvidia-b200"),
    ("bm.gpu.h200", "nvidia-h200-141gb"),
    ("bm.gpu.h100", "nvidia-h100-80gb"),
    ("bm.gpu.a100-v2", "nvidia-a100-80gb"),
    ("bm.gpu4.8", "nvidia-a100-40gb"),
    ("bm.gpu.b4.8", "nvidia-a100-40gb"),
    ("bm.gpu.l40s", "nvidia-l40s"),
    ("bm.gpu.mi300x", "amd-mi300x"),
    ("bm.gpu.mi355x", "amd-mi355x"),
    ("bm.gpu.a10.", "nvidia-a10"),
    ("vm.gpu.a10.", "nvidia-a10"),
    ("trn1.", "aws-trainium1"),
    ("trn1n.", "aws-trainium1"),
    ("trn2.", "aws-trainium2"),
    ("inf2.", "aws-inferentia2"),
)
"""How the names of clouds' machines begin, with the accelerator in them."""
_TPUS: Final = {
    "tpu-v4-podslice": "google-tpu-v4",
    "tpu-v5-lite-podslice": "google-tpu-v5e",
    "tpu-v5-lite-device": "google-tpu-v5e",
    "tpu-v5p-slice": "google-tpu-v5p",
    "tpu-v6e-slice": "google-tpu-v6e",
    "tpu7x": "google-tpu-v7x",
}
_OTHER_PRODUCTS: Final = {
    "agx-thor": "nvidia-jetson-agx-thor",
    "nvidia-agx-thor": "nvidia-jetson-agx-thor",
    "agx-orin": "nvidia-jetson-agx-orin",
}
_PRODUCT_LABELS: Final = (
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "gpu.nvidia.com/model",
)
_ELSEWHERE: Final = re.compile(
    r"gpu[-_.]?(type|model|name|product|class|sku)$|accelerator([-_.]type)?$"
)
"""Labels of other vendors that name a kind of GPU (``gpu.nvidia.com/class``, ``accelerator``)."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many GPUs a pod gets. profile: of the MIG slices that they are; empty for whole ones.

    number: None if it is not known. key: the resource that says it, empty if none does.
    given: what stands there, if it is no number.
    """

    number: int | None = None
    key: str = ""
    profile: str = ""
    given: str = ""
    limits: bool = True

    @property
    def most_ranks(self) -> int:
        """Ranks that an engine may start on one of what is counted."""
        return _MOST_RANKS.get(self.key.lower(), 1)


def count(resources: object) -> Count:
    """The GPUs in a container's resources; limits count before requests."""
    if not isinstance(resources, dict):
        return Count()
    for part in ("limits", "requests"):
        entries = resources.get(part)
        if not isinstance(entries, dict):
            continue
        for key, value in entries.items():
            name = str(key).lower()
            if name in WHOLE or name.startswith(MIG):
                profile = name.removeprefix(MIG) if name.startswith(MIG) else ""
                number = _quantity(value)
                given = "" if number is not None else shown(str(value))
                return Count(number, str(key), profile, given, part == "limits")
    return Count()


_QUANTITY: Final = re.compile(r"\+?(\d{1,12})(?:\.(\d{1,12}))?(m|k|[eE][+-]?\d)?")


def _quantity(value: object) -> int | None:
    """A number of GPUs as Kubernetes reads a quantity (``1``, ``1e0``, ``1000m``, ``0.002k``).

    None if it is no whole number, or no number that any pod has.
    """
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return whole(value)
    suffix = match[3] or "e0"
    power = {"m": -3, "k": 3}[suffix] if suffix in "mk" else int(suffix[1:])
    number = Fraction(f"{match[1]}.{match[2] or 0}") * Fraction(10) ** power
    return whole(number.numerator) if number.denominator == 1 else None


def whole(value: object) -> int | None:
    """A count as a number or as digits; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 <= value <= MOST_GPUS else None
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 8:
        number = int(value)
        return number if number <= MOST_GPUS else None
    return None


@dataclass(frozen=True, slots=True)
class Kinds:
    """Which kinds of accelerators an object accepts. names: the table's, or those of others.

    path: where it says so, within what was looked at; empty if nothing does.
    """

    names: tuple[str, ...] = ()
    path: str = ""

    @property
    def known(self) -> tuple[str, ...]:
        """Those that the table has, if it has all of them."""
        found = [catalogue.find(name) for name in self.names]
        return tuple(a.name for a in found if a) if all(found) else ()


def kinds(pod: Mapping[str, Any]) -> Kinds:
    """The accelerators that a pod's nodeSelector and node affinity name."""
    selector = _texts(pod.get("nodeSelector"))
    name = from_labels(selector)
    if name:
        return Kinds((name,), "nodeSelector")
    affinity = pod.get("affinity")
    node = affinity.get("nodeAffinity") if isinstance(affinity, dict) else None
    required = (
        node.get("requiredDuringSchedulingIgnoredDuringExecution")
        if isinstance(node, dict)
        else None
    )
    terms = required.get("nodeSelectorTerms") if isinstance(required, dict) else None
    names: list[str] = []
    for term in terms if isinstance(terms, list) else ():
        found = _from_term(term)
        if not found:
            return Kinds()
        names += found
    return Kinds(tuple(dict.fromkeys(names)), "affinity.nodeAffinity") if names else Kinds()


def _from_term(term: object) -> list[str]:
    """The accelerators of one term: of its expressions the first that names some."""
    expressions = term.get("matchExpressions") if isinstance(term, dict) else None
    for one in expressions if isinstance(expressions, list) else ():
        if not isinstance(one, dict) or one.get("operator") != "In":
            continue
        values = one.get("values")
        found = [
            from_labels({str(one.get("key")): str(value)})
            for value in (values if isinstance(values, list) else ())[:16]
        ]
        if found and all(found):
            return found
    return []


def from_labels(labels: Mapping[str, str]) -> str:
    """The accelerator that labels name, in whichever dialect; empty if they name none."""
    found = recognise(labels)
    if isinstance(found, Found):
        return found.accelerator.name
    for key, value in labels.items():
        if key in _INSTANCE_LABELS:
            name = from_instance(value)
        elif key == "cloud.google.com/gke-tpu-accelerator":
            name = _TPUS.get(value, f"google-{value}")
        elif key in _PRODUCT_LABELS:
            name = product(value)
        elif _ELSEWHERE.search(key.lower()):
            known = catalogue.find(value)
            name = known.name if known else ""
        else:
            continue
        if name:
            return name
    return ""


def product(value: str) -> str:
    """The accelerator of a product's name; a name made of it if the table has none."""
    known = catalogue.find(value)
    if known is not None:
        return known.name
    slug = re.sub(r"[^a-z0-9.]+", "-", value.lower()).strip("-.")[:63]
    return _OTHER_PRODUCTS.get(slug, slug)


def tpu(name: str) -> str:
    """The TPU that a name begins with (``google-tpu-v5e-2x2``); empty if it begins with none."""
    return next((one for one in set(_TPUS.values()) if name.startswith(one)), "")


def from_instance(name: str) -> str:
    """The accelerator in a cloud's machine; empty if the name says none."""
    lower = name.strip().lower()
    found = next((accelerator for start, accelerator in _INSTANCES if lower.startswith(start)), "")
    if found:
        return found
    azure = recognise({"node.kubernetes.io/instance-type": name})
    return azure.accelerator.name if isinstance(azure, Found) else ""


def slices(profile: str) -> tuple[str, ...]:
    """The MIG slices of a profile, of every GPU in the table that has such."""
    plain = plain_profile(profile)
    return tuple(a.name for a in catalogue.load().slices if a.mig_profile == plain)


def _texts(value: object) -> dict[str, str]:
    """A mapping of texts; what is none is left out."""
    if not isinstance(value, dict):
        return {}
    return {str(key): item for key, item in value.items() if isinstance(item, str)}


def named(names: Iterable[str]) -> str:
    """The first of these texts that the table knows as an accelerator; empty if none is."""
    return next((known.name for known in map(catalogue.find, names) if known), "")
