"""Claims about the next step: trust comes before what needs it, and goes after it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.certificates.authority import (
    bundle,
    due,
    is_for,
    is_signed_by,
    is_valid,
    make_authority,
    make_serving,
    read_pair,
    read_roots,
)
from plimsoll_operator.certificates.plan import (
    AUTHORITY,
    LABEL,
    SERVING,
    CertificateState,
    Issue,
    MakeAuthority,
    Publish,
    Refuse,
    Step,
    Tell,
    Trust,
    Wait,
    Wish,
    contents,
    pair_in,
    plan,
    published,
)

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
WISH = Wish(("plimsoll-webhook.plimsoll-system.svc",), 90 * DAY, 365 * DAY, 5 * MINUTE)
Secret = dict[str, Any]
T = TypeVar("T")


def encoded(data: dict[str, bytes]) -> dict[str, str]:
    return {key: base64.b64encode(text).decode() for key, text in data.items()}


def secret(kind: str, data: dict[str, bytes]) -> Secret:
    metadata = {"name": kind, "namespace": "plimsoll-system", "labels": {LABEL: kind}}
    return {"metadata": metadata, "data": encoded(data)}


def configuration(*bundles: bytes) -> Secret:
    return {
        "webhooks": [
            {"clientConfig": {"caBundle": base64.b64encode(b).decode()} if b else {}}
            for b in bundles
        ]
    }


@dataclass
class World:
    """The three objects, and the keeper's memory; steps are done on it as the keeper does them."""

    now: datetime = START
    authority: Secret | None = None
    serving: Secret | None = None
    hooks: Secret | None = field(default_factory=lambda: configuration(b"", b""))
    published: tuple[tuple[bytes, ...], datetime] = ((), START)
    served: tuple[bytes, datetime] = (b"", START)
    steps: list[str] = field(default_factory=list)

    def next(self, wish: Wish = WISH) -> Step:
        if self.published[0] != published(self.hooks):
            self.published = (published(self.hooks), self.now)
        leaf = contents(self.serving, "tls.crt")
        if self.served[0] != leaf:
            self.served = (leaf, self.now)
        state = CertificateState(
            self.authority,
            self.serving,
            () if self.hooks is None else (self.hooks,),
            self.published[1] if any(self.published[0]) else None,
            self.served[1] if leaf else None,
        )
        return plan(state, wish, self.now)

    def do(self, step: Step, wish: Wish = WISH) -> None:
        self.steps.append(type(step).__name__)
        match step:
            case MakeAuthority(trusted=trusted):
                pair = make_authority(wish.authority, self.now)
                roots = [*read_roots(pair.certificate), *read_roots(trusted)]
                self.authority = secret(
                    AUTHORITY,
                    {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": bundle(roots)},
                )
            case Trust(trusted=trusted):
                assert self.authority
                self.authority["data"] |= encoded({"ca.crt": trusted})
            case Publish(trusted=trusted):
                self.hooks = configuration(*(trusted for _ in published(self.hooks)))
            case Issue(authority=authority, trusted=trusted):
                pair = make_serving(authority, wish.names, wish.serving, self.now)
                self.serving = secret(
                    SERVING,
                    {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": trusted},
                )
            case Tell(trusted=trusted):
                assert self.serving
                self.serving["data"] |= encoded({"ca.crt": trusted})

    def settle(self, wish: Wish = WISH) -> Wait | Refuse:
        """Do steps until there is none; the answer then."""
        for _ in range(8):
            step = self.next(wish)
            if isinstance(step, Wait | Refuse):
                return step
            self.do(step, wish)
        raise AssertionError(f"no end: {self.steps}")

    def until(self, moment: datetime, wish: Wish = WISH) -> None:
        """Let time pass, waking as the plan asks."""
        while self.now < moment:
            waits = self.settle(wish)
            assert isinstance(waits, Wait)
            assert waits.until > self.now
            self.now = min(waits.until, moment)
        self.settle(wish)

    @property
    def roots(self) -> int:
        return len(read_roots(published(self.hooks)[0]))

    def is_trusted(self) -> bool:
        """Whether whoever reads caBundle and Secret now believes the one by the other."""
        leaf = read_pair(pair_in(self.serving))
        return leaf is not None and all(
            any(is_signed_by(leaf, root) for root in read_roots(text))
            for text in published(self.hooks)
        )


@pytest.fixture
def settled() -> World:
    world = World()
    world.settle()
    world.steps.clear()
    return world


def test_on_an_empty_cluster_trust_is_published_before_anything_is_issued() -> None:
    world = World()
    waits = world.settle()
    assert world.steps == ["MakeAuthority", "Publish", "Issue"]
    assert waits == Wait(START + 60 * DAY, "all is well")
    assert world.is_trusted()


def test_without_a_configuration_the_certificate_is_issued_all_the_same() -> None:
    world = World(hooks=None)
    world.settle()
    assert world.steps == ["MakeAuthority", "Issue"]


def test_nothing_is_done_when_nothing_is_due(settled: World) -> None:
    settled.until(START + 59 * DAY)
    assert settled.steps == []


def test_a_serving_certificate_is_renewed_after_two_thirds_of_its_life(settled: World) -> None:
    before = pair_in(settled.serving)
    settled.until(START + 61 * DAY)
    assert settled.steps == ["Issue"]
    assert pair_in(settled.serving) != before
    assert settled.roots == 1


def test_an_authority_is_replaced_without_a_moment_of_distrust(settled: World) -> None:
    is_due = START + WISH.authority * 2 / 3
    settled.until(is_due - MINUTE)
    settled.steps.clear()
    old_leaf, old_key = pair_in(settled.serving), pair_in(settled.authority).key

    settled.now = is_due + MINUTE
    waits = settled.settle()
    assert settled.steps == ["MakeAuthority", "Publish"]
    assert waits == Wait(settled.now + 5 * MINUTE, "there is a newer authority: publishing")
    assert pair_in(settled.serving) == old_leaf
    assert settled.roots == 2
    kept = (settled.authority or {})["data"]
    assert old_key not in (contents(settled.authority, key) for key in kept)

    settled.now += 5 * MINUTE
    waits = settled.settle()
    assert settled.steps[2:] == ["Issue"]
    assert waits == Wait(settled.now + 5 * MINUTE, "admission takes up the new certificate")
    assert settled.roots == 2

    settled.now += 5 * MINUTE
    assert isinstance(settled.settle(), Wait)
    assert settled.steps[3:] == ["Trust", "Publish", "Tell"]
    assert settled.roots == 1
    assert settled.is_trusted()


def test_a_ca_bundle_that_is_reset_during_a_rotation_starts_the_wait_again(settled: World) -> None:
    is_due = START + WISH.authority * 2 / 3
    settled.until(is_due - MINUTE)
    settled.now = is_due
    settled.settle()
    settled.now += 4 * MINUTE
    settled.hooks = configuration(b"", b"")
    settled.settle()
    settled.steps.clear()
    settled.now += 4 * MINUTE
    settled.settle()
    assert settled.steps == []
    settled.now += 2 * MINUTE
    settled.settle()
    assert settled.steps == ["Issue"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda s: None,
        lambda s: s | {"data": None},
        lambda s: s | {"data": s["data"] | {"tls.crt": "!!"}},
        lambda s: s | {"data": s["data"] | {"tls.key": ""}},
        lambda s: s | {"data": s["data"] | encoded({"tls.key": b"rubbish"})},
        lambda s: s | {"data": s["data"] | encoded(another_pair())},
    ],
    ids=["deleted", "no data", "no base64", "no key", "no PEM", "another pair"],
)
def test_a_serving_secret_that_is_deleted_or_damaged_is_mended_at_once(
    settled: World, damage: Callable[[Secret], Secret | None]
) -> None:
    settled.now += DAY
    settled.serving = damage(settled.serving or {})
    assert isinstance(settled.settle(), Wait)
    assert settled.steps == ["Issue"]
    assert settled.is_trusted()
    assert settled.roots == 1


def another_pair() -> dict[str, bytes]:
    pair = make_serving(make_authority(DAY, START), WISH.names, DAY, START)
    return {"tls.crt": pair.certificate, "tls.key": pair.key}


@pytest.mark.parametrize("both", [False, True])
def test_an_authority_that_is_deleted_costs_no_trust(settled: World, both: bool) -> None:
    """Admission goes on serving what it has in memory, even if both Secrets are gone."""
    served = read_pair(pair_in(settled.serving))
    assert served
    settled.now += DAY
    settled.authority = None
    settled.serving = None if both else settled.serving
    settled.settle()
    assert settled.steps == ["MakeAuthority", "Publish", *(["Issue"] if both else [])]
    for has in published(settled.hooks):
        assert any(is_signed_by(served, root) for root in read_roots(has))
    settled.until(settled.now + 20 * MINUTE)
    assert settled.roots == 1
    assert settled.is_trusted()


def test_a_list_of_the_trusted_that_is_damaged_costs_no_trust(settled: World) -> None:
    old = settled.hooks
    settled.authority = cast("Secret | None", None)
    settled.settle()
    both = settled.hooks
    assert both != old
    assert settled.authority
    settled.authority["data"]["ca.crt"] = ""
    settled.steps.clear()
    settled.settle()
    assert settled.steps == ["Trust"]
    assert settled.hooks == both


@pytest.mark.sweep
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from((SERVING, AUTHORITY)),
    st.sampled_from(("tls.crt", "tls.key", "ca.crt")),
    st.integers(0, 2000),
    st.binary(max_size=8),
)
def test_whatever_is_in_a_secret_it_ends_well(
    kind: str, key: str, where: int, rubbish: bytes
) -> None:
    world = World()
    world.settle()
    damaged = world.serving if kind == SERVING else world.authority
    assert damaged
    text = contents(damaged, key)
    text = text[:where] + rubbish + text[where + len(rubbish) :]
    damaged["data"] |= encoded({key: text})
    assert isinstance(world.settle(), Wait)
    assert world.is_trusted()


