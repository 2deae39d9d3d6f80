"""Claims about bad input: a finding or nothing, never a crash, no "fits" on what was not read."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Decision
from plimsoll.report import messages
from plimsoll.workloads import kinds, shell
from plimsoll.workloads.command_line import MAX_WORDS
from plimsoll.workloads.kinds import HELM_VALUES, KINDS
from plimsoll.workloads.laid_over import MOST_DEEP, laid_over
from plimsoll.workloads.roles import NothingBeside, Served

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
        ("cat <<-EOF > a && run b\n\tx\n\tEOF", ["run", "b"]),
        ("cat <<A <<'B'\nx\nA\ny\nB\nrun c", ["run", "c"]),
        ("cat <<< text; run d", ["run", "d"]),
    ],
)
def test_a_script_is_read_as_a_shell_reads_it(script: str, words: list[str]) -> None:
    assert [list(one.words) for one in shell.commands(script, {})][-1] == words


BIG = "meta-llama/Llama-3.1-405B-Instruct"
SMALL = "Qwen/Qwen3-0.6B"


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A Pod on L4; each container asks for one GPU unless it says otherwise."""
    gpu = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    image = {"name": "engine", "image": "vllm/vllm-openai:v0.11.0"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "chat"},
        "spec": {
            "nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
            "containers": [{**image, **gpu, **one} for one in containers],
            **spec,
        },
    }


def read_pod(obj: dict[str, Any]) -> tuple[Served, ...]:
    """The engines of a Pod."""
    kind = kinds.find("v1", "Pod")
    assert kind is not None
    return kind.read(obj, BESIDE)


def warned_of(obj: dict[str, Any]) -> str:
    """What is said of a Pod that is let in with a warning, of all its engines."""
    found = read_pod(obj)
    verdicts = [(one.request, decide(one.request)) for one in found]
    assert {verdict.decision for _, verdict in verdicts} == {Decision.WARN}
    return " ".join(line for pair in verdicts for line in messages.warning(*pair))


@pytest.mark.parametrize(
    "script",
    [
        f"cat > run.txt <<EOF\nvllm serve {BIG}\nEOF\nbash < run.txt",
        f"bash <<EOF\nvllm serve {BIG}\nEOF",
        f"su engine -c 'vllm serve {BIG}'",
        f"python3 -c \"import os; os.execvp('vllm', ['vllm', 'serve', '{BIG}'])\"",
        f"$(which vllm) serve {BIG}",
        f"python3 -mvllm.entrypoints.openai.api_server --model {BIG}",
        f"#{'x' * shell.MAX_SCRIPT}\nvllm serve {BIG}",
        f"echo vllm serve {BIG} | sh",
        f"echo vllm serve {BIG} | tee log | bash -s -- a",
        f"bash <(echo vllm serve {BIG})",
        f"echo vllm serve {BIG} > /tmp/run; chmod +x /tmp/run; /tmp/run",
        f"echo vllm serve {BIG} >> /tmp/run.sh && sh /tmp/run.sh",
        f"cat <<'EOF' | sh\nvllm serve {BIG}\nEOF",
    ],
)
@pytest.mark.parametrize("image", ["vllm/vllm-openai:v0.11.0", "python:3.12"])
@pytest.mark.parametrize("word", ["command", "args"])
def test_a_server_that_a_script_names_where_nobody_can_read_it_is_not_passed_over(
    script: str, image: str, word: str
) -> None:
    said = warned_of(pod({"image": image, word: ["bash", "-c", script]}))
    assert "not read: how its script or command starts vllm" in said


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo dmxsbSBzZXJ2ZQ== | base64 -d | sh", "what sh is given to run"),
        ("curl -s http://a/b | bash -s -- --fast", "what bash is given to run"),
        ("curl -s http://a/b |\n  bash -s -- --fast", "what bash is given to run"),
        ("curl -s http://a/b | # the script\n\n  bash -s", "what bash is given to run"),
        ("curl -s http://a/b |& bash -s", "what bash is given to run"),
        ("cat <<EOF |\na\nEOF\nbash -s", "what bash is given to run"),
        ("(curl -s http://a/b) | (bash -s)", "what bash is given to run"),
        (". /dev/stdin < /mnt/run", "what . is given to run"),
        ("source <(cat /mnt/run)", "what source is given to run"),
        ("cat /mnt/run | python3 -u -", "what python3 is given to run"),
        ('eval "$START"', "which command a variable or another command names"),
        ('exec "${START}" --fast', "which command a variable or another command names"),
        ('bash -c "$(cat /mnt/run)"', "which command a variable or another command names"),
    ],
)
def test_an_engines_container_whose_command_only_a_run_could_tell_is_said_to_be_unread(
    script: str, said: str
) -> None:
    assert f"not read: {said}" in warned_of(pod({"command": ["sh", "-c", script]}))
    assert read_pod(pod({"image": "python:3.12", "command": ["sh", "-c", script]})) == ()
    (one,) = read_pod(pod({"command": ["sh", "-c", f"{script}; vllm serve {SMALL}"]}))
    assert one.facts.model == SMALL  # what is known to start counts


