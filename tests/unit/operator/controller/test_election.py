"""Claims about a term's end, with a clock that the test moves; the rest is in tests/cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from kubernetes.aio.client import ApiClient, Configuration

from plimsoll_operator.cluster.client import Client, Conflict, NotAllowedNow, NotFound
from plimsoll_operator.cluster.objects import LEASES
from plimsoll_operator.controller import election
from plimsoll_operator.controller.election import Election, LeaseTimes, LostLease, own_namespace

if TYPE_CHECKING:
    from pathlib import Path

TERM = LeaseTimes(lease=10, renew=7, retry=2)


class OneLease:
    """Keeps one object as the API server does, with versions; `slow` seconds pass per write."""

    def __init__(self) -> None:
        self.now, self.slow = 1000.0, 0.0
        self.lease: dict[str, Any] = {}
        self.writes = 0

    def clock(self) -> float:
        return self.now

    async def request(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        assert path == LEASES.path("ns", "lease")
        if not self.lease:
            raise NotFound(404, "NotFound", "no such Lease")
        return self.lease if method == "GET" else self._store(given["body"])

    async def create(self, _: object, obj: dict[str, Any], **__: Any) -> dict[str, Any]:
        if self.lease:
            raise Conflict(409, "AlreadyExists", "there is one")
        return self._store(obj)

    def _store(self, obj: dict[str, Any]) -> dict[str, Any]:
        has = (self.lease.get("metadata") or {}).get("resourceVersion")
        if self.lease and obj["metadata"].get("resourceVersion") != has:
            raise Conflict(409, "Conflict", "it has changed")
        self.writes += 1
        self.now += self.slow
        metadata = {"name": "lease", "resourceVersion": str(self.writes)}
        self.lease = {"metadata": metadata, "spec": obj["spec"]}
        return self.lease


def candidate(server: OneLease, name: str, term: LeaseTimes = TERM) -> Election:
    return Election(
        cast("Client", server),
        namespace="ns",
        name="lease",
        identity=name,
        term=term,
        clock=server.clock,
    )


async def leader(server: OneLease, name: str = "a") -> Election:
    found = candidate(server, name)
    await found.acquire()
    assert found.leading
    return found


async def test_a_term_ends_by_the_clock_alone_whatever_the_process_does() -> None:
    server = OneLease()
    a = await leader(server)
    beliefs = []
    for seconds in (6.9, 0.2):
        server.now += seconds
        beliefs.append(a.leading)
    assert beliefs == [True, False]
    with pytest.raises(LostLease, match="it was not renewed for 7 s"):
        await a.hold()


async def test_a_term_counts_from_the_sending_of_a_renewal_not_from_its_answer() -> None:
    server = OneLease()
    server.slow = 5.0
    a = await leader(server)
    server.now += 2.1
    assert not a.leading


async def test_another_waits_out_the_term_that_the_holder_asked_for() -> None:
    server = OneLease()
    a = await leader(server)
    impatient = candidate(server, "b", LeaseTimes(lease=1, renew=0.8, retry=0.1))
    assert not await impatient._try()
    server.now += 9.9
    assert not await impatient._try()
    assert not a.leading
    server.now += 0.2
    assert await impatient._try()
    assert server.lease["spec"]["leaseTransitions"] == 1


async def test_a_renewal_that_is_seen_begins_the_wait_again() -> None:
    server = OneLease()
    a = await leader(server)
    b = candidate(server, "b")
    assert not await b._try()
    server.now += 6
    assert await a._renew()
    server.now += 6
    assert not await b._try()


async def test_of_two_that_see_the_same_lease_run_out_one_gets_it() -> None:
    server = OneLease()
    await leader(server)
    b, c = candidate(server, "b"), candidate(server, "c")
    assert not await b._try()
    assert not await c._try()
    server.now += 10.1
    assert sorted(await asyncio.gather(b._try(), c._try())) == [False, True]
    assert b.leading != c.leading


async def test_a_lease_that_somebody_else_holds_is_lost_at_first_sight() -> None:
    server = OneLease()
    a = await leader(server)
    server.lease = {
        "metadata": {"resourceVersion": "99"},
        "spec": {**server.lease["spec"], "holderIdentity": "thief"},
    }
    assert not await a._renew()
    assert a.holder == "thief"


async def test_a_leader_that_did_not_renew_in_time_does_not_call_itself_another() -> None:
    server = OneLease()
    a, b = await leader(server), candidate(server, "b")
    await b._try()
    assert a.why_not_leading == ""
    assert b.why_not_leading == "another controller leads: a"
    server.now += 8
    assert "has not renewed the Lease" in a.why_not_leading
    assert "another" not in a.why_not_leading


async def test_a_lease_that_was_deleted_is_made_again_by_its_holder() -> None:
    server = OneLease()
    a = await leader(server)
    server.lease = {}
    assert await a._renew()
    assert server.lease["spec"]["holderIdentity"] == "a"


async def test_what_is_given_back_is_to_be_had_at_once_and_only_by_its_holder() -> None:
    server = OneLease()
    a, b = await leader(server), candidate(server, "b")
    await b.release()
    assert server.writes == 1
    await a.release()
    assert not a.leading
    assert await b._try()
    assert server.lease["spec"]["leaseTransitions"] == 1


async def test_a_client_that_may_not_write_reads_on_and_sends_no_write() -> None:
    """Nothing listens at that address: what is sent fails in another way."""
    configuration = Configuration()
    configuration.host = "http://127.0.0.1:1"
    api = ApiClient(configuration)
    try:
        client = Client(api).guarded(lambda: "another controller leads: b")
        for method in ("PATCH", "POST", "PUT", "DELETE"):
            with pytest.raises(NotAllowedNow, match="another controller leads: b"):
                await client.request(method, "/anything")
        with pytest.raises(OSError, match="Cannot connect"):
            await client.request("GET", "/anything")
    finally:
        await api.close()  # type: ignore[no-untyped-call]


def test_the_namespace_is_the_one_given_then_the_pods_then_a_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(election, "POD_NAMESPACE", tmp_path / "namespace")
    assert own_namespace() == "plimsoll-system"
    (tmp_path / "namespace").write_text("team-a\n")
    assert own_namespace() == "team-a"
    assert own_namespace("given") == "given"