def test_a_ca_bundle_that_was_reset_is_put_back(settled: World) -> None:
    before = settled.hooks
    settled.hooks = configuration(b"", b"something else")
    settled.settle()
    assert settled.steps == ["Publish"]
    assert settled.hooks == before


@pytest.mark.parametrize("kind", [SERVING, AUTHORITY])
def test_a_secret_of_somebody_else_is_never_touched(settled: World, kind: str) -> None:
    foreign = {
        "metadata": {"name": "theirs", "namespace": "plimsoll-system", "labels": {"a": "b"}},
        "data": {},
    }
    if kind == SERVING:
        settled.serving = foreign
    else:
        settled.authority = foreign
    settled.hooks = configuration(b"theirs")
    refused = settled.settle()
    assert isinstance(refused, Refuse)
    assert refused.kind == kind
    assert refused.why == (
        "Secret plimsoll-system/theirs is not ours: it has no label "
        f"plimsoll.dev/certificate={kind}, so it is left as it is; delete it, label it, or name "
        "another one"
    )
    assert settled.steps == []


def test_another_name_is_certified_at_once(settled: World) -> None:
    wider = replace(WISH, names=(*WISH.names, "10.0.0.1"))
    settled.settle(wider)
    assert settled.steps == ["Issue"]
    leaf = read_pair(pair_in(settled.serving))
    assert leaf
    assert is_for(leaf, wider.names)


