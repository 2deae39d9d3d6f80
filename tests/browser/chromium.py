"""A headless Chromium over its own pipe, for tests: no driver, no port, no package.

Chromium's DevTools protocol: JSON messages, each ended by a zero byte, on descriptors 3 and 4.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from pathlib import Path

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
"""What the browser may be called on PATH."""
WAIT: Final = 60.0
"""Seconds that the browser may take for one answer."""
_FLAGS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
    *("--remote-debugging-pipe", "--no-first-run", "--disable-background-networking"),
)


class Chromium:
    """One browser with one page."""

    def __init__(self, profile: Path) -> None:
        """profile: an empty folder that the browser may write to. Raises `FileNotFoundError`."""
        program = next((found for name in NAMES if (found := shutil.which(name))), None)
        if program is None:
            raise FileNotFoundError(f"none of {', '.join(NAMES)} is on PATH")
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # the shell gives the browser the descriptors 3 and 4 that it listens and answers on
        line = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        words = [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", line, "bash", *words],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._rest, self._last, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        os.close(self._write)
        os.close(self._read)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command; events that come meanwhile are kept. Raises on an error."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("the browser ended")
            self._rest += part
        whole, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(whole)
        return message

    def open(self, url: str, *, drawn: bool = True) -> float:
        """Open a page and wait until it is loaded; the seconds that took.

        drawn: wait until it is drawn too, which takes scripts.
        """
        self.events.clear()
        begun = time.monotonic()
        self.ask("Page.navigate", url=url)
        while not any(one.get("method") == "Page.loadEventFired" for one in self.events):
            self.events.append(self._message())
            assert time.monotonic() - begun < WAIT, "the page is not loaded"
        if drawn:
            self.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
        return time.monotonic() - begun

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def look(self, width: int, height: int = 900, scheme: str = "light", media: str = "") -> None:
        """Show the page in a window of that size, in a colour scheme, as on a screen or paper."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)

    def picture(self) -> str:
        """The whole page as PNG, in base64; what lies outside of the window is drawn first."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        whole = {"width": math.ceil(size["width"]), "height": math.ceil(size["height"])}
        self.ask("Emulation.setDeviceMetricsOverride", **whole, deviceScaleFactor=1, mobile=False)
        self.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
        data: str = self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        return data

    def requests(self) -> list[str]:
        """Every address that was asked for since the page was opened."""
        return [
            one["params"]["request"]["url"]
            for one in self.events
            if one.get("method") == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """What the browser complains of: errors of scripts, and what the page's policy forbade."""
        said = [
            one["params"]["entry"]["text"]
            for one in self.events
            if one.get("method") == "Log.entryAdded"
        ]
        return said + [
            json.dumps(one["params"])[:500]
            for one in self.events
            if one.get("method") == "Runtime.exceptionThrown"
        ]