@pytest.mark.parametrize(
    "script",
    [
        "echo vllm serve failed >&2; sleep infinity",
        "echo vllm serve comes later > /dev/stderr || true; sleep 1",
        "cat model.json | python3 -m json.tool",
        "echo a | bash -c 'sleep 1'",
        "ulimit -n 65536; $KUBERAY_GEN_RAY_START_CMD",
        "bash",
        "date | tee log\nbash",
        "false || bash; date & bash",
        "vllm bench serve --model a/b --port 8000",
    ],
)
def test_a_command_that_starts_no_engine_is_passed_over(script: str) -> None:
    assert read_pod(pod({"command": ["sh", "-c", script]})) == ()


def test_a_flag_that_programs_of_any_kind_take_makes_no_engine_of_one() -> None:
    for command in (["python", "train.py", "--max_context", "4096"], ["app", "--max-context=9"]):
        assert read_pod(pod({"image": "example.org/app:1", "command": command})) == ()


@pytest.mark.parametrize("measured", ["latency", "throughput", "startup"])
def test_a_benchmark_of_vllm_that_loads_a_model_itself_is_read_as_its_server_is(
    measured: str,
) -> None:
    words = ["vllm", "bench", measured, "--model", SMALL, "--tensor-parallel-size", "1"]
    for image in ("vllm/vllm-openai:v0.11.0", "example.org/app:1"):
        (one,) = read_pod(pod({"image": image, "command": [*words, "--input-len", "32"]}))
        assert (one.facts.model, one.request.engine.name) == (SMALL, "vllm")
        assert "starts" not in str(one.facts.unreadable)


def test_what_is_too_deep_to_be_merged_is_as_the_patch_has_it() -> None:
    base: dict[str, Any] = {"a": 1, "b": 1}
    patch: dict[str, Any] = {"a": 2}
    for _ in range(MOST_DEEP + 4):
        base, patch = {"x": base, "y": 1}, {"x": patch}
    merged = laid_over(base, patch)
    for _ in range(MOST_DEEP):
        assert merged["y"] == 1
        merged = merged["x"]
    assert merged == {"x": {"x": {"x": {"x": {"a": 2}}}}}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["./start.sh", "--model", BIG, "--tensor-parallel-size", "8"], "starts an engine"),
        (["sh", "-c", f"python3 server.py --model {BIG} --max-model-len=4096"], "starts an engine"),
        (["python3", "serve.py", "--gguf_path", "/models/big.gguf"], "starts an engine"),
        (["sh", "-c", "server.py leader --tp=8 --triton_model_repo_dir=/repo"], "starts an engine"),
        (["litgpt", "serve", BIG], "the arguments of litgpt"),
        (["python", "-m", "mlc_llm", "serve", BIG], "the arguments of mlc-llm"),
        (["/app/llama-swap", "--config", "/config.yaml"], "which models llama-swap starts"),
        (["local-ai", "run", "big"], "the arguments of localai"),
    ],
)
@pytest.mark.parametrize("image", ["vllm/vllm-openai:v0.11.0", "example.org/app:1"])
def test_an_engine_that_nobody_reads_is_not_passed_over(
    command: list[str], said: str, image: str
) -> None:
    assert said in warned_of(pod({"image": image, "command": command}))


