"""Names and labels of what is rendered: always ones that Kubernetes takes.

    a Service's name   at most 63 characters, small letters, digits and dashes, a letter first
    a label's value    at most 63 characters

An LLMDeployment may have 253 with dots; a longer name is cut and told apart by a hash of it whole.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from plimsoll.api_group import GROUP, WORKLOAD_LABEL

MAX_NAME: Final = 52
"""Characters of a name: pods add a hash each, and a LeaderWorkerSet's pods two numbers."""
OWNER_LABEL: Final = WORKLOAD_LABEL
"""Label of every object and pod: what selects them."""
MAX_LABEL: Final = 63
"""Characters of a label's value."""
HASH_ANNOTATION: Final = f"{GROUP}/request-hash"
"""Annotation: the request that the object was rendered from."""
MANAGED_BY: Final = "plimsoll"
QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_FINE: Final = re.compile(rf"[a-z]([a-z0-9-]{{0,{MAX_NAME - 2}}}[a-z0-9])?")


def object_name(name: str) -> str:
    """The name for Deployment and Service of an LLMDeployment of that name."""
    if _FINE.fullmatch(name):
        return name
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    plain = plain if plain[:1].isalpha() else f"llm-{plain}".rstrip("-")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: MAX_NAME - 9].rstrip('-')}-{digest}"


def label_value(name: str) -> str:
    """What the label says of an LLMDeployment of that name: the name itself, unless it is long."""
    return name if len(name) <= MAX_LABEL and _LABEL.fullmatch(name) else object_name(name)


def labels(name: str, engine: str, own: str) -> dict[str, str]:
    """The labels of every object of an LLMDeployment.

    name: as `object_name` made it; own: as the LLMDeployment is called.
    """
    return {
        "app.kubernetes.io/name": engine,
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/managed-by": MANAGED_BY,
        OWNER_LABEL: label_value(own),
    }


def selector(own: str) -> dict[str, str]:
    """The labels that select the pods; they never change. own: as the LLMDeployment is called."""
    return {OWNER_LABEL: label_value(own)}
