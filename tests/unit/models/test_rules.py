"""Which modules rules name, and how little the rules of a stranger's config may cost."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.errors import Invalid
from plimsoll.models import catalogue
from plimsoll.models.config import architecture
from plimsoll.models.quantization_config import (
    MAX_CHARACTERS,
    MAX_EXPRESSIONS,
    MAX_RULES,
    MAX_STARRED,
)
from plimsoll.models.rules import MAX_RULE, Rules, readable
from plimsoll.models.storage import stored_bytes

MODULES: Final = (
    "self_attn.q_proj",
    "mlp.up_proj",
    "mlp.gate_up_proj",
    "mlp.experts.down_proj",
    "mlp.gate",
    "linear_attn.in_proj_qkvz",
    "mixer.fc1_latent_proj",
    "lm_head",
)
ATOMS: Final = (".", r"\.", r"\d", r"\w", "m", "proj", "mlp", "[a-m]", "[^.]", "[0-9_]", "layers")
GROUPS: Final = ["(q|k|v|up|gate)", "(?:up|gate)?", "(mlp|self_attn)", "(a(b|l))?"]


def named(rule: str, module: str) -> bool:
    return Rules([rule]).first(module) is not None


def quantized(ignore: list[str], **more: Any) -> dict[str, Any]:
    """A config of 8 billion parameters in 8 bits, with modules that are left alone."""
    entry = catalogue.load().find("meta-llama/Llama-3.1-8B")
    assert entry is not None
    weights = {"num_bits": 8, "type": "int"}
    groups = {"all": {"targets": ["Linear"], "weights": weights}}
    method = {"quant_method": "compressed-tensors", "config_groups": groups, "ignore": ignore}
    return {**entry.config, "quantization_config": method, **more}


@pytest.mark.sweep
@given(
    st.lists(
        st.tuples(st.sampled_from(ATOMS), st.sampled_from(["", "", "*", "+", "?", "*?"]))
        | st.tuples(st.sampled_from(GROUPS), st.just(""))
    ),
    st.sampled_from(["", "^", ".*", r"model\.layers\.1\."]),
    st.sampled_from(["", "$", ".*", "|.*lm_head$"]),
)
def test_what_is_read_names_what_pythons_expressions_name(
    pieces: list[tuple[str, str]], begin: str, end: str
) -> None:
    text = "".join(atom + often for atom, often in pieces)
    pattern = f"{begin}{text}{end}"
    if readable(f"re:{pattern}"):
        for module in MODULES:
            expected = re.match(pattern, f"model.layers.1.{module}") is not None
            assert named(f"re:{pattern}", module) is expected, (pattern, module)


@pytest.mark.parametrize(
    "rule",
    [
        "re:.*lm_head",
        "re:.*mlp.gate$",
        "re:^model.layers.*self_attn.*",
        r"re:.*mlp\.experts\.\d+\.(gate|up|down)_proj$",
        r"re:model\.layers\.[0-9]+\.mlp\.(?:up|down)_proj",
        "re:(visual|.*vision_tower).*",
    ],
)
def test_the_forms_of_published_configs_are_read(rule: str) -> None:
    assert readable(rule)


def test_every_rule_of_the_catalogue_is_read() -> None:
    for entry in catalogue.load():
        quantization = entry.architecture.quantization
        assert quantization is None or quantization.unread == (), entry.id


@pytest.mark.parametrize(
    "pattern",
    [
        "(?x)(.+) +!",
        "^(?!.*mlp).*",
        r"(.)\1",
        "(",
        "a{2}",
        r".*\bmlp\b",
        "a$b",
        "(?i)MLP",
        "[",
        "*",
    ],
)
def test_of_other_forms_nothing_is_believed_and_the_model_is_assumed(pattern: str) -> None:
    found = architecture(quantized([f"re:{pattern}"]))
    assert found.assumed
    assert found.quantization is not None
    assert found.quantization.unread == (f"re:{pattern}",)
    assert stored_bytes(found) == stored_bytes(architecture(quantized([])))


def test_the_first_rule_that_names_a_module_counts() -> None:
    rules = Rules(["re:.*up_proj", "mlp.*", "mlp.up_proj", "mlp"])
    assert rules.first("mlp.up_proj") == 0
    assert rules.first("mlp.down_proj") == 1
    assert rules.first("self_attn.q_proj") is None


@pytest.mark.parametrize(
    ("ignore", "said"),
    [
        (["x.y"] * MAX_RULES, f"{MAX_RULES + 1} names of modules: at most {MAX_RULES} names"),
        (["*.y"] * (MAX_STARRED + 1), f"{MAX_STARRED + 1} names with stars: at most {MAX_STARRED}"),
        (
            ["*" + "y" * 200] * 200,
            f"40200 characters of names with stars: at most {MAX_CHARACTERS} ",
        ),
        (["re:y"] * (MAX_EXPRESSIONS + 1), f"regular expressions: at most {MAX_EXPRESSIONS}"),
        (["y" * (MAX_RULE + 1)], "names of modules, or regular expressions"),
        (["*a*b*c*d*"], "names of modules, or regular expressions"),
    ],
)
def test_more_rules_than_any_model_has_are_refused(ignore: list[str], said: str) -> None:
    with pytest.raises(Invalid) as caught:
        architecture(quantized(ignore))
    (problem,) = caught.value.problems
    assert str(problem).startswith("config.json: quantization_config: Invalid value: ")
    assert said in str(problem)
    assert "name the modules that are left unquantized" in str(problem)


@pytest.mark.parametrize(
    "ignore",
    [
        ["re:(?x)(.+) +!"],
        [f"re:.*.*.*.*!{i:05d}" for i in range(45_000)],
        [f"re:.*.*.*.*{'x' * 200}{i:02d}" for i in range(MAX_EXPRESSIONS)],
        [f"re:{'(a|b)' * 6}{'x' * 200}{i:02d}.*" for i in range(MAX_EXPRESSIONS)],
        [f"*a*b*c*{'d' * 50}{i:03d}" for i in range(MAX_STARRED)],
        [f"model.layers.{i}.*a*b*{'d' * 40}" for i in range(MAX_STARRED)],
        [f"*a*b*c*d*e*f*g*h*i*j*k*l*{i:05d}*" for i in range(20_000)],
        [f"model.layers.{i % 100}.mlp.x{i:06d}" for i in range(MAX_RULES - 1)],
        [f"xx.yy.zz.{i:06d}" for i in range(50_000)],
    ],
    ids=lambda ignore: ignore[0][:32],
)
def test_no_rules_hold_up_whoever_reads_them(ignore: list[str]) -> None:
    start = time.process_time()
    with contextlib.suppress(Invalid):
        stored_bytes(architecture(quantized(ignore)))
    assert time.process_time() - start < 2, "some 0.3 s where nothing else runs"
