"""A checkpoint's quantization, from the config that it carries: every format that is in use.

Bits are never guessed: a method that is not known here is named, and its linears count as
unquantized.

Formats: config.json ``quantization_config`` (fp8, fbgemm_fp8, compressed-tensors, awq, gptq,
auto-round, bitsandbytes, mxfp4, modelopt) and NVIDIA ModelOpt's hf_quant_config.json.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from plimsoll.errors import Invalid, Problem, Unreadable, shown
from plimsoll.models.files import text_parts
from plimsoll.models.quantization import FURTHER, Quantization, Scheme
from plimsoll.models.rules import bounded, expression, starred

FP8_TENSOR: Final = Scheme("fp8", 8)
FP8_CHANNEL: Final = Scheme("fp8", 8, 0, 1)
INT8: Final = Scheme("int8", 8, 0, 1, 2)
NVFP4: Final = Scheme("nvfp4", 4, 16, 1, 1)
MXFP4: Final = Scheme("mxfp4", 4, 32, 1, 1)
MXFP8: Final = Scheme("mxfp8", 8, 32, 1, 1)
NF4: Final = Scheme("nf4", 4, 64, 1, 4)
AWQ: Final = Scheme("w4a16", 4, 128, 1, 2, 4)
W4A16: Final = Scheme("w4a16", 4, 128, 1, 2)

MAX_RULES: Final = 16_384
"""Modules that a description names; the most known in a document of a MiB are 5,981."""
MAX_STARRED: Final = 512
"""Of these, names with stars; the most known is 184."""
MAX_CHARACTERS: Final = 32_768
"""Characters of all names with stars; the most known is some 7,000."""
MAX_EXPRESSIONS: Final = 64
"""Of these, regular expressions; the most known is 5."""
_BITS: Final = {
    "awq": frozenset({4}),
    "gptq": frozenset({2, 3, 4, 8}),
    "compressed-tensors": frozenset({4, 8}),
    "aqlm": frozenset({1, 2, 3, 4}),
}
"""Bits of a weight in the formats that there are; of others nothing is believed."""
_AQLM_GROUPS: Final = frozenset({8, 16})
"""Weights that share codes in AQLM's published checkpoints."""
_OTHER_METHOD: Final = "another method"
_METHODS: Final = frozenset(
    {
        "aqlm", "auto-awq", "auto-round", "awq", "bitnet", "bitsandbytes", "compressed-tensors",
        "eetq", "fbgemm-fp8", "fp-quant", "fp8", "gguf", "gptq", "higgs", "hqq", "intel/auto-round",
        "modelopt", "modelopt-fp4", "modelopt-mixed", "mxfp4", "mxfp8", "nvfp4", "quark", "quanto",
        "sinq", "spqr", "torchao", "vptq",
    }
)  # fmt: skip
"""Methods that there are. No other word of a config is repeated to anybody."""
_PATH: Final = "config.json: quantization_config"
_LAYER: Final = re.compile(r"^.{0,64}?\blayers?\.(\d{1,5})(?=[.*]|$)\.?")
_MTP: Final = re.compile(r"^(?:model\.)?mtp(?=[.*]|$)(?:\.layers\.\d{1,5}(?=[.*]|$))?\.?")
_EXPERT: Final = re.compile(r"\bexperts\.\d+")
BY_NAME: Final = "by_name"
"""The key that marks a description made from a checkpoint's name alone."""
_IGNORED: Final = (
    "modules_to_not_convert",
    "ignore",
    "ignored_layers",
    "exclude_modules",
    "llm_int8_skip_modules",
    "exclude",
)
"""Keys under which formats list what they leave alone."""
_WORDS: Final = {
    "none": None,
    "fp8": Quantization("fp8", FP8_CHANNEL),
    "int8": Quantization("compressed-tensors", INT8),
    "w8a8": Quantization("compressed-tensors", INT8),
    "w4a16": Quantization("compressed-tensors", W4A16),
    "awq": Quantization("awq", AWQ),
    "gptq": Quantization("gptq", AWQ),
    "bitsandbytes": Quantization("bitsandbytes", NF4),
    "mxfp4": Quantization("mxfp4", MXFP4),
    "nvfp4": Quantization("modelopt", NVFP4),
    "gguf": Quantization("gguf", None),
}
STORED_WORDS: Final = tuple(_WORDS)
"""What `stored` takes."""


