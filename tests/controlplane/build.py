"""Build the programs that go/<set>/go.mod names, once, into the cache; afterwards just find them.

It must not start any of them, and never write into the tree. The control plane's own three are
built only where nobody has them, unless PLIMSOLL_KUBERNETES says which Kubernetes it is to be:

    $KUBEBUILDER_ASSETS, or PATH     `controlplane.taken.chosen`
    what was built before
    the folder of setup-envtest      `controlplane.taken.of_setup_envtest`
    a download                       `controlplane.envtest`
    built from source
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from controlplane import taken
from controlplane.cache import cache_folder, exclusive
from controlplane.envtest import downloaded
from controlplane.errors import ControlPlaneError
from controlplane.processes import Process
from controlplane.progress import Progress, say
from controlplane.toolchain import find_go, go_environment, parse_version

SETS = Path(__file__).with_name("go")


def kubernetes_set(chosen: str | None) -> str:
    """The folder of a Kubernetes: the newest that is supported, or what PLIMSOLL_KUBERNETES says.

    chosen: "newest", "oldest"; another folder go/kubernetes-NAME is chosen by its NAME.
    """
    return "kubernetes" if chosen in (None, "", "newest") else f"kubernetes-{chosen}"


KUBERNETES = kubernetes_set(os.environ.get("PLIMSOLL_KUBERNETES"))
"""The set that is built unless another is asked for: another version is another folder."""

ANY_KUBERNETES = kubernetes_set("newest")
"""The set in whose place another new enough Kubernetes may be taken."""

ETCD = "etcd"

HELM = "helm"
"""Only tests of the chart need it; neither the demo nor a benchmark does."""

SCHEDULER = "scheduler"
"""Only `make test-scheduler` and `make test-peers` need it, with kube-controller-manager."""

GITOPS = "gitops"
"""A program of our own around what Flux and Argo CD read a status with. Only tests need it."""

GATEKEEPER = "gatekeeper"
"""Only the race of `make bench` needs it: what another policy engine costs the API server."""

KUEUE = "kueue"
"""Only `make test-peers` needs it: Kueue's own manager, with its kinds beside it."""

LWS = "lws"
"""Only `make test-peers` needs it: LeaderWorkerSet's own controller, with its configuration."""

FEATURE_DISCOVERY = "gpu-feature-discovery"
"""Only `make test-peers` needs it: NVIDIA's program that labels nodes."""

_WITH_C = frozenset({FEATURE_DISCOVERY})
"""Sets whose programs load a library of C, and need a compiler of it."""

KSERVE = "kserve"
"""Only `make test-peers` needs it: KServe's controller of LLMInferenceServices, in a program of our
own without its webhooks, which listen on every address; with its configuration."""

KARPENTER = "karpenter"
"""Only `make test-peers` needs it: Karpenter with its kwok cloud, in a program of our own that
listens on loopback alone; with its kinds beside it."""

KWOK = "kwok"
"""Only `make test-peers` needs it: what plays the kubelets of nodes that are none."""

_FOLDERS = {
    "kserve": ("github.com/kserve/kserve", {"config": "config"}),
    "kueue": ("sigs.k8s.io/kueue", {"config/components/crd/bases": "crd"}),
    "lws": ("sigs.k8s.io/lws", {"config": "config"}),
    "kwok": ("sigs.k8s.io/kwok", {"kustomize/stage": "stages"}),
    "karpenter": ("sigs.k8s.io/karpenter", {"pkg/apis/crds": "crd", "kwok/apis/crds": "kwok"}),
}
"""Folders of a program's module that are kept beside it: the module, each folder and its name."""

_NAMES = {
    "go.etcd.io/etcd/server/v3": "etcd",
    "github.com/open-policy-agent/gatekeeper/v3": "gatekeeper",
    "sigs.k8s.io/lws/cmd": "lws",
}
"""Programs that are not called what their package path ends with."""

