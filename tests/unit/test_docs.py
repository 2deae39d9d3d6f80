"""Claims about the documents: every message that is emitted is explained, and every link leads.

What is emitted is read off the code, so that a new reason, Event or log line without a word in
docs/troubleshooting.md fails here.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from controlplane.build import ProgramSet, kubernetes_set
from handbook.pages import pages
from plimsoll.cli import COMMANDS
from plimsoll.decision.verdict import Capacity, Reason
from plimsoll.models.architecture import ModelSource
from plimsoll.report import wording
from plimsoll_operator.api.crd import MODEL_RULES, SPEC_RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.findings import Rule

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("charts/*/*.md")])
TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ESTIMATOR, OPERATOR = ROOT / "estimator" / "plimsoll", ROOT / "operator" / "plimsoll_operator"
LONG = ("install", "upgrade", "uninstall", "air-gapped", "hardening", "mutual-tls", "crd-versions")


def squeezed(text: str) -> str:
    """Without what Markdown does to a sentence: line ends, quotes, code marks."""
    return " ".join(re.sub(r"[`\"'*]", "", text).split())


SAID = squeezed(TROUBLE)


def fragments(node: ast.expr) -> list[str]:
    """The fixed words of a text, an f-string or a format, longest first."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        texts = [node.value]
    elif isinstance(node, ast.JoinedStr):
        texts = [str(v.value) for v in node.values if isinstance(v, ast.Constant)]
    elif isinstance(node, ast.BinOp):
        texts = [*fragments(node.left), *fragments(node.right)]
    else:
        return []
    parts = [squeezed(p) for text in texts for p in re.split(r"%[\d.]*[sdgf]|\{|\}|; ", text)]
    return sorted((p.strip(" :,;()") for p in parts if len(p) > 3), key=len, reverse=True)


def explained(node: ast.expr) -> bool:
    """Whether the longest fixed words of a message are in docs/troubleshooting.md."""
    found = fragments(node)
    return not found or found[0] in SAID


@cache
def calls(folder: Path) -> tuple[tuple[str, ast.Call], ...]:
    """Every call in the modules of a folder, with its place; each folder is parsed once."""
    return tuple(
        (f"{path.relative_to(ROOT).as_posix()}:{node.lineno}", node)
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    )


@cache
def named(call: ast.Call) -> str:
    """What is called: ``log.warning``, ``Event``."""
    return ast.unparse(call.func)


def body_of(path: Path, function: str) -> ast.FunctionDef:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (found,) = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function)
    return found