def stored(word: str) -> Quantization | None:
    """How a checkpoint is stored, from a word such as awq, which says not what it leaves alone.

    Raises `Unreadable` for words that are not known.
    """
    if word not in _WORDS:
        raise Unreadable(word, f"one of {', '.join(_WORDS)}")
    known = _WORDS[word]
    return None if known is None else replace(known, by_name=True)


def quantization_of(
    config: Mapping[str, Any], quant: Mapping[str, Any] | None = None
) -> Quantization | None:
    """The quantization that a config, or the file beside it, describes; None for none.

    Raises `Invalid` if it names more modules, or names them with more patterns, than a model has.
    """
    given, beside = _given(config), _beside(quant)
    for described in (given, beside):
        if described is not None:
            _refuse_unbounded(described)
    quantization = _from_config(given) if given is not None else None
    if quantization is None and beside is not None:
        quantization = _modelopt(beside)
    if quantization is not None and config.get("expert_dtype") == "fp4":
        quantization = replace(
            quantization, special=(*quantization.special, ("mlp.experts", MXFP4))
        )
    return quantization


def _given(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The ``quantization_config`` of a config, or of the language model within it."""
    for part in text_parts(config):
        given = part.get("quantization_config")
        if isinstance(given, Mapping):
            return given
    return None


def _beside(quant: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The ``quantization`` in hf_quant_config.json."""
    given = quant.get("quantization") if isinstance(quant, Mapping) else None
    return given if isinstance(given, Mapping) else None


def kv_dtype_of(config: Mapping[str, Any], quant: Mapping[str, Any] | None) -> str:
    """``fp8`` if the checkpoint carries scales for an 8-bit KV cache, else empty."""
    sources = [
        description for description in (_given(config), _beside(quant)) if description is not None
    ]
    for source in sources:
        scheme = source.get("kv_cache_scheme")
        if source.get("kv_cache_quant_algo") == "FP8" or scheme == "FP8":
            return "fp8"
        if isinstance(scheme, Mapping) and scheme.get("num_bits") == 8:
            return "fp8"
    return ""


def _integer(value: object, default: int) -> int:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1 << 20
    return int(value) if usable else default  # type: ignore[call-overload]


def _bits(given: object, default: int, known: frozenset[int]) -> int | None:
    """Bits of a weight; None: there is no such format. given: None if the config says nothing."""
    if given is None:
        return default
    return given if isinstance(given, int) and given in known else None


def _from_config(q: Mapping[str, Any]) -> Quantization | None:
    method = str(q.get("quant_method") or "").lower().replace("_", "-")
    quantization = _by_method(method, q)
    if quantization is None:
        return None
    return replace(_leaving(quantization, q), by_name=q.get(BY_NAME) is True)


def _by_method(method: str, q: Mapping[str, Any]) -> Quantization | None:
    """What a method stores, without what it leaves alone."""
    if method in ("fp8", "fbgemm-fp8") or (not method and q.get("weight_block_size")):
        block = q.get("weight_block_size")
        if isinstance(block, list) and len(block) == 2:
            scheme = Scheme("fp8", 8, _integer(block[1], 128), _integer(block[0], 128))
        else:
            scheme = FP8_CHANNEL if method == "fbgemm-fp8" else FP8_TENSOR
        return Quantization("fp8", scheme)
    if method == "mxfp4":
        return Quantization("mxfp4", MXFP4)
    if method in ("awq", "gptq", "auto-round", "auto-awq", "intel/auto-round"):
        engine = "awq" if "awq" in method else "gptq"
        given = q.get("bits") if q.get("bits") is not None else q.get("w_bit")
        bits = _bits(given, 4, _BITS[engine])
        if bits is None:
            return Quantization(engine, None, unsized=True)
        size = q.get("group_size") or q.get("q_group_size") or 128
        group = 0 if size == -1 else _integer(size, 128)
        zero = bits if method != "auto-round" or not q.get("sym") else 0
        scheme = Scheme(f"w{bits}a16", bits, group, 1, 2, zero)
        head = (("lm_head", scheme),) if q.get("lm_head") is True else ()
        return Quantization(engine, scheme, special=head)
    if method == "bitsandbytes" or q.get("load_in_4bit") or q.get("load_in_8bit"):
        if q.get("load_in_8bit"):
            return Quantization("bitsandbytes", Scheme("int8", 8, 0, 1))
        double = q.get("bnb_4bit_use_double_quant") is True
        return Quantization("bitsandbytes", Scheme("nf4", 4, 64, 1, 1) if double else NF4)
    if isinstance(q.get("quantized_layers"), Mapping) or q.get("quant_algo"):
        return _modelopt(q)
    if isinstance(q.get("config_groups"), Mapping):
        return _groups(_method(method or "compressed-tensors"), q)
    if method == "aqlm":
        codes = _integer(q.get("num_codebooks"), 1) * _integer(q.get("nbits_per_codebook"), 16)
        group = _integer(q.get("in_group_size"), 8)
        bits = _bits(-(-codes // group), 2, _BITS["aqlm"])
        if bits is None or group not in _AQLM_GROUPS:
            return Quantization("aqlm", None, unsized=True)
        return Quantization("aqlm", Scheme(f"w{bits}a16", bits, 0, 1, 2))
    if method == "quark":
        return _quark(q)
    return Quantization(_method(method), None, unsized=True) if method else None


def _method(word: str) -> str:
    """A method by its own word, if there is one of that name."""
    return word if word in _METHODS else _OTHER_METHOD


def _quark(q: Mapping[str, Any]) -> Quantization:
    """AMD Quark: one description of weights for the whole model."""
    whole = q.get("global_quant_config")
    weights = whole.get("weight") if isinstance(whole, Mapping) else None
    kind = str(weights.get("dtype") if isinstance(weights, Mapping) else "")
    schemes = {"fp8": FP8_TENSOR, "fp4": MXFP4, "int8": INT8, "int4": W4A16}
    return Quantization(
        "quark", next((s for word, s in schemes.items() if kind.startswith(word)), None)
    )


def _groups(method: str, q: Mapping[str, Any]) -> Quantization:
    """compressed-tensors: a scheme for each group of targets; ``Linear`` stands for all."""
    default: Scheme | None = None
    special: list[tuple[str, Scheme]] = []
    left: list[str] = []
    unsized = False
    for group in q["config_groups"].values():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if not isinstance(weights, Mapping):
            continue
        scheme = _weights(weights)
        targets = _texts(group.get("targets"))
        unsized = unsized or scheme is None
        if not targets or "Linear" in targets:
            default = scheme
        elif scheme is None:
            left += _anywhere(targets)
        else:
            special += [(rule, scheme) for rule in _anywhere(targets)]
    return Quantization(method, default, tuple(left), tuple(special), unsized=unsized)


def _weights(w: Mapping[str, Any]) -> Scheme | None:
    """How a group of compressed-tensors stores a weight; None: nobody here can size it."""
    bits = _bits(w.get("num_bits"), 8, _BITS["compressed-tensors"])
    if bits is None:
        return None
    floating, size = w.get("type") == "float", w.get("group_size")
    group = _integer(size, 0) if size else 0
    block = w.get("block_structure")
    if isinstance(block, list) and len(block) == 2:
        return Scheme("fp8", bits, _integer(block[1], 128), _integer(block[0], 128))
    if bits == 4 and floating:
        return MXFP4 if group == 32 else NVFP4
    if bits == 8 and floating:
        if group == 32:
            return MXFP8
        return FP8_TENSOR if w.get("strategy", "tensor") == "tensor" else FP8_CHANNEL
    if bits == 8 and not group:
        return INT8
    zero = 0 if w.get("symmetric", True) else bits
    return Scheme(f"w{bits}a16", bits, group, 1, 2, zero)


_ALGORITHMS: Final = {
    "FP8": FP8_TENSOR,
    "FP8_PER_CHANNEL_PER_TOKEN": FP8_CHANNEL,
    "FP8_PB_WO": Scheme("fp8", 8, 128, 128),
    "NVFP4": NVFP4,
    "W4A16_NVFP4": NVFP4,
    "W4A8_NVFP4_FP8": NVFP4,
    "NVFP4_AWQ": NVFP4,
    "W4A16": W4A16,
    "W4A16_AWQ": W4A16,
    "W4A8_AWQ": W4A16,
    "INT4_AWQ": W4A16,
    "W8A16": INT8,
    "INT8_SQ": INT8,
    "MXFP4": MXFP4,
    "MXFP8": MXFP8,
}


def _modelopt(q: Mapping[str, Any]) -> Quantization:
    """NVIDIA ModelOpt: one algorithm, or one for each layer with MIXED_PRECISION."""
    layers = q.get("quantized_layers")
    if isinstance(layers, Mapping):
        schemes: defaultdict[str, Counter[Scheme]] = defaultdict(Counter)
        for name, entry in layers.items():
            algorithm = entry.get("quant_algo") if isinstance(entry, Mapping) else None
            scheme = _ALGORITHMS.get(str(algorithm))
            if scheme is not None:
                for rule in _anywhere([str(name)]):
                    schemes[rule][scheme] += 1
        special = tuple(
            (rule, quantization.most_common(1)[0][0]) for rule, quantization in schemes.items()
        )
        return _leaving(Quantization("modelopt", None, special=special), q)
    return _leaving(Quantization("modelopt", _ALGORITHMS.get(str(q.get("quant_algo")))), q)


def _texts(value: object) -> list[str]:
    return [t for t in value if isinstance(t, str)] if isinstance(value, list) else []


def _named(q: Mapping[str, Any]) -> list[str]:
    """Every name and pattern of modules in a description."""
    names = [name for key in _IGNORED for name in _texts(q.get(key))]
    groups, layers = q.get("config_groups"), q.get("quantized_layers")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        names += _texts(group.get("targets")) if isinstance(group, Mapping) else []
    return [*names, *map(str, layers if isinstance(layers, Mapping) else ())]


def _refuse_unbounded(q: Mapping[str, Any]) -> None:
    """Raise `Invalid` for more names or patterns than any model has, and for unbounded ones."""
    names = _named(q)
    fix = "name the modules that are left unquantized"
    for what, most, counted in (
        ("names of modules", MAX_RULES, names),
        ("names with stars", MAX_STARRED, filter(starred, names)),
        ("characters of names with stars", MAX_CHARACTERS, "".join(filter(starred, names))),
        ("regular expressions", MAX_EXPRESSIONS, filter(expression, names)),
    ):
        count = len(list(counted))
        if count > most:
            raise Invalid(Problem(_PATH, f"{count} {what}", f"at most {most} {what}", fix))
    wanted = "names of modules, or regular expressions without repeated groups"
    problems = [Problem(_PATH, shown(name), wanted, fix) for name in names if not bounded(name)]
    if problems:
        raise Invalid(*problems[:10])


def _anywhere(names: Iterable[str]) -> tuple[str, ...]:
    """Names of modules as rules for every layer and every expert."""
    rules = (_EXPERT.sub("experts", _LAYER.sub("", name)) for name in names)
    return tuple(dict.fromkeys(rule for rule in rules if rule.strip("*.")))


def _leaving(made: Quantization, q: Mapping[str, Any]) -> Quantization:
    """With what the config leaves alone: everywhere, in single layers, and in MTP layers."""
    everywhere: list[str] = []
    single: defaultdict[int, dict[str, None]] = defaultdict(dict)
    for name in (name for key in _IGNORED for name in _texts(q.get(key))):
        further = _MTP.match(name) if made.method == "modelopt" else None
        match = None if further or name.startswith("re:") else _LAYER.match(name)
        if further is not None:
            single[FURTHER][_EXPERT.sub("experts", name[further.end() :]) or "*"] = None
        elif match is None:
            everywhere.append(_EXPERT.sub("experts", name))
        else:
            rest = name[match.end() :] or "*"
            single[int(match[1])][_EXPERT.sub("experts", rest)] = None
    in_layers = tuple((layer, tuple(sorted(rules))) for layer, rules in sorted(single.items()))
    ignored = tuple(dict.fromkeys((*made.ignored, *everywhere)))
    return replace(made, ignored=ignored, ignored_in=in_layers)
