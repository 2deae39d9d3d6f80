"""Claims about texts of somebody else's: none reaches a terminal, a log or a status unclean."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.api_group import OVERRIDE_ANNOTATION
from plimsoll.cli import cli
from plimsoll.decision.decide import decide
from plimsoll.decision.policy import Policy
from plimsoll.errors import clean
from plimsoll.inventory.nodes import read_nodes
from plimsoll.inventory.pools import NO_INVENTORY
from plimsoll.report import markdown, messages
from plimsoll.report.as_data import verdict_dict
from plimsoll.report.nodes import nodes_message
from plimsoll.workloads.llmdeployment import Missing, override_reason, request
from plimsoll_operator.controller.plan import plan
from plimsoll_operator.controller.snapshot import Identity, Inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.inventory.pools import Inventory

ESCAPES = "\x1b]0;PWN\a\x1b[2J\r\n\x00\u202e\x9b31m"
"""Sets a terminal's title, clears it, begins new lines, turns the direction of writing."""
NODE: dict[str, Any] = {
    "metadata": {
        "name": f"gpu-1{ESCAPES}",
        "labels": {
            "nvidia.com/gpu.product": "NVIDIA-L4",
            "nvidia.com/gpu.count": "1",
            "nvidia.com/gpu.memory": "23034",
            f"zone{ESCAPES}": f"north{ESCAPES}",
        },
    },
    "spec": {"taints": [{"key": f"t{ESCAPES}", "value": ESCAPES, "effect": "NoSchedule"}]},
    "status": {
        "allocatable": {"nvidia.com/gpu": "1"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}
ODD_NODE = {
    **NODE,
    "metadata": {
        "name": f"odd{ESCAPES}",
        "labels": {"nvidia.com/gpu.product": f"NVIDIA-{ESCAPES}", "nvidia.com/gpu.count": "1"},
    },
}
SPEC: dict[str, Any] = {
    "model": {
        "uri": "hf://meta-llama/Llama-3.1-8B-Instruct",
        "baseModel": "meta-llama/Llama-3.1-8B-Instruct",
        "configMapRef": {"name": "mine", "key": "config.json"},
        "quantization": "none",
    },
    "engine": {
        "version": "0.19.0",
        "dtype": "auto",
        "kvCacheDtype": "auto",
        "speculative": {"method": "ngram", "model": "a/b"},
        "extraArgs": ["--rope-theta=5", "word", "--seed=1"],
    },
    "accelerator": {
        "allowed": ["nvidia-l4"],
        "nodeSelector": {"zone": "north"},
        "tolerations": [{"key": "t", "value": "v", "effect": "NoSchedule"}],
    },
}
SMALL: dict[str, Any] = {
    **SPEC,
    "model": {"uri": "hf://Qwen/Qwen3-0.6B", "revision": "main"},
    "engine": {"extraArgs": ["--seed=1"]},
    "output": {
        "mode": "Apply",
        "targetRef": {"kind": "Deployment", "name": "chat", "container": "engine"},
        "image": "example.com/vllm:1",
        "registry": "example.com",
        "tokenSecretRef": {"name": "hub", "key": "token"},
        "cacheClaim": "models",
        "queueName": "team",
        "template": {"spec": {"nodeSelector": {"zone": "north"}}},
    },
}
"""One that is let in, and placed."""
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "_name_or_path": "mine",
    "torch_dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128},
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the texts of an object are."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        if isinstance(inner, dict | list):
            yield from leaves(inner, (*path, key))
        else:
            yield (*path, key)


def with_text(value: Any, path: tuple[Any, ...], text: str) -> Any:
    """The object with one text followed by another."""
    key, rest = path[0], path[1:]
    made = with_text(value[key], rest, text) if rest else f"{value[key]}{text}"
    if isinstance(value, dict):
        return {**value, key: made}
    return [*value[:key], made, *value[key + 1 :]]


class Documents:
    """One ConfigMap, or none."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text, or that there is none, with the names as they were asked for."""
        return Missing(f"no {name} of {namespace}: {key}") if self._text is None else self._text


def said(of: Request, found: Verdict, inventory: Inventory, override: str) -> Iterator[str]:
    """Every text that people read of a verdict, line by line."""
    yield from messages.denial(of, found).split("\n")
    yield from messages.warning(of, found)
    yield from messages.summary(of, found)
    yield messages.headline(of, found)
    yield messages.fits_message(of, found)
    yield messages.placement_message(found)
    yield messages.model_message(found.model)
    yield nodes_message(found)
    identity = Identity("chat", "m", "u", "1", 1, "plimsoll.dev/v1alpha1", "LLMDeployment", {})
    planned = plan(Inputs(identity, of, inventory, Policy(), override), datetime.now(UTC))
    yield from (condition["message"] for condition in planned.patch["conditions"])
    yield from (event.message for event in planned.events)
    yield str(planned.patch["estimate"].get("modelSource"))


def unclean(obj: Mapping[str, Any], text: str | None) -> list[str]:
    """The lines with something in them that is not to be printed."""
    of = request(obj, Documents(text))
    inventory = read_nodes([NODE, ODD_NODE])
    reason = override_reason({"metadata": {"annotations": {OVERRIDE_ANNOTATION: f"why{ESCAPES}"}}})
    lines = said(of, decide(of, inventory), inventory, reason)
    return [line for line in lines if not line.isprintable()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("::stop-commands::x", "\N{REPLACEMENT CHARACTER}:stop-commands::x"),
        ("  ::debug::x", "  \N{REPLACEMENT CHARACTER}:debug::x"),
        ("\n::add-mask::x", "\N{REPLACEMENT CHARACTER}::add-mask::x"),
        ("a ##[group]b", "a ##\N{REPLACEMENT CHARACTER}group]b"),
        ("a::b", "a::b"),
        ("# [x]", "# [x]"),
    ],
)
def test_no_text_is_a_command_to_the_runner_that_logs_it(text: str, said: str) -> None:
    assert clean(text) == said


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("@octocat", "@\N{ZERO WIDTH SPACE}octocat"),
        ("&commat;octocat &#64;x", "&amp;commat;octocat &amp;\\#64;x"),
        ("https://evil.example", "https:/\N{ZERO WIDTH SPACE}/evil.example"),
        ("www.evil.example", "www.\N{ZERO WIDTH SPACE}evil.example"),
        ("uri: hf://a/b", "uri: hf://a/b"),
        ("a | b", r"a \| b"),
    ],
)
def test_no_text_mentions_links_or_steers_in_a_comment(said: str, written: str) -> None:
    assert markdown.text(said) == written