@pytest.mark.parametrize(
    ("image", "arguments", "said"),
    [
        ("ghcr.io/mostlygeek/llama-swap:cuda", ["--config", "/c.yaml"], "which models llama-swap"),
        ("localai/localai:v3.1.0-cuda12", ["qwen3"], "the arguments of localai"),
        ("example.org/app:1", ["--model-id", BIG, "--max-model-len=32768"], "which engine takes"),
    ],
)
def test_an_image_that_nobody_reads_the_arguments_of_is_not_passed_over(
    image: str, arguments: list[str], said: str
) -> None:
    assert said in warned_of(pod({"image": image, "args": arguments}))


@pytest.mark.parametrize(
    "container",
    [
        {"image": "example.org/train:1", "command": ["torchrun", "train.py", "--model", BIG]},
        {"image": "example.org/train:1", "command": ["sh", "-c", "sleep infinity"]},
        {"image": "vllm/vllm-openai:v0.11.0", "command": ["vllm", "bench", "serve"]},
        {"image": "example.org/client:1", "command": ["sh", "-c", "curl http://local-ai:8080"]},
        {"image": "example.org/x:1", "args": ["--max-model-len=9"], "resources": {}},
    ],
)
def test_what_holds_gpus_and_starts_no_engine_is_not_reported(container: dict[str, Any]) -> None:
    assert read_pod(pod(container)) == ()


def test_what_is_beyond_the_bounds_of_reading_is_said() -> None:
    late = ["--seed=1"] * MAX_WORDS + ["--model", BIG]
    assert "not read: what follows word 2,000" in warned_of(
        pod({"args": ["--model", SMALL, *late]})
    )
    line = f"vllm serve {SMALL} " + "--seed=1 " * 30_000 + f"--model {BIG}"
    said = warned_of(pod({"command": ["bash", "-c", line]}))
    assert "not read: what follows 200,000 characters of a script" in said
    line = f"vllm serve {SMALL} --seed={'1' * shell.MAX_WORD} --model {SMALL}"
    assert "not read: what follows" in warned_of(pod({"command": ["bash", "-c", line]}))


def test_an_object_of_thousands_of_engines_is_judged_in_part_and_says_so() -> None:
    plain = {"image": "busybox", "command": ["sleep", "1"], "resources": {}}
    (late,) = read_pod(pod(*[plain] * 100, {"args": ["--model", BIG]}))
    assert decide(late.request).denied
    crowd = read_pod(pod(*[{"args": ["--model", SMALL]}] * 3000))
    assert len(crowd) == kinds.MOST_ENGINES
    said = messages.warning(crowd[-1].request, decide(crowd[-1].request))
    assert any("the engines of it beyond the first 32" in line for line in said)


def test_a_sidecar_that_kubernetes_starts_among_the_first_serves_too() -> None:
    plain = {"image": "busybox", "command": ["sleep", "1"], "resources": {}}
    first = {**pod({"args": ["--model", BIG]})["spec"]["containers"][0], "restartPolicy": "Always"}
    (one,) = read_pod(pod(plain, initContainers=[first]))
    said = messages.denial(one.request, decide(one.request))
    assert said.startswith("spec.initContainers[0].args --tensor-parallel-size: Invalid value: 1")


@pytest.mark.parametrize("name", ["VLLM_ADDITIONAL_ARGS", "NIM_PASSTHROUGH_ARGS"])
@pytest.mark.parametrize(
    "container",
    [{"args": ["--model", BIG]}, {"image": "acme/vllm:1", "command": ["vllm", "serve", BIG]}],
)
def test_a_variable_that_nobody_reads_changes_no_verdict(
    container: dict[str, Any], name: str
) -> None:
    variable = {"name": name, "value": f"--model {SMALL}"}
    found = read_pod(pod({**container, "env": [variable]}))
    assert [decide(one.request).denied for one in found] == [True]


@pytest.mark.parametrize("count", ["1e0", "1000m", "0.001k", "+1", "1.0", "01"])
def test_gpus_are_counted_as_kubernetes_reads_a_quantity(count: str) -> None:
    container = {"args": ["--model", BIG], "resources": {"limits": {"nvidia.com/gpu": count}}}
    (one,) = read_pod(pod(container))
    assert one.facts.gpus_per_pod == 1
    assert decide(one.request).denied


def test_a_message_lists_no_thousands_of_warnings() -> None:
    flags = [f"--unheard-of-{number}=1" for number in range(1500)]
    (one,) = read_pod(pod({"args": ["--model", SMALL, *flags]}))
    said = messages.warning(one.request, decide(one.request))
    assert len(said) < 30
    assert said[-1].endswith("more warnings")
