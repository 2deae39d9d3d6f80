"""`plimsoll dry-start`: the engine's own start-up, run without a GPU, beside what we predict.

It must not know an engine's inside: the harness does, which runs where the engine is installed.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from plimsoll.cli.asked import documents_of, request_of, spec_options
from plimsoll.cli.completion import complete_gpu
from plimsoll.cli.gpu import gpus_named
from plimsoll.cli.kubectl import Kubectl, kubectl_options
from plimsoll.cli.output import Table, bad_input, dump, format_option, show
from plimsoll.errors import Problem, Unreadable, shown, shown_path

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.measured.dry_facts import Answer
    from plimsoll.measured.dry_start import Asked

_MANIFESTS: Final = (".yaml", ".yml")
_SLACK: Final = 120
"""Seconds beyond the harness's own limit after which it is ended from outside."""
_REMOVING: Final = 60
"""Seconds for removing a container."""
_JSON_FILES: Final = ("hf_quant_config.json", "preprocessor_config.json", "processor_config.json")
_KILLED: Final = (-signal.SIGKILL, 128 + signal.SIGKILL)
_MOST: Final = 1 << 20
_PRINTED: Final = 64 << 20
_HINT: Final = re.compile(r"\s*(Run '|See ')")
"""Lines of docker's errors that say where to read on."""


@click.command("dry-start")
@click.argument("target", metavar="MODEL|MANIFEST")
@click.option(
    "--gpu", required=True, shell_complete=complete_gpu, metavar="NAME", help="The kind of GPU."
)
@click.option(
    "--python",
    "python",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The Python of an environment in which the engine is installed.",
)
@click.option("--image", metavar="IMAGE", help="The engine's image, run by docker or podman.")
@click.option("--job", is_flag=True, help="Print the objects of a Kubernetes Job, with --image.")
@click.option(
    "--run",
    "run_it",
    is_flag=True,
    help="With --job: create it by kubectl, wait, read what it said, and remove it.",
)
@click.option("--show", is_flag=True, help="With --image: print the command instead of running it.")
@click.option(
    "--read",
    "printed",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Run nothing: read what a dry start printed, such as the log of its Job.",
)
@click.option("--namespace", "-n", default="default", show_default=True, help="Of the Job.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
              help="The model's config.json, whole.")  # fmt: skip
@click.option("--seconds", type=click.IntRange(10, 86400), default=600, show_default=True,
              help="Most time of the start-up.")  # fmt: skip
@kubectl_options
@spec_options
@format_option("table", "json", "yaml")
def command(
    target: str,
    gpu: str,
    python: Path | None,
    image: str | None,
    job: bool,
    run_it: bool,
    show: bool,
    printed: Path | None,
    namespace: str,
    config_file: Path | None,
    seconds: int,
    kubectl: str,
    kubeconfig: str | None,
    context: str | None,
    output: str,
    **said: Any,
) -> None:
    """Let vLLM's own start-up code say what it would do with MODEL on a GPU that is not there.

    Arguments, config, model classes, profile run, cache groups and checks are the engine's own, of
    the very release that is installed. It downloads nothing and needs no GPU; it needs the config
    of the model, a folder with config.json or --config FILE. What the catalogue has of a config is
    enough for most models, not for all.

    \b
    plimsoll dry-start ./my-model --gpu nvidia-l4 --python ~/vllm/bin/python
    plimsoll dry-start Qwen/Qwen3-8B --gpu nvidia-l4 --image vllm/vllm-openai:v0.33.0
    plimsoll dry-start model.yaml --gpu nvidia-l40s --job --run --image my/vllm:1 -n llm

    \b
    Exit code: 0 the engine starts, as far as this can be seen; 1 it refuses; 2 bad input, or
    nothing was learned.
    """
    ways = [python is not None, printed is not None, image is not None]
    if sum(ways) != 1:
        raise click.UsageError("say one of --python PATH, --image IMAGE or --read FILE")
    if job and image is None:
        raise click.UsageError("--job goes with --image IMAGE, the engine's own")
    if run_it and not job:
        raise click.UsageError("--run goes with --job")
    request, verdict, accelerator = _asked_for(target, gpu, config_file, output, said)
    if request.engine.name != "vllm":
        wanted = "vllm: no other engine can be dry started yet"
        bad_input(Problem("--engine", request.engine.name, wanted), output)
    what = _case(target, request, verdict, accelerator, config_file, output)
    if job and image is not None:
        from plimsoll.cli.dry_job import in_cluster
        from plimsoll.measured.dry_start import job as objects
        from plimsoll.measured.dry_start import name_of

        name = name_of(request)
        if not run_it:
            _print_objects(objects(what, image, name, namespace, seconds))
            return
        asked = Kubectl(kubectl, context, kubeconfig, output)
        answer = in_cluster(what, image, name, namespace, seconds, asked)
        _say(answer, *_of_release(request, verdict, answer.version), output)
    if printed is not None:
        text = _text(printed, output)
    elif python is not None:
        text = _by_python(what, python, seconds, output)
    else:
        text = _by_image(what, image or "", seconds, output, only_show=show)
    answer = _answer(text, output)
    _say(answer, *_of_release(request, verdict, answer.version), output)


