"""Claims about bad input: a finding or nothing, never a crash, no "fits" on what was not read."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Decision
from plimsoll.report import messages
from plimsoll.workloads import shell
from plimsoll.workloads.kinds import HELM_VALUES, KINDS
from plimsoll.workloads.roles import NothingBeside

BESIDE = NothingBeside()
OTHERS = [kind for kind in (*KINDS, HELM_VALUES) if kind.reader is not None]
JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    8,
    3.5,
    10**40,
    "",
    " ",
    "8",
    "two",
    "{{ .Values.gpus }}",
    "$(GPUS)",
    "${TP:-2}",
    "--",
    "-",
    "--model",
    "--model=",
    "-tp",
    "Qwen/Qwen3-4B",
    "hf://",
    "\0",
    "'",
    '"',
    "$(",
    "${",
    "`",
    "vllm serve Qwen/Qwen3-4B --max-model-len",
    "exec \\",
    "if [ a",
    "fi",
    [],
    {},
    [[]],
    [None],
    {"": None},
    ["sh", "-c"],
    ["bash", "-c", 'vllm serve "Qwen/Qwen3-4B'],
    {"limits": {"nvidia.com/gpu": "many"}},
    {"limits": []},
    {"nvidia.com/gpu": 2},
    [{"name": "A", "value": "$(A)"}],
    [{"name": 1}],
    "x" * 5000,
)
KEYS = re.findall(
    r"\w+",
    """
spec template containers image command args env envFrom resources limits nodeSelector affinity
replicas leaderWorkerTemplate leaderTemplate workerTemplate size predictor model modelFormat
runtime storageUri url engine resourceProfile parallelism prefill services extraPodSpec
mainContainer roles multinode nodeCount headGroupSpec workerGroupSpecs rayClusterConfig
rayClusterSpec serveConfigV2 vllmConfig deploymentConfig resource inference preset
instanceType mig modelClaim modelClaims backendRuntimeConfig modelRef multiNode jobTemplate
servingEngineSpec modelSpec modelArtifacts decode metadata annotations name value volumes
volumeMounts gpu env_vars tensorrtLLM workerSpec data dataLocal tensor uri repository
framework
""",
)


def broken(dice: random.Random, depth: int = 7) -> Any:
    """A value of the keys that readers look for, with junk in it."""
    if depth == 0 or dice.random() < 0.25:
        return dice.choice(JUNK)
    if dice.random() < 0.25:
        return [broken(dice, depth - 1) for _ in range(dice.randrange(4))]
    return {dice.choice(KEYS): broken(dice, depth - 1) for _ in range(dice.randrange(1, 6))}


def container(dice: random.Random) -> dict[str, Any]:
    """A container that could almost be an engine's."""
    words = [w for w in JUNK if isinstance(w, (str, int, float)) and not isinstance(w, bool)]
    images = (
        "vllm/vllm-openai:v0.11.0",
        "lmsysorg/sglang",
        "ghcr.io/ggml-org/llama.cpp:server",
        "x:y:z@",
    )
    one: dict[str, Any] = {"image": dice.choice(images)}
    one["args"] = [dice.choice(words) for _ in range(dice.randrange(8))]
    if dice.random() < 0.5:
        script = " ".join(map(str, (dice.choice(words) for _ in range(dice.randrange(30)))))
        one["command"], one["args"] = ["bash", "-c"], [script]
    for key in ("env", "resources", "volumeMounts", "command"):
        if dice.random() < 0.3:
            one[key] = dice.choice(JUNK)
    return one


@pytest.mark.parametrize("kind", OTHERS, ids=lambda kind: f"{kind.group}-{kind.name}")
def test_no_object_however_broken_makes_its_reader_crash(kind: Any) -> None:
    dice = random.Random(f"{kind.group}/{kind.name}")
    for _ in range(60):
        obj = {"kind": kind.name, "metadata": dice.choice(JUNK), "spec": broken(dice)}
        if kind is HELM_VALUES or dice.random() < 0.2:
            obj = {"kind": kind.name, **{key: broken(dice) for key in dice.sample(KEYS, 9)}}
        for one in kind.read(obj, BESIDE):
            verdict = decide(one.request)
            messages.warning(one.request, verdict)
            assert not one.request.unread or verdict.decision is not Decision.ALLOW


def test_no_command_line_makes_its_reader_crash_or_fits_unread() -> None:
    dice = random.Random(14)
    (pod,) = [kind for kind in OTHERS if kind.name == "Pod"]
    for _ in range(500):
        spec = {"containers": [container(dice)], "nodeSelector": dice.choice(JUNK)}
        for one in pod.read({"kind": "Pod", "spec": spec}, BESIDE):
            verdict = decide(one.request)
            if verdict.decision is Decision.ALLOW:
                assert one.facts.accelerator
                assert one.facts.gpus_per_pod
                assert not one.request.unread
            if verdict.denied:
                messages.denial(one.request, verdict)


def test_no_script_makes_the_shell_reader_crash_or_hang() -> None:
    dice = random.Random(15)
    alphabet = "ab \t\n'\"\\$`(){}[]|&;<>#=!-/0:@*%"
    for _ in range(1500):
        text = "".join(dice.choice(alphabet) for _ in range(dice.randrange(80)))
        assert len(list(shell.commands(text, {"a": "$b", "b": "$a x"}))) <= len(text)
    for hard in (
        "$(" * 20_000,
        "${a" * 20_000,
        "'" * 50_001,
        "a=$a$a;" * 10_000,
        "if [ x ];" * 5_000,
    ):
        list(shell.commands(hard, {"a": "xx"}))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("vllm serve 'a b' # no", ["vllm", "serve", "a b"]),
        ("A=1 B=2; echo $A-${B:-3} ${C:-4}", ["echo", "1-2", "4"]),
        ('X="a b"; run $X "$X"', ["run", "a", "b", "a b"]),
        ('if [ "$M" = big ]; then run big; else run small; fi', ["run", "small"]),
        ("run \\\n  --a \\\n  --b", ["run", "--a", "--b"]),
        ("run $(hostname) $UNSET", ["run", "$(hostname)", "$UNSET"]),
        ("run a > log 2>&1 &", ["run", "a"]),
        ("cat <<EOF\nvllm serve x\nEOF\n", ["cat"]),
    ],
)
def test_a_script_is_read_as_a_shell_reads_it(script: str, words: list[str]) -> None:
    assert [list(one.words) for one in shell.commands(script, {})][-1] == words
