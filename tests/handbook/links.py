"""Where a link of a document leads once the documents are a site.

Documents are written to be read in the repository. Some files outside docs/ are pages of the site
as well; every other path outside it is a link to the repository.
"""

from __future__ import annotations

import posixpath
import re
from typing import Final

REPOSITORY: Final = "https://github.com/plimsoll/plimsoll"
MORE_PAGES: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "charts/plimsoll/README.md": "chart.md",
}
"""Documents outside docs/, from the root of the repository, and their names in the site."""
_LINK: Final = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
_FENCE: Final = re.compile(r"(```.*?```)", re.DOTALL)


def origin(page: str) -> str:
    """The path in the repository of a page of the site: ``index.md`` is README.md."""
    names = {name: path for path, name in MORE_PAGES.items()}
    return names.get(page, f"docs/{page}")


def for_site(text: str, page: str) -> str:
    """The text of a page with its links as the site has them. page: its path in the site."""
    folder = posixpath.dirname(origin(page))

    def led(match: re.Match[str]) -> str:
        before, target, anchor, after = match.groups(default="")
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path in MORE_PAGES:
            there = MORE_PAGES[path]
        elif path.startswith("docs/"):
            there = path.removeprefix("docs/")
        else:
            return f"{before}{REPOSITORY}/blob/main/{path}{anchor}{after}"
        return f"{before}{posixpath.relpath(there, posixpath.dirname(page) or '.')}{anchor}{after}"

    parts = _FENCE.split(text)
    parts[::2] = [_LINK.sub(led, part) for part in parts[::2]]
    return "".join(parts)
