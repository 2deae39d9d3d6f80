"""The functions of `import plimsoll` that are no room's own: they read what a caller has at hand.

Nothing here has a rule of its own; each asks the room whose business it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plimsoll.accelerators import catalogue
from plimsoll.engines import registry
from plimsoll.engines.base import EngineSettings, Parallelism, Workload
from plimsoll.errors import Invalid, Problem, Unreadable, shown
from plimsoll.findings import Refused
from plimsoll.models.resolve import resolve
from plimsoll.paths import NO_PLACES
from plimsoll.report import messages
from plimsoll.report.wording import problems
from plimsoll.workloads.files import Manifests, load
from plimsoll.workloads.llmdeployment import Missing, pick, request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.engines.base import Estimate
    from plimsoll.models.architecture import Model


class _ConfigMaps:
    """ConfigMaps that a caller holds as plain dictionaries: name to its data."""

    def __init__(self, data: Mapping[str, Mapping[str, str]]) -> None:
        self._data = data

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text under a key, or why there is none."""
        if name not in self._data:
            return Missing(f"ConfigMap {name} was not given")
        return pick(name, key, self._data[name].get)


def read_manifest(
    manifest: Mapping[str, Any], config_maps: Mapping[str, Mapping[str, str]] | None = None
) -> Request:
    """The request that an LLMDeployment states, ready for `decide`.

    manifest: the object as a dictionary, as YAML or the API server give it.
    config_maps: the data of the ConfigMaps that it may refer to, by name.
    Never raises for what the manifest says: what is wrong with it is in `Request.problems`, and
    `decide` refuses it with all of them.
    """
    return request(manifest, _ConfigMaps(config_maps or {}))


def read_files(*paths: str | PathLike[str]) -> Manifests:
    """The objects that serve an LLM, ConfigMaps and problems in files and folders.

    `Manifests.deployments` has LLMDeployments, for `read_manifest`, and objects of other kinds, of
    which `Manifest.served` holds the requests. ``-`` is standard input. Never raises: what cannot
    be read is in `Manifests.problems`.
    """
    return load(tuple(map(str, paths)))


def find_model(name: str) -> Model:
    """A model of the catalogue by its Hugging Face id, with or without ``hf://``.

    Raises `Invalid`, with the nearest ids, if the catalogue does not have it.
    """
    found = resolve(uri=name if "://" in name else f"hf://{name}")
    if found.architecture is None:
        near = " or ".join(found.suggestions)
        fix = f"did you mean {near}?" if near else "give its config.json to read_manifest"
        raise Invalid(Problem("model", shown(name), "an id of the catalogue", fix))
    return found


def find_accelerator(name: str) -> Accelerator:
    """An accelerator by Plimsoll's name or one that people use (``H100``).

    Raises `Unreadable`, with the nearest names, if the table does not have it.
    """
    found = catalogue.find(name)
    if found is None:
        near = " or ".join(catalogue.suggest(name)) or "one of `plimsoll accelerators`"
        raise Unreadable(name, f"a known accelerator ({near})")
    return found


def estimate(
    model: Model | str,
    accelerator: Accelerator | str,
    *,
    settings: EngineSettings | None = None,
    workload: Workload | None = None,
    parallelism: Parallelism | None = None,
) -> Estimate:
    """What the worst rank of one replica needs on one kind of GPU, term by term, in bytes.

    model, accelerator: as the finders give them, or a name for the finders.
    settings: what is said to the engine (vLLM with its defaults if left out). workload: what must
    be held at once (one request of the longest context). parallelism: one GPU if left out.
    Raises `Invalid` with every problem at once: a model whose structure is not known, or settings
    and a split with which the engine would not start. Raises `Unreadable` for an unknown name.
    """
    model = find_model(model) if isinstance(model, str) else model
    accelerator = find_accelerator(accelerator) if isinstance(accelerator, str) else accelerator
    try:
        return registry.estimate(
            model,
            settings or EngineSettings(),
            workload or Workload(),
            parallelism or Parallelism(),
            accelerator,
        )
    except Refused as error:
        raise Invalid(*problems(error.findings, NO_PLACES)) from None


def explain(request: Request, verdict: Verdict) -> str:
    """A verdict in a few lines, as the command line prints it: where it runs, or why not."""
    return "\n".join(messages.summary(request, verdict))
