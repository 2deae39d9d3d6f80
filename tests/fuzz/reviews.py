"""Bodies that reach the webhook's port, and files that reach the command line.

A body is read or refused with an error of ours; what is read is answered with a review of the same
uid, in clean words. A manifest is read or named with a problem.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fuzz import values
from fuzz.harness import Target
from fuzz.promises import Texts, llmdeployment, some_nodes, unclean, unclean_answer
from fuzz.specs import sane
from plimsoll.api_group import OVERRIDE_ANNOTATION
from plimsoll.decision.policy import Mode, Policy
from plimsoll.workloads.files import load
from plimsoll_operator.admission.judge import Judge
from plimsoll_operator.admission.review import NotAReview, Review, read_review, write_answer
from plimsoll_operator.admission.task import Decided, Question, Untouched, work
from plimsoll_operator.deciding.beside import Missed, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from plimsoll.inventory.pools import Inventory


class View:
    """A cluster with some nodes and no ConfigMaps; the namespace's name says its mode."""

    documents = Texts()

    def inventory(self) -> Inventory:
        """Two nodes of each kind of GPU."""
        return some_nodes()

    def policy(self, namespace: str) -> Policy:
        """The mode that the namespace is named after."""
        modes = {str(mode): mode for mode in Mode}
        return Policy(modes.get(namespace, Mode.ENFORCE), "the namespace")

    def workloads_policy(self, namespace: str, kind: str) -> Policy | None:
        """The same for other people's kinds; a namespace without a mode is not looked at."""
        return None if namespace == "x" else self.policy(namespace)

    def beside(self, wanted: Wanted) -> None:
        """Nothing is there that others refer to."""
        return


async def _may_override(review: Review) -> bool:
    return review.user == "admin"


async def _decide(
    inventory: Inventory, question: Question, namespace: str
) -> Decided | Untouched | Missed:
    """What a process apart decides, without one, so that its time and memory are seen."""
    decided = work(inventory, question)
    assert isinstance(decided, Decided | Untouched | Missed)
    return decided


JUDGE: Final = Judge(View(), _may_override, _decide)


def deployment(random: Random, annotations: dict[str, str]) -> dict[str, Any]:
    """A Deployment that starts vLLM."""
    container = {
        "name": "vllm",
        "image": f"vllm/vllm-openai:{random.choice(('v0.11.0', 'v0.9.2', 'latest'))}",
        "args": ["--model", "Qwen/Qwen3-32B", "--max-model-len", random.choice(("8192", "auto"))],
        "env": [{"name": "VLLM_USE_V1", "value": "1"}],
        "resources": {"limits": {"nvidia.com/gpu": random.choice(("1", 2))}},
    }
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4"}
    pod = {"containers": [container], "nodeSelector": labels}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "n", "annotations": annotations},
        "spec": {"replicas": 1, "template": {"spec": pod}},
    }


def review(random: Random) -> bytes:
    """A review with some places changed; one in four is no JSON any more."""
    annotations = {OVERRIDE_ANNOTATION: values.text(random)} if random.random() < 0.3 else {}
    operation = random.choice(("CREATE", "UPDATE", "DELETE", "CONNECT"))
    other = random.random() < 0.4
    new = llmdeployment(sane(random), annotations=annotations)
    old = llmdeployment(sane(random))
    if other:
        new, old = deployment(random, annotations), deployment(random, {})
    document: dict[str, Any] = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "operation": operation,
            "namespace": random.choice(("enforce", "warn", "audit", "x")),
            "name": "n",
            "userInfo": {"username": random.choice(("ada", "admin")), "groups": ["g"]},
            "object": new,
            "oldObject": old if operation == "UPDATE" else None,
        },
    }
    for _ in range(random.choice((0, 1, 2, 4))):
        values.mutate(random, random.choice((document, document["request"] or document, new)))
        if not isinstance(document.get("request"), dict):
            break
    body = json.dumps(document).encode()
    if random.random() < 0.02:
        body = random.choice((b"[" * 200_000, b'{"a":' * 100_000, b"[" + b"{}," * 300_000 + b"{}]"))
    return values.spoil(random, body) if random.random() < 0.25 else body


def review_faults(body: bytes) -> Iterator[str]:
    """What is wrong with the answer to a body."""
    try:
        read = read_review(body)
    except NotAReview as error:
        yield from unclean(str(error), "the error")
        return
    answer = asyncio.run(JUDGE(read))
    if not answer.allowed and not answer.message:
        yield "silent denial: no word is said"
    yield from unclean(dict(answer.audit), "audit annotations")
    written = write_answer(read.uid, answer)
    if json.loads(written)["response"]["uid"] != read.uid:
        yield "another uid: the answer is to no review"
    yield from unclean_answer(written)


REVIEWS: Final = Target("reviews", review, review_faults, few=100)

MANIFEST: Final = """\
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: chat, namespace: team}
spec:
  model: {uri: "hf://Qwen/Qwen3-8B", configMapRef: {name: m}}
  engine: &e
    maxModelLen: 8192
    extraArgs: ["--seed=1"]
  accelerator: {allowed: [nvidia-l4]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: m, namespace: team}
data:
  config.json: '{"model_type": "llama", "hidden_size": 64}'
---
apiVersion: v1
kind: List
items:
- {apiVersion: plimsoll.dev/v1alpha1, kind: LLMDeployment, metadata: {name: x}, spec: {}}
"""
INSERTS: Final = (
    "&a [*a]",
    "<<: *e",
    "!!python/object/apply:os.system ['true']",
    "!!binary AAAA",
    "? [a, b]\n: c",
    "\t",
    "---\n",
    "...\n",
    "%YAML 9.9\n",
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b]\n",
    "[" * 2000,
    "0x" + "f" * 3000,
    "1e999",
    "2001-99-99",
    "\x1b[2J",
    "kind: LLMDeployment\n",
    "\ufeff",
)


def manifest(random: Random) -> bytes:
    """A manifest with something put into it, or bytes of it changed."""
    text = MANIFEST
    for _ in range(random.choice((0, 1, 1, 2))):
        lines = text.splitlines(keepends=True)
        at = random.randrange(len(lines) + 1)
        lines[at:at] = [random.choice(INSERTS), random.choice(("", "\n"))]
        text = "".join(lines)
    data = text.encode("utf-8", "surrogatepass")
    return values.spoil(random, data) if random.random() < 0.7 else data


def manifest_faults(data: bytes) -> Iterator[str]:
    """What is wrong with what was read of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.yaml")
        path.write_bytes(data)
        found = load((str(path),))
    problems = [str(problem) for problem in found.problems]
    yield from unclean(problems, "problems")


MANIFESTS: Final = Target("manifests", manifest, manifest_faults, few=100)
