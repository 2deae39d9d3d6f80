"""The page itself: what its parts found, put into the template.

The only thing that runs in it is the script that stands in it, by its hash; nothing may be fetched.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from plimsoll.errors import clean
from plimsoll.report.page import changes, gpus
from plimsoll.report.page.objects import DOUBT, FITS, MOST_IN_FULL, OVER, arranged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from plimsoll.inventory.pools import Inventory
    from plimsoll.report.page.changes import Before
    from plimsoll.report.page.objects import Row

_DATA: Final = Path(__file__).parent / "data"
MOST_UNREAD: Final = 200
"""Files that could not be read, and nodes that are not counted, that are listed."""


@dataclass(frozen=True, slots=True)
class About:
    """What the page says of itself. source: what it is of; made: when, for people and machines."""

    source: str
    made: str
    version: str


def content_policy() -> str:
    """The Content-Security-Policy of every page: the script that stands in it, and no request."""
    digest = base64.b64encode(hashlib.sha256(_file("page.js").encode()).digest()).decode()
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def page(
    rows: Iterable[Row],
    unread: Sequence[str],
    inventory: Inventory,
    about: About,
    before: Before | None = None,
) -> str:
    """The whole page. unread: what could not be read. before: the page it is compared with."""
    found = arranged(rows)
    asked = gpus.asked(found, inventory)
    style, script = (_file(name) for name in ("page.css", "page.js"))
    environment = Environment(
        loader=FileSystemLoader(_DATA),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html").render(
        about=about,
        mark=changes.MARK,
        style=style,
        script=script,
        policy=content_policy(),
        rows=found,
        in_full=MOST_IN_FULL,
        in_short=any(told.more for row in found for told in row.told),
        counts=[(state, sum(row.state == state for row in found)) for state in (FITS, DOUBT, OVER)],
        namespaces=sorted({row.name.rpartition("/")[0] for row in found} - {""}),
        replicas=sum(row.gpus * max(0, row.replicas) for row in found),
        asked=asked,
        priced=any(one.cost for one in asked),
        pools=gpus.pools(inventory),
        inventory=inventory,
        aside=[(clean(one.node), clean(one.why, 300)) for one in inventory.set_aside[:MOST_UNREAD]],
        unread=unread[:MOST_UNREAD],
        unread_more=max(0, len(unread) - MOST_UNREAD),
        changes=changes.changes(before, found) if before else None,
    )


def _file(name: str) -> str:
    return (_DATA / name).read_text(encoding="utf-8")
