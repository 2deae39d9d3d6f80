"""Claims about `diff`: what stops starting, what holds less, and what would keep it as it was."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from commands import as_json, run
from plimsoll.cli import revisions

GUIDE = (Path(__file__).resolve().parents[3] / "docs/diff.md").read_text("utf-8")


def deployment(name: str, version: str, arguments: str, gpu: str = "NVIDIA-L4") -> str:
    """A Deployment of vLLM with one GPU."""
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: chat}}
spec:
  template:
    spec:
      nodeSelector: {{nvidia.com/gpu.product: {gpu}}}
      containers:
        - name: vllm
          image: vllm/vllm-openai:v{version}
          args: [{arguments}]
          resources: {{limits: {{nvidia.com/gpu: 1}}}}
"""


QWEN = '--model, Qwen/Qwen2.5-7B-Instruct, --max-model-len, "16384"'
OLD_FLAG = '--model, meta-llama/Llama-3.1-8B-Instruct, --num-scheduler-steps, "8"'
SIDECAR = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: web, image: "nginx:1.29"}]}}}
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that one works in, with manifests of vLLM 0.9."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "qwen.yaml").write_text(deployment("qwen", "0.9.0", QWEN))
    (folder / "old.yaml").write_text(deployment("old", "0.9.0", OLD_FLAG, "NVIDIA-H100-80GB-HBM3"))
    (folder / "web.yaml").write_text(SIDECAR)
    monkeypatch.chdir(tmp_path)
    return folder


def test_an_upgrade_names_the_flag_that_the_new_version_does_not_know(tree: Path) -> None:
    result = run("diff", "tree", "--engine-version", "vllm=0.33")
    assert result.exit_code == 1
    assert "2 compared: 1 stops starting" in result.stdout
    assert "Deployment chat/old (tree/old.yaml:1): stops starting" in result.stdout
    assert "spec.template.spec.containers[0].args[2]" in result.stdout
    assert "vLLM 0.33 no longer has it; leave it out" in result.stdout


def test_an_upgrade_to_the_version_that_is_there_changes_nothing(tree: Path) -> None:
    result = run("diff", "tree", "--engine-version", "vllm=0.9.0")
    assert (result.exit_code, result.stdout) == (0, "2 compared: 2 as before\n")


def test_a_version_of_another_engine_changes_nothing(tree: Path) -> None:
    assert run("diff", "tree", "--engine-version", "sglang=0.5").stdout.endswith("2 as before\n")


def test_an_upgrade_says_as_much_as_check_says_of_the_upgraded_manifest(tree: Path) -> None:
    (found,) = (
        one
        for one in as_json("diff", "tree", "--engine-version", "vllm=0.20")["results"]
        if one["object"] == "Deployment chat/qwen"
    )
    upgraded = tree / "qwen.yaml"
    upgraded.write_text(deployment("qwen", "0.20", QWEN))
    (checked,) = as_json("check", upgraded)["results"]
    assert found["after"]["requiredPerGPU"] == checked["estimate"]["perGPU"]["required"]
    assert found["after"]["cacheTokens"] == checked["estimate"]["kvCacheTokens"]
    assert found["after"]["requestHash"] == checked["requestHash"]


H100 = "NVIDIA-H100-80GB-HBM3"
LLAMA = "--model, meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A manifest of vLLM 0.6, before it served 1024 sequences at once by default."""
    file = tmp_path / "llama.yaml"
    file.write_text(deployment("llama", "0.6.6", LLAMA, H100))
    return file


def test_what_holds_less_is_measured_and_explained(llama: Path) -> None:
    words = ("diff", llama, "--engine-version", "vllm=0.8.0")
    result = run(*words)
    (found,) = as_json(*words)["results"]
    before, after = found["before"]["cacheTokens"], found["after"]["cacheTokens"]
    assert found["effect"] == "loses"
    assert found["cacheTokensLost"] == round(1 - after / before, 4)
    assert 0.05 < found["cacheTokensLost"] < 0.2
    assert f"KV cache: {before:,} → {after:,} tokens (-" in result.stdout
    assert "takes more per GPU: activation" in result.stdout
    assert result.exit_code == 0
    assert run(*words, "--fail-on", "loses").exit_code == 1
    assert run(*words, "--fail-on", "loses", "--least", "50").exit_code == 0


def test_a_default_that_moved_is_named_with_what_keeps_it_as_it_was(llama: Path) -> None:
    words = ("diff", llama, "--engine-version", "vllm=0.8.0")
    result = run(*words)
    assert "--max-num-seqs 256 → 1024" in result.stdout
    assert "as before with:\n    spec.template.spec.containers[0].args --max-num-seqs: 256" in (
        result.stdout
    )
    llama.write_text(deployment("llama", "0.6.6", f'{LLAMA}, --max-num-seqs, "256"', H100))
    assert run(*words, "--fail-on", "loses").exit_code == 0


def test_two_trees_are_compared_object_by_object_wherever_their_files_are(tree: Path) -> None:
    other = tree.parent / "other" / "deeper"
    other.mkdir(parents=True)
    longer = QWEN.replace("16384", "32768").replace("--max", "--kv-cache-dtype, fp8, --max")
    (other / "moved.yaml").write_text(deployment("qwen", "0.9.0", longer))
    too_large = "--model, meta-llama/Llama-3.3-70B-Instruct"
    (other / "new.yaml").write_text(deployment("large", "0.9.0", too_large))
    result = run("diff", "tree", "other")
    effects = {one["object"]: one["effect"] for one in as_json("diff", "tree", "other")["results"]}
    assert effects == {
        "Deployment chat/qwen": "gains",
        "Deployment chat/large": "refused",
        "Deployment chat/old": "removed",
    }
    assert result.exit_code == 1
    assert "context: 16,384 → 32,768 tokens" in result.stdout
    assert "does not fit on 1 x nvidia-l4" in result.stdout


