"""An LLMDeployment and its verdict in, the objects that run it out, or why there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from plimsoll.accelerators.types import Dialect
from plimsoll.decision.knowledge import shipped
from plimsoll.decision.pod import pod_needs
from plimsoll.errors import Invalid, Problem
from plimsoll.render import names
from plimsoll.render.claims import claim_template, is_by_claims
from plimsoll.render.container import started
from plimsoll.render.images import vendor_of
from plimsoll.render.objects import Plan, objects
from plimsoll.report.pod import pod_reasons
from plimsoll.workloads.llmdeployment import read_rate
from plimsoll.workloads.spec import LLMDeploymentSpec, OutputSpec
from plimsoll.workloads.spec_errors import problems_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict

SPEC_MODEL: Final = "spec.model"
USUAL_DIALECT: Final = {"nvidia": Dialect.GFD, "amd": Dialect.AMD}
"""In which labels nodes are selected where none was seen: those of each vendor's own labeller."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """objects: what to apply, the workload first; empty if it is not to be run.

    problems: what keeps it from being rendered, beside what the verdict says. reasons: why the pod
    is as it is, a sentence each.
    """

    objects: tuple[dict[str, Any], ...] = ()
    problems: tuple[Problem, ...] = ()
    reasons: tuple[str, ...] = ()


def render(
    obj: Mapping[str, Any],
    request: Request,
    verdict: Verdict,
    dialect: Dialect | None = None,
    knowledge: Knowledge | None = None,
) -> Rendered:
    """The objects that run an LLMDeployment as its verdict plans it; none of a refused one.

    dialect: in which nodes are selected where the placement saw none; None: in that of the
    vendor's labeller. Never raises.
    """
    placement = verdict.placement
    if placement is None or verdict.denied:
        return Rendered()
    try:
        spec = LLMDeploymentSpec.model_validate(obj.get("spec"))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        return Rendered(problems=tuple(problems_of(errors, LLMDeploymentSpec)))
    if verdict.estimate is None:
        fix = "say baseModel or configMapRef"
        wanted = "a model whose structure is known: the rule of thumb plans no flags"
        return Rendered(problems=(Problem(SPEC_MODEL, "", wanted, fix),))
    metadata = obj.get("metadata") or {}
    output = spec.output or OutputSpec()
    needs = pod_needs(request, verdict, read_rate(obj))
    assert needs is not None
    own_name = str(metadata.get("name") or metadata.get("generateName") or "unnamed").rstrip("-")
    one = started(spec, own_name, request, verdict, output)
    if isinstance(one, list):
        return Rendered(problems=tuple(one))
    known, name = knowledge or shipped(), names.object_name(own_name)
    accelerator = known.find(placement.accelerator)
    claims: dict[str, Any] | Problem | None = None
    allocation = spec.accelerator.allocation if spec.accelerator else None
    if is_by_claims(allocation, placement):
        claims = claim_template(name, request, verdict, accelerator, known)
    if isinstance(claims, Problem):
        return Rendered(problems=(claims,))
    plan = Plan(
        name=name,
        own_name=own_name,
        namespace=str(metadata.get("namespace") or ""),
        engine=request.engine.name,
        spec=spec,
        output=output,
        verdict=verdict,
        placement=placement,
        needs=needs,
        one=one,
        accelerator=accelerator,
        dialect=dialect or USUAL_DIALECT.get(vendor_of(placement.resource)),
        claims=claims,
    )
    try:
        made = objects(plan)
    except Invalid as error:
        return Rendered(problems=error.problems)
    except RecursionError:
        wanted = "a pod template as Kubernetes has it, not nested so deeply"
        return Rendered(problems=(Problem("spec.output.template", "", wanted),))
    problems = tuple(one for one in made if isinstance(one, Problem))
    found = tuple(one for one in made if isinstance(one, dict))
    return Rendered(found, problems, pod_reasons(needs) if found else ())
