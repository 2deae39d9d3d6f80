"""Control planes that one file of tests has for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from cluster.fixtures_operator import install
from controlplane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LLAMA = "hf://meta-llama/Llama-3.3-70B-Instruct"
"""70 billion parameters, which no GPU alone holds."""


def own_plane(
    why: str = "",
    nodes: Sequence[dict[str, Any]] = (),
    *,
    installed: bool = True,
    scope: Literal["module", "function"] = "module",
) -> Any:
    """The fixture of a control plane of its own, to be named `plane`.

    why: what a test does that a cluster which somebody gave to the session must not see; it is
    skipped there. nodes: what it begins with. installed: whether the CRD and the rights are there.
    """

    @pytest.fixture(scope=scope)
    def plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
        if why and not isinstance(request.getfixturevalue("control_plane"), ControlPlane):
            pytest.skip(f"{why}: needs a control plane of our own")
        with ControlPlane() as plane:
            if installed:
                install(plane)
            if nodes:
                plane.create(list(nodes))
            yield plane

    return plane
