"""Claims about the request hash: what changes it, and that nothing is forgotten."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest

from decision_builders import A100, BIG, H100, SMALL, PlainEngine, cluster, on, pool, world
from plimsoll.decision.bounds import Bounds
from plimsoll.decision.decide import decide
from plimsoll.decision.policy import Mode, Policy
from plimsoll.decision.request import Prefer, Wanted
from plimsoll.decision.request_hash import LEFT_OUT, request_hash
from plimsoll.engines.base import Lora, Speculative
from plimsoll.engines.vllm.options import VLLMOptions
from plimsoll.errors import Problem
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.paths import NO_PLACES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict


def decided(
    of: Request, inventory: Inventory = NO_INVENTORY, knowledge: Knowledge | None = None
) -> Verdict:
    return decide(of, inventory, knowledge=knowledge or world())


def test_the_hash_is_of_request_model_constants_and_policy_and_of_nothing_else() -> None:
    of = on(A100)
    first = decided(of).request_hash
    assert first.startswith("sha256:")
    assert len(first) == len("sha256:") + 32
    assert decided(of, cluster(pool(A100))).request_hash == first
    assert decided(replace(of, name="other/name")).request_hash == first
    others = [
        decided(on(A100, max_model_len=1)).request_hash,
        decided(on(A100, concurrent=2)).request_hash,
        decided(on(H100)).request_hash,
        decided(on(A100, model=SMALL)).request_hash,
        decided(on(A100, model=replace(BIG, certain=False))).request_hash,
        decided(on(A100, version="0.19.0")).request_hash,
        decide(of, policy=Policy(Mode.WARN), knowledge=world()).request_hash,
        decided(of, knowledge=world(table=(A100,))).request_hash,
    ]
    assert len({first, *others}) == len(others) + 1


def test_the_same_share_written_otherwise_is_the_same_request() -> None:
    shares = {decided(on(A100, utilization=Decimal(s))).request_hash for s in ("0.9", "0.900")}
    assert len(shares) == 1


OTHER: dict[str, Any] = {
    "bool": True,
    "bool | None": True,
    "int": 7,
    "int | None": 7,
    "str": "other",
    "Decimal | None": Decimal("0.5"),
    "tuple[str, ...]": ("other",),
    "tuple[tuple[str, str], ...]": (("other", "other"),),
    "tuple[tuple[str, str, str, str], ...]": (("other", "Exists", "", ""),),
    "tuple[int, int] | None": (8, 9),
    "Lora | None": Lora(),
    "Speculative | None": Speculative(),
    "tuple[Finding | Problem, ...]": (Problem("other", "", "otherwise"),),
    "tuple[Finding | str, ...]": ("other",),
    "Options": VLLMOptions(convert="embed"),
    "Places": NO_PLACES,
    "Prefer": Prefer.SMALLEST,
    "Model": SMALL,
    "frozenset[str] | None": frozenset({"other"}),
    "tuple[str, ...] | None": ("other",),
    "tuple[str, str]": ("other", "1.0"),
}
"""A value that is no default, for every type that a field of a request has."""


def parts(of: Any) -> Iterator[tuple[str, Any]]:
    """A request and its parts that are always there, each with its path."""
    yield "", of
    for field in fields(of):
        value = getattr(of, field.name)
        if is_dataclass(value) and str(field.type) in ("EngineSettings", "Workload", "Wanted"):
            yield field.name, value
            if isinstance(value, Wanted):
                yield "wanted.split", value.split
    yield "engine.lora", Lora()
    yield "engine.speculative", Speculative()


def changed(of: Request, path: str, part: Any) -> Request:
    """The request with one of its parts exchanged."""
    if not path:
        return cast("Request", part)
    outer, _, inner = path.partition(".")
    if inner:
        part = replace(getattr(of, outer), **{inner: part})
    return replace(of, **{outer: part})


PARTS = ("EngineSettings", "Workload", "Wanted", "AskedSplit")
EVERY_FIELD = [
    pytest.param(path, part, field.name, id=f"{path or 'request'}.{field.name}")
    for path, part in parts(on(A100))
    for field in fields(part)
    if str(field.type) not in PARTS
]


@pytest.mark.parametrize(("path", "part", "field"), EVERY_FIELD)
def test_every_field_of_a_request_changes_the_hash_unless_it_is_listed(
    path: str, part: Any, field: str
) -> None:
    types = {known.name: str(known.type) for known in fields(part)}
    before = changed(on(A100), path, part)
    after = changed(on(A100), path, replace(part, **{field: OTHER[types[field]]}))
    hashes = {request_hash(of, Policy(), world(), PlainEngine()) for of in (before, after)}
    listed = field in LEFT_OUT.get(type(part), {})
    assert len(hashes) == (1 if listed and field != "model" else 2)


def test_every_bound_of_policies_changes_the_hash_but_not_who_set_it() -> None:
    types = {known.name: str(known.type) for known in fields(Bounds)}
    free = request_hash(on(A100), Policy(), world(), PlainEngine())
    for name, kind in types.items():
        value = (("vllm", ("a",)),) if name == "by" else OTHER[kind]
        made: Any = {name: value}
        held = Policy(bounds=replace(Bounds(), **made))
        changed_by_it = request_hash(on(A100), held, world(), PlainEngine()) != free
        assert changed_by_it is (name != "by"), name


def test_every_field_that_the_hash_leaves_out_exists_and_has_its_reason() -> None:
    for part, reasons in LEFT_OUT.items():
        assert set(reasons) <= {field.name for field in fields(part)}
        assert all(reasons.values())