def test_what_was_refused_before_does_not_fail_unless_it_is_worse(tmp_path: Path) -> None:
    before, after = tmp_path / "before.yaml", tmp_path / "after.yaml"
    large = "--model, meta-llama/Llama-3.3-70B-Instruct"
    before.write_text(deployment("large", "0.9.0", large))
    after.write_text(before.read_text() + "# a comment\n")
    same = run("diff", before, after)
    assert (same.exit_code, same.stdout) == (0, "1 compared: 1 refused as before\n")
    after.write_text(deployment("large", "0.9.0", f"{large}, --no-such-flag=1, --dtype, int3"))
    assert run("diff", before, after).exit_code == 1
    assert "refused as before, and worse" in run("diff", before, after).stdout


def git(*words: str) -> None:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tree: Path) -> Path:
    """The same folder under git: one commit, then one that upgrades, then an edit."""
    git("init", "-q", "-b", "main")
    (tree / "link.yaml").symlink_to("/etc/hostname")
    git("add", "tree")
    git("commit", "-q", "-m", "first")
    (tree / "old.yaml").write_text(deployment("old", "0.33.0", OLD_FLAG, "NVIDIA-H100-80GB-HBM3"))
    git("commit", "-q", "-a", "-m", "upgrade")
    (tree / "qwen.yaml").unlink()
    return tree


def test_revisions_are_compared_with_each_other_and_with_the_files(repository: Path) -> None:
    (repository / "link.yaml").unlink()
    between = run("diff", "--git", "HEAD~1..HEAD", "tree")
    assert between.exit_code == 1
    assert "2 compared: 1 stops starting, 1 as before" in between.stdout
    assert "(tree/old.yaml:1)" in between.stdout
    effects = [one["effect"] for one in as_json("diff", "--git", "HEAD", "tree")["results"]]
    assert effects == ["stillRefused", "removed"]


def test_a_revision_that_is_none_is_said_and_no_option_is_smuggled_in(repository: Path) -> None:
    for revision in ("nowhere", "--output=stolen", "HEAD:tree/qwen.yaml"):
        result = run("diff", "--git", f"{revision}..HEAD", "tree")
        assert result.exit_code == 2
        assert "a revision of the repository that one is in" in result.stderr
    assert not (repository.parent / "stolen").exists()
    result = run("diff", "--git", "HEAD~1..HEAD", "nothing-here")
    assert result.exit_code == 2
    assert "has no manifest below" in result.stderr


def made(words: tuple[str, ...], given: str) -> str:
    """The name of what git makes of a text."""
    return subprocess.run(
        ["git", *words], input=given, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_few_objects_of_git_that_stand_for_a_billion_files_are_given_up(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = made(("hash-object", "-w", "--stdin"), "x" * 60_000)
    tree = made(("mktree",), "".join(f"100644 blob {blob}\tf{i}.yaml\n" for i in range(10)))
    git("commit", "-q", "-a", "-m", "now")
    many = made(("-c", "user.name=A", "-c", "user.email=a@b", "commit-tree", tree), "many")
    monkeypatch.setattr(revisions, "MAX_CONTENTS", 1 << 19)
    result = run("diff", "--git", f"{many}..HEAD", ".")
    assert result.exit_code == 2
    assert "10 manifests" in result.stderr
    for _ in range(12):
        tree = made(("mktree",), "".join(f"040000 tree {tree}\td{i}\n" for i in range(10)))
    endless = made(("-c", "user.name=A", "-c", "user.email=a@b", "commit-tree", tree), "endless")
    monkeypatch.setattr(revisions, "MAX_LISTED", 1 << 20)
    result = run("diff", "--git", f"{endless}..HEAD", ".")
    assert result.exit_code == 2
    assert "git ls-tree: an answer within 120 s of at most 1 MiB" in result.stderr


def test_a_comment_on_a_pull_request_counts_what_is_as_before(tree: Path) -> None:
    result = run("diff", "tree", "--engine-version", "vllm=0.33", "-o", "markdown")
    assert result.exit_code == 1
    assert result.stdout.startswith("### Plimsoll diff: 2 compared: 1 stops starting")
    assert "| Deployment chat/old | ❌ stops starting |" in result.stdout
    assert "<details><summary>Deployment chat/old: stops starting</summary>" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tree",), "say BEFORE and AFTER, or --engine-version, or --git"),
        (("-", "tree"), "standard input is one side"),
        (("tree", "--engine-version", "vllm=0.33", "--git", "main"), "one of the two at a time"),
        (("tree", "--engine-version", "vllm"), "ENGINE=VERSION, such as vllm=0.33"),
        (("tree", "--engine-version", "vlm=0.33"), "ENGINE=VERSION, such as vllm=0.33"),
        (("tree", "--engine-version", "vllm=newest"), "a vLLM version such as"),
        (("tree", "not-there"), "No such file or directory"),
    ],
)
def test_what_is_not_clear_is_said_with_exit_code_2(
    tree: Path, words: tuple[str, ...], said: str
) -> None:
    result = run("diff", *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_the_guide_shows_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (manifests,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    Path("serving.yaml").write_text(manifests)
    printed = re.findall(
        r"```console\n\$ plimsoll (diff serving.yaml .*?)\n(.*?)```", GUIDE, re.DOTALL
    )
    ((command, said),) = printed
    printed_now = run(*command.split()).stdout
    gates = re.compile(r"; \d+ before it")  # every new gate changes their count
    assert gates.sub("", printed_now) == gates.sub("", said)
