"""The ConfigMap in which a cluster adds accelerators to the table.

What it says is a function of its text alone, so that controller and admission know the same.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from plimsoll.accelerators.own import read
from plimsoll.errors import PlimsollError, shown
from plimsoll.workloads.yaml_text import NotYaml, documents

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll_operator.cluster.objects import Json, Name

log = logging.getLogger(__name__)

KEY: Final = "accelerators.yaml"
"""The key of the ConfigMap that is read."""


def config_map_named(setting: str) -> Name | None:
    """Namespace and name in ``--accelerators``; None if it is empty. Raises `PlimsollError`."""
    if not setting:
        return None
    namespace, slash, name = setting.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise PlimsollError(f"--accelerators is {shown(setting)}: give namespace/name")
    return namespace, name


def accelerators(config_map: Json) -> tuple[Accelerator, ...]:
    """The accelerators that a ConfigMap adds; what cannot be read of it is logged and left out."""
    text = (config_map.get("data") or {}).get(KEY)
    if not isinstance(text, str):
        log.warning("the ConfigMap of accelerators has no key %s", KEY)
        return ()
    value = next((value for _, value in documents(text)), None)
    if isinstance(value, NotYaml):
        log.warning("%s of the ConfigMap of accelerators is no YAML", KEY)
        return ()
    own, problems = read(value)
    for problem in problems:
        log.warning("%s of the ConfigMap of accelerators: %s", KEY, problem)
    return own