_SECONDS = {
    "etcd": 50,
    "kube-apiserver": 300,
    "kubectl": 30,
    "helm": 240,
    "gitops": 60,
    "gatekeeper": 290,
    "kube-controller-manager": 340,
    "kube-scheduler": 40,
    "kueue": 480,
    "lws": 210,
    "kserve": 340,
    "gpu-feature-discovery": 120,
    "karpenter": 170,
    "kwok": 60,
}
"""A cold build on two cores, module downloads included, in this order (measured)."""

_FLAGS = ("-mod=readonly", "-modcacherw", "-trimpath")


@dataclass(frozen=True, slots=True)
class Program:
    """One program to build.

    package: its import path; version: of the module it is from; linker_flags: how it is linked.
    """

    name: str
    package: str
    version: str
    linker_flags: str


class ProgramSet:
    """One folder under go/: a go.mod that pins a version, and the programs that it gives."""

    def __init__(self, name: str) -> None:
        self.source = SETS / name
        try:
            self._go_mod = (self.source / "go.mod").read_text()
        except FileNotFoundError:
            known = ", ".join(sorted(path.name for path in SETS.iterdir()))
            raise ControlPlaneError(f"no set of programs {name!r}; there are: {known}") from None

    @property
    def go_version(self) -> tuple[int, ...]:
        """The oldest Go that its go.mod accepts."""
        return parse_version(self._go_mod)

    @property
    def programs(self) -> tuple[Program, ...]:
        """What its `tool` directives name."""
        listed = re.search(r"^tool \(\n(.*?)^\)", self._go_mod, re.MULTILINE | re.DOTALL)
        single = re.findall(r"^tool (\S+)$", self._go_mod, re.MULTILINE)
        packages = [*(listed[1].split() if listed else ()), *(s for s in single if s != "(")]
        return tuple(self._program(package) for package in packages)

    @property
    def version(self) -> str:
        """Of its programs: one set has one."""
        return self.programs[0].version

    @property
    def folder(self) -> Path:
        """Where its programs are kept once they are built."""
        digest = hashlib.sha256()
        sources = [path.read_text() for path in sorted(self.source.glob("*.go"))]
        for part in (
            self._go_mod,
            (self.source / "go.sum").read_text(),
            " ".join(_FLAGS),
            *sources,
        ):
            digest.update(part.encode())
        for program in self.programs:
            digest.update(program.linker_flags.encode())
        machine = f"{platform.system()}-{platform.machine()}".lower()
        name = f"{self.source.name}-{self.version}-{machine}-{digest.hexdigest()[:12]}"
        return cache_folder() / "programs" / name

    def missing(self) -> list[Program]:
        """What is not built yet."""
        return [program for program in self.programs if not (self.folder / program.name).exists()]

    def _program(self, package: str) -> Program:
        name = _NAMES.get(package, package.rpartition("/")[2])
        if f"\nmodule {package}\n" in f"\n{self._go_mod}":
            return Program(name, package, "ours", "-s -w")
        # the longest required module path that the package lies in
        required = re.findall(r"^(?:require )?\t?(\S+) (v\S+)(?: //.*)?$", self._go_mod, re.M)
        inside = [(path, v) for path, v in required if f"{package}/".startswith(f"{path}/")]
        module, version = max(inside, key=lambda entry: len(entry[0]))
        return Program(name, package, version, _linker_flags(module, version))


def ensure_built(*names: str) -> dict[str, Path]:
    """Build what is missing of these sets; the path of every program in them, by its name.

    Safe to call from several processes at once, and to call again after it was interrupted.
    """
    names = names or (ETCD, KUBERNETES)
    theirs = of_others() if {ETCD, ANY_KUBERNETES} <= {*names} else None
    if theirs is not None:
        rest = [name for name in names if name not in (ETCD, ANY_KUBERNETES)]
        return {**theirs.programs, **(ensure_built(*rest) if rest else {})}
    sets = [ProgramSet(name) for name in names]
    if any(each.missing() for each in sets):
        with exclusive(cache_folder(), say):
            _build(sets)
    return {program.name: each.folder / program.name for each in sets for program in each.programs}