def sentences(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """The texts in a function that are sentences, its docstring apart."""
    inside = {
        id(part)
        for n in ast.walk(function)
        if isinstance(n, ast.JoinedStr)
        for part in ast.walk(n)
        if part is not n
    }
    for statement in function.body[1:]:
        for node in ast.walk(statement):
            if id(node) in inside or not isinstance(node, ast.Constant | ast.JoinedStr):
                continue
            if any(words.count(" ") >= 2 for words in fragments(node)):
                yield node


def test_every_reason_of_a_condition_and_of_an_event_is_explained() -> None:
    reasons = {str(member) for kind in (Reason, Capacity, ModelSource) for member in kind}
    for _, call in calls(OPERATOR):
        place = {"PlannedCondition": 2, "Event": 1, "self._report": 1}.get(named(call))
        if place is not None and len(call.args) > place:
            given = call.args[place]
            if isinstance(given, ast.Constant):
                reasons.add(str(given.value))
    assert {"Placed", "NotPlaced", "InternalError", "Annotation", "Overridden"} <= reasons
    assert {"PlacementChanged", "ForeignSecret"} <= reasons
    assert [reason for reason in sorted(reasons) if f"| `{reason}` |" not in TROUBLE] == []


def test_every_warning_and_fault_in_a_log_is_explained() -> None:
    logged = [
        (where, call.args[0])
        for where, call in calls(OPERATOR)
        if named(call) in ("log.warning", "log.error", "log.exception")
    ]
    assert len(logged) > 15
    assert [where for where, text in logged if not explained(text)] == []


def test_every_error_that_ends_a_process_is_explained() -> None:
    raised = [
        (where, call.args[0])
        for where, call in calls(OPERATOR)
        if named(call) in ("PlimsollError", "LostLease", "NotAReview") and call.args
    ]
    assert len(raised) > 6
    assert [where for where, text in raised if not explained(text)] == []


def test_every_reason_not_to_be_ready_or_alive_is_explained() -> None:
    app = ast.parse((OPERATOR / "controller" / "app.py").read_text())
    functions = [n for n in ast.walk(app) if isinstance(n, ast.FunctionDef)]
    probes = [f for f in functions if f.name in ("ready", "alive")]
    probes += [body_of(OPERATOR / "admission" / "app.py", name) for name in ("ready", "alive")]
    assert len(probes) == 4
    silent = [ast.unparse(t) for probe in probes for t in sentences_of(probe) if not explained(t)]
    assert silent == []


def sentences_of(function: ast.FunctionDef) -> list[ast.expr]:
    """As `sentences`, of a function that may have no docstring."""
    has = isinstance(function.body[0], ast.Expr)
    if has:
        return list(sentences(function))
    padded = ast.FunctionDef(
        name=function.name,
        args=function.args,
        body=[ast.Pass(), *function.body],
        decorator_list=[],
        lineno=function.lineno,
    )
    return list(sentences(padded))


def test_every_warning_and_every_note_that_is_collected_is_explained() -> None:
    collected = [
        (where, call.args[0])
        for where, call in calls(ESTIMATOR)
        if re.search(r"\b(?:warnings|notes)\.append$", named(call))
    ]
    assert len(collected) > 10
    assert [where for where, text in collected if not explained(text)] == []


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("inventory/nodes.py", "_counted"),
        ("inventory/nodes.py", "_too_many"),
        ("inventory/nodes.py", "_cut_up"),
        ("inventory/nodes.py", "_foreign_resource"),
        ("inventory/others.py", "told_of"),
        ("inventory/others.py", "unnamed"),
        ("inventory/nodes.py", "_contradiction"),
        ("report/nodes.py", "_today"),
        ("report/nodes.py", "_small"),
        ("report/nodes.py", "_lacking"),
    ],
)
def test_what_is_doubted_or_set_aside_is_explained(module: str, function: str) -> None:
    said = list(sentences(body_of(ESTIMATOR / module, function)))
    assert said
    assert [ast.unparse(text) for text in said if not explained(text)] == []


@pytest.mark.parametrize("rule", wording.SENTENCES, ids=str)
def test_every_finding_that_is_told_in_one_sentence_is_explained(rule: Rule) -> None:
    words = [squeezed(part) for part in re.split(r"\{[^}]*\}|; |\(", wording.SENTENCES[rule])]
    assert max((part.strip(" :,;()?") for part in words), key=len) in SAID


def test_every_rule_of_the_crd_is_explained() -> None:
    messages = [str(rule["message"]) for rule in (*SPEC_RULES, *MODEL_RULES)]
    assert [m for m in messages if squeezed(m.partition(":")[0]) not in SAID] == []


def test_every_refusal_of_the_chart_is_explained() -> None:
    text = (ROOT / "charts/plimsoll/templates/validate.yaml").read_text()
    refusals = re.findall(r'fail (?:\(printf )?"(.*?)"', text)
    assert len(refusals) >= 6
    heads = [re.split(r"; |, | would|: nothing|%v|\\n", refusal)[0] for refusal in refusals]
    assert [head for head in heads if squeezed(head).strip(" :") not in SAID] == []


def test_every_alert_is_explained() -> None:
    groups = yaml.safe_load((ROOT / "charts/plimsoll/files/alerts.yaml").read_text())
    groups = groups["groups"] if isinstance(groups, dict) else groups
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    assert len(alerts) > 8
    assert [alert for alert in alerts if f"`{alert}`" not in TROUBLE] == []


def test_every_complaint_about_the_command_lines_usage_is_explained() -> None:
    usage = [
        (where, call.args[0])
        for where, call in calls(ESTIMATOR / "cli")
        if named(call) == "click.UsageError"
    ]
    assert len(usage) >= 4
    assert [where for where, text in usage if not explained(text)] == []


# -- links and commands ---------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """What a heading is called in a link, as GitHub does it."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_within_the_repository_leads_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            lost.append(target)
    assert lost == []


