"""Claims about the page of `plimsoll report` as a browser shows it; pictures go to build/page.

`make test-page` runs it: it needs Chromium and axe-core, which that target installs.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser.chromium import Chromium
from commands import run
from page_tree import deployment, listing, overridden, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "build" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
PICTURES = ROOT / "build" / "page"
WIDTHS = (1280, 800, 360)
LOOKS = [(width, scheme) for width in WIDTHS for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser for all of them."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with Chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each state: of a cluster since another page, of nothing, of hostile texts."""
    folder = tmp_path_factory.mktemp("pages")
    before = listing(20)
    before["items"][1]["spec"]["accelerator"]["gpusPerReplica"] = 4
    del before["items"][7]
    after = listing(24)
    after["items"][9], after["items"][19] = overridden(9), overridden(19, recorded=True)
    hostile = unknown("<img src=x onerror=alert(1)>")
    hostile["spec"]["model"]["uri"] = 'hf://a/"></style><script>alert(2)</script>'
    hostile["metadata"]["namespace"] = "x" * 200
    texts = {
        "before": before,
        "cluster": after,
        "empty": {"kind": "List", "apiVersion": "v1", "items": []},
        "hostile": {"kind": "List", "apiVersion": "v1", "items": [hostile, deployment(9)]},
        "large": listing(1000),
    }
    made = {}
    for name, text in texts.items():
        source = folder / f"{name}.json"
        source.write_text(json.dumps(text))
        made[name] = folder / f"{name}.html"
        since = ["--since", made["before"]] if name == "cluster" else []
        run("report", source, *since, "--to", made[name])
    return made


def kept(browser: Chromium, name: str) -> None:
    """Keep a picture of the whole page."""
    (PICTURES / f"{name}.png").write_bytes(base64.b64decode(browser.picture()))


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
@pytest.mark.parametrize("name", ["cluster", "empty", "hostile"])
def test_everybody_can_read_it(
    browser: Chromium, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    browser.look(width, scheme=scheme)
    browser.open(pages[name].as_uri())
    kept(browser, f"{name}-{width}-{scheme}")
    browser.run(AXE.read_text("utf-8"))
    rules = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
    found = browser.run(f"axe.run(document, {{runOnly: {json.dumps(rules)}}})")
    said = [
        (one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in found["violations"]
    ]
    assert said == []
    assert len(found["passes"]) > 10


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["cluster", "hostile"])
def test_nothing_is_wider_than_the_window(
    browser: Chromium, pages: dict[str, Path], name: str, width: int
) -> None:
    browser.look(width)
    browser.open(pages[name].as_uri())
    assert browser.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["cluster", "hostile", "empty"])
def test_it_asks_for_nothing_and_nobody_is_complained_of(
    browser: Chromium, pages: dict[str, Path], name: str
) -> None:
    browser.open(pages[name].as_uri())
    asked = [url for url in browser.requests() if not url.startswith("data:")]
    assert asked == [pages[name].as_uri()]
    assert browser.complaints() == []


def shown(browser: Chromium) -> list[str]:
    """The names of the objects that are to be seen, in their order."""
    names: list[str] = browser.run(
        "[...document.querySelectorAll('.rows > li')].filter((li) => li.offsetHeight)"
        ".map((li) => li.querySelector('b').textContent)"
    )
    return names


def test_objects_are_filtered_and_sorted(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.look(1280)
    browser.open(pages["cluster"].as_uri())
    everything = shown(browser)
    assert len(everything) == 25

    def set_to(id_: str, value: str) -> list[str]:
        told = "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, up))"
        found = f"document.getElementById({json.dumps(id_)})"
        value = json.dumps(value)
        browser.run(f"{{const e = {found}, up = {{bubbles: true}}; e.value = {value}; {told}}}")
        return shown(browser)

    qwen = set_to("find", "qwen nvidia-l4")
    assert 0 < len(qwen) < 10
    assert all("qwen" in name for name in qwen)
    assert set_to("find", "") == everything
    refused = set_to("state", "over")
    assert len(refused) == 2
    assert all("llama-3-3-70b" in name for name in refused)
    assert len(set_to("state", "")) == 25
    assert set_to("sort", "name") == sorted(everything)
    assert set_to("sort", "") == everything
    chat = set_to("space", "chat")
    assert chat
    assert all(name.startswith("chat/") for name in chat)


def test_without_script_everything_is_there(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.look(1280)
        browser.open(pages["cluster"].as_uri(), drawn=False)
        assert len(shown(browser)) == 25
        assert browser.run("document.querySelector('.tools').offsetHeight") == 0
        text: str = browser.run("document.body.innerText")
        assert "spec.accelerator.gpusPerReplica: 4" in text
        assert "nvidia-h100-80gb" in text
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)


def test_an_override_stands_beside_the_verdict(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.look(1280)
    browser.open(pages["cluster"].as_uri())
    rows: list[str] = browser.run(
        "[...document.querySelectorAll('li.over')].map((li) => li.innerText)"
    )
    assert all(row.startswith("overridden") for row in rows)
    assert sum("on record in its status since 2026-11-02" in row for row in rows) == 1
    assert sum("claimed by its annotation" in row for row in rows) == 1


def test_it_prints(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.look(1280, media="print")
    browser.open(pages["cluster"].as_uri())
    kept(browser, "cluster-print")
    printed = base64.b64decode(browser.ask("Page.printToPDF", preferCSSPageSize=True)["data"])
    (PICTURES / "cluster.pdf").write_bytes(printed)
    assert 1 <= printed.count(b"/Type /Page\n") <= 6


def test_a_thousand_objects_are_drawn_soon(
    browser: Chromium, pages: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    browser.look(1280)
    seconds = browser.open(pages["large"].as_uri())
    size = pages["large"].stat().st_size
    with capsys.disabled():
        print(f"\n1,001 objects: {size:,} bytes, drawn after {seconds:.2f} s")
    assert len(shown(browser)) == 1001
    assert size < 1_000_000
