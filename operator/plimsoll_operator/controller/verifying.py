"""What an LLMDeployment asks its engine itself, and what follows from the answer. Pure.

    Verified   True     EngineStarts    the engine's start-up came to its end, without a GPU
               False    EngineRefused   the engine itself said no; Fits is False for it as well
               Unknown  NotNeeded       the verdict is sure, and model and engine are known
                        NotEnabled      the controller was not given the right to
                        NoConfig        nobody has the model's config.json
                        NotAskable      another engine than vLLM, or no kind of GPU, or no image
                        Waiting         the Job is to be run, or runs
                        NothingLearned  it ended without facts, or the harness met something

An answer counts for the image, the arguments, the config and the GPU that it was had with, and for
the harness: `Wish.key` is a hash of them. It stands in the status, so that it is had once.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators.catalogue import find
from plimsoll.decision.verified import Said, verified, worth_asking
from plimsoll.errors import Problem, clean
from plimsoll.measured.dry_start import archive, asked
from plimsoll.models import catalogue
from plimsoll.render.images import image
from plimsoll.report import dry_start as report
from plimsoll.units import GIB, ceil_mib

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.measured.dry_facts import Answer
    from plimsoll.workloads.llmdeployment import Documents

Json = dict[str, Any]

DRY_START: Final = "DryStart"
STARTS, REFUSED, UNKNOWN = "Starts", "Refused", "Unknown"
_OUTCOMES: Final = {"starts": STARTS, "refused": REFUSED}
_GPUS: Final = "nvidia.com/gpu"
NOT_ENABLED: Final = (
    "this controller was not given the right to: the chart's dryStart.enabled does; "
    "`plimsoll dry-start` asks the engine by hand meanwhile"
)
_LONGEST: Final = 1024


@dataclass(frozen=True, slots=True)
class Wish:
    """A dry start that is to be had. key: what its answer counts for; case: the harness's."""

    key: str
    case: str
    image: str


@dataclass(frozen=True, slots=True)
class Verifying:
    """What an LLMDeployment that asks for it is verified by.

    enabled: whether Jobs may be run. config, files: the model's, empty if nobody has them. image,
    registry: as the spec says. said: what the status, or somebody since, says of a dry start.
    """

    enabled: bool
    config: Mapping[str, Any]
    files: Mapping[str, Any]
    image: str
    registry: str
    said: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Checked:
    """A verdict with what the engine said. reason, status, message: of condition Verified.

    fields: of the status. wish: the dry start that is to be had, if one is.
    """

    verdict: Verdict
    status: str = ""
    reason: str = ""
    message: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    wish: Wish | None = None


def verifying_of(
    obj: Mapping[str, Any],
    request: Request,
    namespace: str,
    documents: Documents,
    said: Mapping[str, Any] | None,
    *,
    enabled: bool,
) -> Verifying | None:
    """How an object is verified; None if it does not ask for it. said: what is newer than its
    status."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if not isinstance(spec, dict) or spec.get("verification") != DRY_START:
        return None
    output = spec.get("output")
    output = output if isinstance(output, dict) else {}
    config, files = _config(spec, request, namespace, documents)
    return Verifying(
        enabled,
        config,
        files,
        str(output.get("image") or ""),
        str(output.get("registry") or ""),
        said or status.get("dryStart") or {},
    )


def _config(
    spec: Mapping[str, Any], request: Request, namespace: str, documents: Documents
) -> tuple[Json, Json]:
    """The model's config.json and what lies beside it; empty if nobody has it."""
    model = spec.get("model")
    reference = model.get("configMapRef") if isinstance(model, dict) else None
    if isinstance(reference, dict):
        text = documents.get(namespace, str(reference.get("name")), reference.get("key"))
        try:
            found = json.loads(text) if isinstance(text, str) else None
        except (ValueError, RecursionError):
            found = None
        whole = isinstance(found, dict) and ("model_type" in found or "architectures" in found)
        return (found, {}) if isinstance(found, dict) and whole else ({}, {})
    entry = catalogue.load().find(request.model.name)
    if entry is None:
        return {}, {}
    quant = {"hf_quant_config.json": dict(entry.quant)} if entry.quant else {}
    return dict(entry.config), quant


