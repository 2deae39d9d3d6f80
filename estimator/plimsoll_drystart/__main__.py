"""``python -m plimsoll_drystart --cases FILE --out FILE``: run by the Python of an engine.

A case a line: {"id", "device": {"name", "capability", "nvml_bytes", ...}, "config": {...} or
"folder": path, "files": {name: content}, "arguments": {...} or "command_line": [...], "rank": 0,
"upto": "config", "available_bytes": n}. Facts a line, with the id. What is decided when the engine
is imported is decided for one compute capability: a process for each, a fork of it for each case.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from plimsoll_drystart import REVISION, environment
from plimsoll_drystart.card import card_of

if TYPE_CHECKING:
    from collections.abc import Iterable

EXIT_BAD_INPUT = 2
PREFIX = "PLIMSOLL-FACTS "
"""Before each line of facts on standard output, among whatever else an engine prints there."""


def main() -> int:
    """Read the cases, run each, write its facts."""
    given = _arguments()
    folder = os.environ.get(environment.MARK)
    if folder is None:
        return _started(given)
    cases = [json.loads(line) for line in given.cases.read_text("utf-8").splitlines() if line]
    try:
        for case in cases:
            card_of(case["device"])
    except (KeyError, ValueError) as error:
        print(f"plimsoll_drystart: {given.cases}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    done = _done(given.out)
    cases = [case for case in cases if case["id"] not in done]
    groups: dict[str, list[dict[str, Any]]] = {}
    for case in cases:
        groups.setdefault(str(case["device"].get("capability")), []).append(case)
    if len(groups) > 1:
        from plimsoll_drystart.process import common

        common()
    opened = given.out.open("a", encoding="utf-8") if given.out else contextlib.nullcontext()
    with opened as out:
        for group in groups.values():
            process = os.fork()
            if not process:
                os._exit(_one_gpu(group, out, given))
            os.waitpid(process, 0)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="plimsoll_drystart", description=__doc__)
    parser.add_argument("--cases", type=Path, required=True, help="JSON lines of cases")
    parser.add_argument("--out", type=Path, help="facts are added to it; none: standard output")
    parser.add_argument("--seconds", type=int, default=300, help="most seconds of one case")
    parser.add_argument(
        "--memory-gib", type=int, default=0, help="most memory of one case; 0: no limit"
    )
    parser.add_argument(
        "--brief", type=Path, help="the last facts in short are written to it: a container's end"
    )
    parser.add_argument("--work", type=Path, help="keep what is made for the environment here")
    return parser.parse_args()


def _started(given: argparse.Namespace) -> int:
    """Run this again in an environment of its own, and leave nothing of it behind."""
    folder = given.work or Path(tempfile.mkdtemp(prefix="drystart-"))
    try:
        variables = environment.make(folder.absolute())
        child = subprocess.Popen(
            [sys.executable, "-m", "plimsoll_drystart", *sys.argv[1:]], env=variables
        )
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        return child.wait()
    except ModuleNotFoundError as error:
        print(f"plimsoll_drystart: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    finally:
        if given.work is None:
            shutil.rmtree(folder, ignore_errors=True)


def _done(out: Path | None) -> set[str]:
    """Ids that the file has facts of; a line that was cut off is none."""
    found = set()
    if out is not None and out.exists():
        for line in out.read_text("utf-8").splitlines():
            try:
                found.add(json.loads(line)["id"])
            except (ValueError, KeyError):
                continue
    return found


def _one_gpu(cases: list[dict[str, Any]], out: IO[str] | None, given: argparse.Namespace) -> int:
    """The cases of one capability: import the engine for it, then a fork for each case."""
    card = card_of(cases[0]["device"])
    before = time.monotonic()
    try:
        from plimsoll_drystart.device import GPU0
        from plimsoll_drystart.memory import Memory
        from plimsoll_drystart.process import ready

        memory = Memory()
        device = GPU0(card, memory)
        version, moved = ready(card, device, memory)
    except BaseException as error:  # a broken wheel, a seam that moved: said for every case
        from plimsoll_drystart import facts

        what = {"class": type(error).__name__, "message": facts.message(error)}
        said_of_all = {
            "unknown": what | {"places": facts.places(error.__traceback__)},
            "reached": "import",
        }
        for case in cases:
            _write(out, {"id": case["id"], "harness": REVISION, **said_of_all}, given.brief)
        print(f"import failed: {facts.message(error)}", file=sys.stderr)
        return 1
    for one in moved:
        print(f"vllm {version}: seam not found: {one}", file=sys.stderr)
    print(
        f"vllm {version} on {card.name}: {time.monotonic() - before:.0f} s to import",
        file=sys.stderr,
    )
    for at, case in enumerate(cases):
        before = time.monotonic()
        said = _forked(case, device, memory, given)
        learn(said.pop("imported", ()))
        head: dict[str, Any] = {
            "id": case["id"],
            "engine": "vllm",
            "version": version,
            "harness": REVISION,
        }
        if moved:
            head["moved"] = moved
        _write(out, head | said, given.brief)
        end = next((k for k in ("refused", "unknown") if k in said), said.get("reached"))
        words = (said.get("refused") or said.get("unknown") or {}).get("message", "")
        spent = time.monotonic() - before
        print(
            f"{at + 1}/{len(cases)} {spent:5.1f} s {case['id']}: {end} {words[:200]}",
            file=sys.stderr,
            flush=True,
        )
    return 0


def learn(modules: Iterable[str]) -> None:
    """Import what a case imported, so that those after it find it there."""
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _write(out: IO[str] | None, row: dict[str, Any], brief: Path | None) -> None:
    text = json.dumps(row, separators=(",", ":"))
    if brief is not None:
        from plimsoll_drystart import facts

        with contextlib.suppress(OSError):  # what it is printed to has it all the same
            brief.write_text(f"{PREFIX}{facts.brief(row)}", "utf-8")
    if out is None:
        print(f"\n{PREFIX}{text}", flush=True)
        return
    out.write(text + "\n")
    out.flush()


def _forked(
    case: dict[str, Any], device: Any, memory: Any, given: argparse.Namespace
) -> dict[str, Any]:
    """The facts of one case, from a process of its own that has a limit of time and memory."""
    from plimsoll_drystart.vllm_start import Start

    reading, writing = os.pipe()
    folder = Path(tempfile.mkdtemp(prefix="model-", dir=os.environ[environment.MARK]))
    process = os.fork()
    if not process:
        os.close(reading)
        signal.alarm(given.seconds)
        if given.memory_gib:
            most = given.memory_gib << 30
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        os.chdir(folder)
        device.card.become(card_of(case["device"]))
        place = Path(case["folder"]) if case.get("folder") else _files(folder, case)
        known = set(sys.modules)
        said = Start(case, device, memory).run(place)
        new = [name for name in sys.modules if name not in known]
        said["imported"] = [name for name in new if name.startswith(("vllm.", "transformers."))]
        text = json.dumps(said)
        with os.fdopen(writing, "w") as pipe:
            pipe.write(text)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(process, 0)
    shutil.rmtree(folder, ignore_errors=True)
    if text:
        return dict(json.loads(text))
    ended = (
        "ran out of its time" if os.WTERMSIG(status) == signal.SIGALRM else f"ended with {status}"
    )
    return {"unknown": {"class": "Killed", "message": f"the process {ended}", "places": []}}


def _files(folder: Path, case: dict[str, Any]) -> Path:
    for name, content in {"config.json": case["config"], **(case.get("files") or {})}.items():
        (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


if __name__ == "__main__":
    sys.exit(main())