HOSTILE = st.sampled_from([ESCAPES, "\n", "\x1b[31m", "\u2028", "\x7f" * 300])


@given(st.sampled_from(list(leaves(SPEC))), HOSTILE, st.booleans())
@settings(max_examples=150)
def test_no_text_of_a_spec_reaches_people_unclean(
    path: tuple[Any, ...], text: str, there: bool
) -> None:
    metadata = {"name": f"m{text}", "namespace": f"chat{text}"}
    document = json.dumps(CONFIG) if there else None
    obj = {"metadata": metadata, "spec": with_text(SPEC, path, text)}
    assert unclean(obj, document) == []


@given(st.sampled_from(list(leaves(CONFIG))), HOSTILE)
@settings(max_examples=100)
def test_no_text_of_a_config_reaches_people_unclean(path: tuple[Any, ...], text: str) -> None:
    spec = {"model": {"configMapRef": {"name": "mine"}}, "engine": {"maxModelLen": 4096}}
    document = json.dumps(with_text(CONFIG, path, text))
    assert unclean({"metadata": {"name": "m"}, "spec": spec}, document) == []


@pytest.mark.parametrize("path", list(leaves(CONFIG)), ids=str)
def test_no_answer_repeats_a_word_of_a_config(path: tuple[Any, ...]) -> None:
    spec = {"model": {"configMapRef": {"name": "mine"}}, "engine": {"maxModelLen": 4096}}
    document = json.dumps(with_text(CONFIG, path, " hunter2"))
    of = request({"metadata": {"name": "m"}, "spec": spec}, Documents(document))
    lines = said(of, decide(of), NO_INVENTORY, "")
    assert [line for line in lines if "hunter2" in line] == []


def texts_of(value: Any) -> Iterator[str]:
    """Every text within a document, keys among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value:
            yield from texts_of(one)
        if isinstance(value, dict):
            yield from texts_of(list(value.values()))


@pytest.mark.parametrize("name", ["key", "value"])
@pytest.mark.parametrize("path", [*leaves(SMALL)], ids=str)
def test_what_is_let_in_says_nothing_in_data_or_status_that_cannot_be_printed(
    path: tuple[Any, ...], name: str
) -> None:
    spec = with_text(SMALL, path, ESCAPES)
    if name == "key":
        spec = json.loads(json.dumps(SMALL).replace(f'"{path[-1]}":', f'"{path[-1]}\\u001b[2J":'))
    of = request({"metadata": {"name": "m"}, "spec": spec}, Documents(None))
    found = decide(of)
    identity = Identity("chat", "m", "u", "1", 1, "plimsoll.dev/v1alpha1", "LLMDeployment", {})
    planned = plan(Inputs(identity, of, NO_INVENTORY, Policy(), ""), datetime.now(UTC))
    said = [*texts_of(verdict_dict(of, found)), *texts_of(planned.patch)]
    assert [text for text in said if not text.replace("\n", "").isprintable()] == []


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
@pytest.mark.parametrize("path", [*leaves(SPEC), ()], ids=str)
def test_nothing_that_check_prints_holds_an_escape(path: tuple[Any, ...], output: str) -> None:
    spec = with_text(SPEC, path, ESCAPES) if path else {ESCAPES: 1, "model": {"uri": 5}}
    obj = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {
            "name": f"m{ESCAPES}",
            "annotations": {"plimsoll.dev/override": f"why{ESCAPES}"},
        },
        "spec": spec,
    }
    result = CliRunner().invoke(cli, ["check", "-", "-o", output], input=yaml.safe_dump(obj))
    printed = result.stdout + result.stderr
    assert [line for line in printed.split("\n") if not line.isprintable()] == []