@functools.cache
def of_others() -> taken.Taken | None:
    """A control plane that need not be built; None where it is, or was built before.

    It is looked for once in a process, and said on the standard error where it is.
    """
    if os.environ.get("PLIMSOLL_KUBERNETES"):
        return None  # that one and no other
    oldest = taken.version_in(ProgramSet(kubernetes_set("oldest")).version)[:2]
    found = taken.chosen(oldest, say)
    ours = [ProgramSet(name) for name in (ETCD, ANY_KUBERNETES)]
    if found is None and not any(each.missing() for each in ours):
        return None
    found = found or taken.of_setup_envtest(oldest, say)
    if found is None:
        with exclusive(cache_folder(), say):
            if any(each.missing() for each in ours):  # nobody built it meanwhile
                found = downloaded(say)
    if found is not None:
        say(str(found))
    return found


def kubernetes_version() -> str:
    """Of the kube-apiserver that `ensure_built` gives: v1.37.2."""
    theirs = of_others()
    return theirs.version if theirs is not None else ProgramSet(KUBERNETES).version


def folder_of(name: str) -> Path:
    """Where the programs of a set are, and what is kept beside them."""
    return ProgramSet(name).folder


def _build(sets: list[ProgramSet]) -> None:
    work = cache_folder() / "go"
    work.mkdir(parents=True, exist_ok=True)
    for each in sets:
        for program in each.missing():
            _build_one(each, program, work)
    if os.environ.get("PLIMSOLL_KEEP_GO_CACHE") != "1":
        shutil.rmtree(work, ignore_errors=True)


def _build_one(each: ProgramSet, program: Program, work: Path) -> None:
    go = find_go(each.go_version, work, say)
    log = work / f"{program.name}.log"
    log.unlink(missing_ok=True)
    partial = each.folder / f"{program.name}.partial"
    each.folder.mkdir(parents=True, exist_ok=True)
    command = [str(go), "build", *_FLAGS, "-ldflags", program.linker_flags]
    command += ["-o", str(partial), program.package]
    progress = Progress(f"{program.name} {program.version}", _SECONDS.get(program.name, 60))
    environment = go_environment(work)
    if each.source.name in _WITH_C:
        environment["CGO_ENABLED"] = "1"
    process = Process("go", command, log, cwd=each.source, environment=environment)
    try:
        while process.wait(1.0) is None:
            progress.tick()
    except BaseException:
        progress.leave()
        process.kill()
        raise
    if process.returncode:
        progress.leave()
        raise ControlPlaneError(_advice(program, process, work))
    _keep_folder(each, program, go, work)
    partial.rename(each.folder / program.name)
    progress.done()


def _keep_folder(each: ProgramSet, program: Program, go: Path, work: Path) -> None:
    """Copy what belongs to a program out of its module, before the module's sources go."""
    if program.name not in _FOLDERS:
        return
    module, folders = _FOLDERS[program.name]
    command = [str(go), "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module]
    found = subprocess.run(
        command,
        cwd=each.source,
        env=go_environment(work),
        capture_output=True,
        text=True,
        check=True,
    )
    for inside, name in folders.items():
        source = Path(found.stdout.strip()) / inside
        shutil.copytree(source, each.folder / name, dirs_exist_ok=True)


def _advice(program: Program, process: Process, work: Path) -> str:
    free = shutil.disk_usage(work).free / 2**30
    return (
        f"could not build {program.name} {program.version} (exit code {process.returncode}):\n"
        f"{process.tail()}\n"
        f"The whole log: {process.log}\n"
        "Next: the same command again goes on where this one stopped. It needs a Go module "
        "proxy (`go env GOPROXY`), about 8 GiB of disk "
        f"({free:.0f} GiB free in {work}) and about 3 GiB of memory while it runs."
    )


def _linker_flags(module: str, version: str) -> str:
    flags = "-s -w"
    if module == "k8s.io/kubernetes":  # it would call itself v0.0.0
        major, minor, _ = version.removeprefix("v").split(".", 2)
        values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
        for name, value in values.items():
            flags += f" -X k8s.io/component-base/version.{name}={value}"
    return flags