def test_a_keeper_that_was_away_until_all_had_run_out_starts_again(settled: World) -> None:
    settled.now = START + 400 * DAY
    assert isinstance(settled.settle(), Wait)
    assert settled.steps == ["MakeAuthority", "Publish", "Issue"]
    assert settled.roots == 1
    assert settled.is_trusted()


EVENTS = ("nothing", "another leader", "authority gone", "rotation", "renewal")
STEP = timedelta(seconds=30)


@pytest.mark.sweep
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 15)), min_size=1, max_size=5),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_no_admission_process_is_ever_distrusted_by_an_api_server_that_lags(
    events: list[tuple[str, int]], api_server_lags: int, admission_lags: int
) -> None:
    """Whatever happens when: as long as both hear of changes within the propagation time.

    events: what happens, and how often half a minute passes after it. Lags, too, are counted in
    half minutes; the propagation time is ten of them.
    """
    world = World()
    world.settle()
    heard = [(START, published(world.hooks))]
    loaded = [(START, pair_in(world.serving))]

    def half_a_minute() -> None:
        world.settle()
        heard.append((world.now, published(world.hooks)))
        loaded.append((world.now, pair_in(world.serving)))
        serves = read_pair(as_of(loaded, world.now - admission_lags * STEP))
        assert serves
        assert is_valid(serves, world.now)
        for trusted in as_of(heard, world.now - api_server_lags * STEP):
            assert any(is_signed_by(serves, root) for root in read_roots(trusted))
        world.now += STEP

    for event, times in events:
        if event == "another leader":
            world.published, world.served = ((), world.now), (b"", world.now)
        elif event == "authority gone":
            world.authority = None
        elif event in ("rotation", "renewal"):
            secret = world.authority if event == "rotation" else world.serving
            certificate = read_pair(pair_in(secret))
            if certificate:
                while world.now < due(certificate):
                    waits = world.settle()
                    assert isinstance(waits, Wait)
                    heard.append((world.now, published(world.hooks)))
                    loaded.append((world.now, pair_in(world.serving)))
                    world.now = waits.until
        for _ in range(times):
            half_a_minute()


def as_of(known: list[tuple[datetime, T]], moment: datetime) -> T:
    """What was known then."""
    before = [what for when, what in known if when <= moment]
    return before[-1] if before else known[0][1]