def commands(path: Path) -> list[list[str]]:
    """The words of each command in a document: after ``$`` in blocks, and in code between."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [m for block in blocks for m in re.findall(r"^\$ (.*)$", block, re.MULTILINE)]
    lines += re.findall(r"`((?:kubectl|helm|make|plimsoll|pip) [^`]+)`", text)
    words = []
    for line in lines:
        for part in re.split(r" \| | > | && ", line):
            words.append(shlex.split(part, comments=True))
    return [each for each in words if each]


GUIDES = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", GUIDES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_commands_name_files_targets_and_programs_that_exist(path: Path) -> None:
    wrong = []
    for words in commands(path):
        if words[0] == "make":
            wrong += [w for w in words[1:2] if w not in TARGETS]
        if words[0] == "plimsoll" and words[1:2] and words[1].isalpha() and words[1].islower():
            wrong += [w for w in words[1:2] if w not in COMMANDS]
        wrong += [w for w in words if w.startswith(("deploy/", "charts/")) and not exists(w)]
    assert wrong == []


def exists(path: str) -> bool:
    return (ROOT / path).exists()


@pytest.mark.parametrize("name", LONG)
def test_a_guide_is_short_and_has_commands_or_rules(name: str) -> None:
    path = ROOT / "docs" / f"{name}.md"
    assert 15 < len(path.read_text(encoding="utf-8").splitlines()) < 150


def test_settings_of_the_chart_that_the_guides_name_are_in_its_values() -> None:
    values = yaml.safe_load((ROOT / "charts/plimsoll/values.yaml").read_text())
    wrong = []
    for name in (*LONG, "troubleshooting"):
        text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        tops = "|".join(sorted(values))
        for dotted in re.findall(rf"(?:`|--set )((?:{tops})(?:\.\w+)+)", text):
            found = values
            for key in dotted.split("."):
                if not isinstance(found, dict) or (key not in found and found):
                    wrong.append(f"{name}: {dotted}")
                    break
                found = found.get(key, {})
    assert wrong == []


def test_names_in_the_guides_are_those_that_the_manifests_have() -> None:
    manifests = (ROOT / "deploy/plimsoll.yaml").read_text()
    for name in ("plimsoll-webhook", "plimsoll-controller", "plimsoll-webhook-tls"):
        assert f" {name}\n" in manifests, name
    assert "name: fit.llmdeployments.plimsoll.dev" in manifests


def test_supported_kubernetes_is_stated_alike_and_is_what_the_matrix_builds() -> None:
    def minor(which: str) -> str:
        return ProgramSet(kubernetes_set(which)).version.removeprefix("v").rpartition(".")[0]

    oldest, newest = minor("oldest"), minor("newest")
    chart = yaml.safe_load((ROOT / "charts/plimsoll/Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={oldest}.0-0"
    for name in ("README.md", "docs/install.md"):
        assert f"Kubernetes {oldest} to {newest}" in (ROOT / name).read_text(), name
    assert f"Kubernetes {oldest} or newer" in (ROOT / "docs/cluster.md").read_text()


def test_the_threat_model_names_tests_and_targets_that_there_are() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    files = [*(ROOT / "tests").rglob("test_*.py"), ROOT / "tests/fuzz/reviews.py"]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    named_there = set(re.findall(r"`(test_\w+)`", text))
    assert len(named_there) > 20
    assert {name for name in named_there if not re.search(rf"def {name}\b", code)} == set()
    assert {t for t in re.findall(r"TARGET=(\w+)", text) if f'Target("{t}"' not in code} == set()


def test_pages_of_reference_say_what_the_code_does() -> None:
    stale = [p.name for p, text in pages().items() if p.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make reference`"


def test_every_page_has_its_place_in_the_navigation_of_the_site() -> None:
    named = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    docs = ROOT / "docs"
    missing = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")} - set(named)
    assert missing == set(), "say in mkdocs.yml what kind of page it is"


def test_documents_name_every_guide_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    guides = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert {name for name in guides if f"(docs/{name})" not in readme} == set()


def test_an_unknown_kubernetes_is_an_error_that_names_the_known_ones() -> None:
    code = "from controlplane.build import KUBERNETES, ProgramSet; ProgramSet(KUBERNETES)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT / "tests"), "PLIMSOLL_KUBERNETES": "1.2"},
    )
    assert (
        "no set of programs 'kubernetes-1.2'; there are: etcd, gatekeeper, gitops, "
        "gpu-feature-discovery, helm, karpenter, kserve, kubernetes" in run.stderr
    )


def test_no_row_of_a_table_of_troubleshooting_stands_twice() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    for section in re.split(r"^#+ ", text, flags=re.M):
        rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith('| "')]
        assert sorted(rows) == sorted(set(rows))
