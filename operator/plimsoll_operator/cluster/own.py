"""The ConfigMaps in which a cluster adds accelerators to the table, and keeps measured start-ups.

What it says is a function of its text alone, so that controller and admission know the same.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from plimsoll import start_ups
from plimsoll.accelerators.own import read
from plimsoll.errors import PlimsollError, shown
from plimsoll.workloads.yaml_text import NotYaml, documents

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.start_ups import Calibration
    from plimsoll_operator.cluster.objects import Json, Name

log = logging.getLogger(__name__)

KEY: Final = "accelerators.yaml"
"""The key of the ConfigMap that is read."""


def config_map_named(setting: str, option: str = "--accelerators") -> Name | None:
    """Namespace and name in an option; None if it is empty. Raises `PlimsollError`."""
    if not setting:
        return None
    namespace, slash, name = setting.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise PlimsollError(f"{option} is {shown(setting)}: give namespace/name")
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


def calibration(config_map: Json) -> Calibration:
    """The start-ups that a ConfigMap keeps; what cannot be believed is logged and left out."""
    text = (config_map.get("data") or {}).get(start_ups.KEY)
    if not isinstance(text, str):
        log.warning("the ConfigMap of kept start-ups has no key %s", start_ups.KEY)
        return start_ups.NONE_KEPT
    found, problems = start_ups.read_what_can_be(text)
    for problem in problems:
        log.warning("%s of the ConfigMap of kept start-ups: %s", start_ups.KEY, problem)
    log.info("%d kept start-ups narrow ranges (%s)", len(found.kept), found.digest)
    return found