def _asked_for(
    target: str, gpu: str, config_file: Path | None, output: str, said: dict[str, Any]
) -> tuple[Request, Verdict, Accelerator]:
    """What is to be started, what we predict of it, and the GPU."""
    from plimsoll.decision.decide import decide
    from plimsoll.report.wording import problems

    (accelerator,) = gpus_named((gpu,), output)
    if Path(target).suffix in _MANIFESTS and Path(target).is_file():
        given = [name for name, value in said.items() if value is not None]
        if given:
            raise click.UsageError("what a manifest says is in it: no further options beside it")
        request = _of_manifest(target, output)
    else:
        model = None if config_file else target
        documents = documents_of(model, config_file, output, hub=False)
        request = request_of(model, documents, (None, None), accelerator.name, said)
    if request.problems:
        bad_input(problems(request.problems, request.places), output)
    request = _on(request, accelerator.name)
    return request, decide(request), accelerator


def _on(request: Request, gpu: str) -> Request:
    """The same request on that kind of GPU alone."""
    from dataclasses import replace

    return replace(request, wanted=replace(request.wanted, allowed=(gpu,)))


def _of_release(request: Request, verdict: Verdict, version: str) -> tuple[Request, Verdict]:
    """What we predict of the release that answered, if it is one that we know."""
    from dataclasses import replace

    from plimsoll.decision.decide import decide

    if not version:
        return request, verdict
    asked = replace(request, engine=replace(request.engine, version=version))
    decided = decide(asked)
    known = decided.estimate is not None and not decided.problems
    return (asked, decided) if known else (request, verdict)


def _of_manifest(path: str, output: str) -> Request:
    """The one engine that the objects of a manifest start."""
    from plimsoll.workloads.files import load

    manifests = load((path,))
    if manifests.problems:
        bad_input(manifests.problems, output)
    found = [
        one.request
        for manifest in manifests.deployments
        for one in manifest.served or manifest.kind.read(manifest.obj, manifests.beside(manifest))
    ]
    if len(found) != 1:
        names = ", ".join(request.name for request in found) or "none"
        wanted = "objects that start one engine"
        bad_input(Problem("MANIFEST", names, wanted, "give a file with that object alone"), output)
    return found[0]