def check(request: Request, verdict: Verdict, by: Verifying | None) -> Checked:
    """The verdict with what the engine said of the same, or the wish to ask it."""
    if by is None:
        return Checked(verdict)
    if not worth_asking(request, verdict):
        return Checked(verdict, UNKNOWN, "NotNeeded", "the verdict is sure without the engine")
    wish = _wish(request, verdict, by)
    if isinstance(wish, tuple):
        return Checked(verdict, UNKNOWN, *wish)
    said = by.said
    if said.get("key") != wish.key:
        waits = "the engine's start-up is to be run in a Job, without a GPU"
        if not by.enabled:
            return Checked(verdict, UNKNOWN, "NotEnabled", NOT_ENABLED)
        return Checked(verdict, UNKNOWN, "Waiting", waits, wish=wish)
    fields = {"dryStart": dict(said)}
    heard = _heard(said)
    if heard is None:
        again = wish if by.enabled else None
        words = clean(str(said.get("message")), report.LONGEST)
        return Checked(verdict, UNKNOWN, "NothingLearned", words, fields, again)
    after = verified(request, verdict, heard)
    if heard.refused:
        return Checked(after, "False", "EngineRefused", report.refused(heard), fields)
    return Checked(after, "True", "EngineStarts", report.started(verdict, heard), fields)


def _wish(request: Request, verdict: Verdict, by: Verifying) -> Wish | tuple[str, str]:
    """The dry start of a request, or reason and words why there is none."""
    if request.engine.name != "vllm":
        return "NotAskable", f"{request.engine.name} cannot be dry started: vllm can"
    if not by.config:
        fix = "name a ConfigMap with its whole config.json in spec.model.configMapRef"
        return "NoConfig", f"nobody has the config.json of this model: {fix}"
    placement = verdict.placement
    name = placement.accelerator if placement else verdict.accelerator
    accelerator = find(name or next(iter(request.wanted.allowed), ""))
    if accelerator is None:
        return "NotAskable", "no kind of GPU is known to start it on: name one in spec.accelerator"
    estimate = verdict.estimate
    version = request.engine.version or (estimate.version if estimate else "")
    resource = placement.resource if placement else _GPUS
    ran = by.image or image("vllm", version, resource, by.registry)
    if isinstance(ran, Problem):
        return "NotAskable", str(ran)
    case = asked(request, estimate, accelerator, config=by.config, files=by.files).line
    parts = (_harness(), ran.encode(), case.encode())
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts))
    return Wish(digest.hexdigest()[:32], case, ran)


@cache
def _harness() -> bytes:
    return archive()


def _heard(said: Mapping[str, Any]) -> Said | None:
    """What the engine said; None if nothing was learned."""
    outcome = said.get("outcome")
    if outcome not in (STARTS, REFUSED):
        return None
    tokens = said.get("kvCacheTokens")
    return Said(
        refused=outcome == REFUSED,
        version=f"vLLM {clean(str(said.get('engineVersion', '')), 64)}",
        words=clean(str(said.get("message", "")), 600),
        weights=_bytes(said.get("weights")),
        tokens=tokens if isinstance(tokens, int) else None,
    )


def _bytes(size: object) -> int | None:
    text = str(size).removesuffix("Mi")
    return int(text) << 20 if text.isdecimal() else None


def fields_of(wish: Wish, answer: Answer, image_id: str, tries: int) -> Json:
    """An answer as ``status.dryStart`` holds it. tries: how often nothing was learned before."""
    facts = answer.facts
    outcome = _OUTCOMES.get(answer.outcome, UNKNOWN)
    made: Json = {
        "key": wish.key,
        "outcome": outcome,
        "image": clean(wish.image, 512),
        "imageID": clean(image_id, 512),
        "engineVersion": clean(answer.version, 64),
        "reached": clean(answer.reached, 64),
        "message": clean(answer.words, _LONGEST),
        "place": clean(answer.place, _LONGEST),
    }
    if outcome == UNKNOWN:
        made["tries"] = tries + 1
    weights, tokens = _whole(facts, "weights", "counted"), _whole(facts, "cache", "tokens")
    if weights is not None:
        made["weights"] = ceil_mib(weights)
    if tokens is not None:
        made["kvCacheTokens"] = tokens
    return {key: value for key, value in made.items() if value != ""}


def _whole(facts: Mapping[str, Any], part: str, name: str) -> int | None:
    """A count of the facts, unless it cannot be one: an image prints what it likes."""
    held = facts.get(part)
    value = held.get(name) if isinstance(held, dict) else None
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < GIB * GIB
    return value if good else None