def _case(
    target: str,
    request: Request,
    verdict: Verdict,
    accelerator: Accelerator,
    config_file: Path | None,
    output: str,
) -> Asked:
    """The model's files, from where they are, with the flags and the GPU."""
    from plimsoll.measured.dry_start import asked
    from plimsoll.models import catalogue

    folder = Path(target)
    files: dict[str, Any]
    if config_file is None and (folder / "config.json").is_file():
        names = [name for name in _JSON_FILES if (folder / name).is_file()]
        files = {name: _json(folder / name, output) for name in names}
        config = _json(folder / "config.json", output)
    elif config_file is not None:
        config, files = _json(config_file, output), {}
    else:
        entry = catalogue.load().find(request.model.name)
        if entry is None:
            fix = "give --config FILE, its config.json, or a folder that holds it"
            bad_input(Problem("MODEL", shown(request.model.name), "a known config", fix), output)
        config = dict(entry.config)
        files = {"hf_quant_config.json": dict(entry.quant)} if entry.quant else {}
        text = "config: what the catalogue has of it; if the engine misses a field, give --config"
        click.echo(f"note: {text}", err=True)
    return asked(request, verdict.estimate, accelerator, config=config, files=files)


def _json(path: Path, output: str) -> dict[str, Any]:
    """An object of a JSON file of a bounded size."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST + 1)
        value = json.loads(raw) if len(raw) <= _MOST else None
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        bad_input(Problem(path.name, shown_path(path), "a JSON object of at most 1 MiB"), output)
    return value


def _print_objects(objects: list[dict[str, Any]]) -> None:
    import yaml

    apart = json.loads(json.dumps(objects))  # what two of them share is said twice, not referred to
    click.echo(yaml.safe_dump_all(apart, sort_keys=False).rstrip())


def _files(what: Asked, folder: Path) -> None:
    """The archive and the case, where a container or a Python finds them."""
    from plimsoll.measured.dry_start import ARCHIVE, CASE, archive

    (folder / ARCHIVE).write_bytes(archive())
    (folder / CASE).write_text(what.line, "utf-8")
    for path in (folder, folder / ARCHIVE, folder / CASE):
        path.chmod(0o755 if path.is_dir() else 0o644)  # a container reads them as nobody


def _by_python(what: Asked, python: Path, seconds: int, output: str) -> str:
    """What the harness prints under that Python."""
    from plimsoll.measured.dry_start import ARCHIVE, CASE, arguments

    if not python.is_file():
        wanted = "the Python of an environment in which vLLM is installed"
        bad_input(Problem("--python", shown_path(python), wanted), output)
    with tempfile.TemporaryDirectory(prefix="plimsoll-") as name:
        _files(what, Path(name))
        run = arguments(str(Path(name, ARCHIVE)), str(Path(name, CASE)), seconds)
        return _run([str(python), *run], seconds, output)


def _by_image(what: Asked, image: str, seconds: int, output: str, *, only_show: bool) -> str:
    """What the harness prints in a container of that image."""
    from plimsoll.measured.dry_start import container

    program = next((one for one in ("docker", "podman") if shutil.which(one)), None)
    with tempfile.TemporaryDirectory(prefix="plimsoll-") as name:
        if only_show:
            kept = Path("plimsoll-dry-start")
            kept.mkdir(exist_ok=True)
            _files(what, kept)
            command_ = container(program or "docker", image, kept.absolute(), seconds)
            click.echo(shlex.join(command_))
            sys.exit(0)
        if program is None:
            fix = "install one, or use --show, --python PATH or --job"
            bad_input(
                Problem("--image", shown(image), "docker or podman on this machine", fix), output
            )
        _files(what, Path(name))
        called = f"plimsoll-dry-start-{secrets.token_hex(4)}"
        words = container(program, image, Path(name), seconds, called)
        return _run(words, seconds, output, (program, "rm", "--force", called))


def _run(words: list[str], seconds: int, output: str, remove: tuple[str, ...] = ()) -> str:
    """Standard output of a command; what it says besides goes to standard error at its end.

    remove: run where it is ended from outside: a container outlives the program that asked for it.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, start_new_session=True
        )
        before = signal.signal(signal.SIGTERM, _interrupted)
        try:
            process.wait(seconds + _SLACK)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            _end(process, remove)
            if isinstance(error, KeyboardInterrupt):
                raise
            wanted = f"an answer within {seconds} s"
            bad_input(Problem("the dry start", "none", wanted, "raise --seconds"), output)
        finally:
            signal.signal(signal.SIGTERM, before)
        out.seek(0)
        text = out.read(_PRINTED).decode("utf-8", "replace")
        if process.returncode and "PLIMSOLL-FACTS" not in text:
            errors.seek(0)
            lines = errors.read(_PRINTED).decode("utf-8", "replace").splitlines()
            said = [line.strip() for line in lines if line.strip() and not _HINT.match(line)]
            code = process.returncode
            ended = "killed: too little memory, or by somebody" if code in _KILLED else ""
            given = shown(ended or (said[-1] if said else f"exit code {code}"))
            wanted = "an environment in which vLLM is installed, and that can be run here"
            bad_input(Problem("the dry start", given, wanted), output)
        return text


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _end(process: subprocess.Popen[bytes], remove: tuple[str, ...]) -> None:
    """End a command with everything that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if not remove:
        return
    try:
        subprocess.run(remove, capture_output=True, check=False, timeout=_REMOVING)
    except (OSError, subprocess.TimeoutExpired):
        click.echo(f"warning: not removed: {remove[-1]}; do: {shlex.join(remove)}", err=True)


def _text(path: Path, output: str) -> str:
    """What was printed, from a file or standard input."""
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(_PRINTED).decode("utf-8", "replace")
        return path.read_text("utf-8", "replace")[:_PRINTED]
    except OSError as error:
        why = error.strerror or str(error)
        bad_input(Problem("--read", shown_path(path), f"a readable file ({why})"), output)


def _answer(text: str, output: str) -> Answer:
    from plimsoll.measured.dry_facts import read

    try:
        return read(text)
    except Unreadable as error:
        fix = "look at what it printed: the image may have no python3, or no vLLM"
        bad_input(Problem("the dry start", error.given, error.wanted, fix), output)


def _say(answer: Answer, request: Request, verdict: Verdict, output: str) -> NoReturn:
    """Both sides, what differs, and how it ended."""
    from plimsoll.measured.dry_facts import beside

    rows = beside(answer, verdict.estimate)
    if output != "table":
        dump(_data(answer, rows), output)
    else:
        words = {
            "starts": "starts, as far as can be seen without a GPU",
            "refused": f"refuses: {answer.words}",
            "unknown": f"unknown: the dry start ended at {answer.reached}: {answer.words}",
        }
        if answer.reached:
            click.echo(f"vLLM {answer.version} {words[answer.outcome]}")
        else:
            click.echo(f"unknown: nothing was learned: {answer.words}")
        if answer.place:
            click.echo(f"at {answer.place}")
        if rows:
            click.echo("")
            table = Table(("", "engine", "plimsoll", ""), right=frozenset({"engine", "plimsoll"}))
            for row in rows:
                table.add(row.name, row.engine, row.ours, "differs" if row.differs else "")
            show(table)
        click.echo(f"\nplimsoll: {_ours(request, verdict)}")
        if answer.reached:
            click.echo(
                "not seen: CUDA's own memory, CUDA graphs, compiled code, kernels' own buffers"
            )
    sys.exit({"starts": 0, "refused": 1}.get(answer.outcome, 2))


def _ours(request: Request, verdict: Verdict) -> str:
    from plimsoll.report import messages

    return messages.headline(request, verdict)


def _data(answer: Answer, rows: list[Any]) -> dict[str, Any]:
    return {
        "engine": "vllm",
        "version": answer.version,
        "outcome": answer.outcome,
        "reached": answer.reached,
        "words": answer.words,
        "place": answer.place,
        "compared": [
            {"name": row.name, "engine": row.engine, "plimsoll": row.ours, "differs": row.differs}
            for row in rows
        ],
        "facts": dict(answer.facts),
    }
