"""Each fact beside what our formulas say to the same case: equal, near, or off by how much.

weights     bytes that the engine counts as the model's, its own figure: what the allocator
            holds for it, not the bytes of parameters
cache       tokens of a block by group; blocks, and requests of the longest, that the bytes hold
            which the engine itself found left: exact
defaults    what the engine made of what was not said: exact
refusals    refused by both, or by neither; memory aside
activation  the peak of the profile run above what was held before
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from drystart.models import config_of
from plimsoll.accelerators import catalogue
from plimsoll.engines import registry
from plimsoll.engines.base import NOTHING_ASKED, EngineSettings, Parallelism, TermName, Workload
from plimsoll.engines.layers.sharding import stage_weights
from plimsoll.engines.vllm import first, kernels, latent, multimodal, offload, support
from plimsoll.engines.vllm.defaults import resolve
from plimsoll.engines.vllm.engine import _FLASHINFER_DELTA
from plimsoll.engines.vllm.kv import Cache, cache
from plimsoll.engines.vllm.options import TABLE, VLLMOptions
from plimsoll.engines.vllm.pool import Keeps
from plimsoll.errors import PlimsollError
from plimsoll.models.config import architecture

if TYPE_CHECKING:
    from collections.abc import Collection

    from drystart.cases import Case
    from drystart.files import Fact
    from plimsoll.engines.base import Estimate
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

KINDS: Final = ("weights", "cache", "defaults", "refusals", "activation")


@dataclass(frozen=True)
class Compared:
    """One figure of one fact. theirs, ours: the engine's and our own; share: how far off."""

    kind: str
    name: str
    fact: Fact
    theirs: Any
    ours: Any

    @property
    def share(self) -> float:
        """Ours over theirs, less one; 0 where they are equal."""
        if self.theirs == self.ours:
            return 0.0
        try:
            return float(self.ours) / float(self.theirs) - 1
        except (TypeError, ValueError, ZeroDivisionError):
            return 1.0

    def __str__(self) -> str:
        off = "" if self.theirs == self.ours else f" ({self.share:+.2%})"
        return (
            f"{self.fact.release} {self.fact.case.id}: {self.name} {self.theirs} / {self.ours}{off}"
        )


@dataclass(frozen=True)
class Ours:
    """A case as our own code reads it; problem: why it cannot."""

    architecture: Architecture
    settings: EngineSettings
    split: Parallelism
    problems: tuple[Finding, ...]
    estimate: Estimate | None


def flags(arguments: dict[str, Any]) -> list[str]:
    """Engine arguments as flags of a command line."""
    out: list[str] = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            out.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            out += [f"--{flag}", str(value)]
    return out


@lru_cache(maxsize=4096)
def _architecture(model: str, layers: str, quantization: str) -> Architecture:
    return architecture(config_of(model, layers=layers, quantization=quantization))


def ours(case: Case, release: str, not_known: Collection[str] = ()) -> Ours | None:
    """What our code says; None where it does not know the model.

    not_known: arguments that the release has not, so that the dry start left them out.
    """
    engine = registry.engine("vllm")
    try:
        model = _architecture(case.model, case.layers, case.quantization)
    except PlimsollError:
        return None
    arguments = {"skip_mm_profiling": True} | case.arguments
    read = engine.read(
        flags({name: value for name, value in arguments.items() if name not in not_known}),
        EngineSettings("vllm", release),
        NOTHING_ASKED,
    )
    asked = read.split
    split = Parallelism(asked.tensor or 1, asked.pipeline or 1, asked.data or 1, bool(asked.expert))
    gpu = catalogue.find(case.gpu)
    assert gpu is not None
    problems = read.problems or engine.problems(model, read.settings, split, gpu)
    estimate = None
    if not problems:
        estimate = engine.estimate(model, read.settings, Workload(), split, gpu)
    return Ours(model, read.settings, split, tuple(problems), estimate)


def compared(fact: Fact) -> list[Compared]:
    """Every figure of a fact that our code has something to say to."""
    if not fact.known or about_files(fact):
        return []
    own = ours(fact.case, fact.release, fact.said.get("not_known_to_release", ()))
    if own is None:
        return []
    out = []
    if fact.refused or not (fact.case.upto and own.problems):  # more may be refused further on
        out.append(_refusal(fact, own))
    if fact.refused and fact.said["reached"] == "config":
        return out
    if own.estimate is not None:
        if "resolved" in fact.said:
            out += _defaults(fact, own, own.estimate)
        if "weights" in fact.said:
            out.append(
                Compared(
                    "weights", "bytes", fact, fact.said["weights"]["counted"], _weights(fact, own)
                )
            )
        if "profile" in fact.said and own.split.pipeline == 1:
            term = own.estimate.terms[TermName.ACTIVATION]
            name = "logits" if "logits" in term.basis else "pass"
            peak = fact.said["profile"]["peak"]
            if name == "logits":
                peak += _sorted(fact, own)
            out.append(Compared("activation", name, fact, peak, term.bytes))
        if "cache" in fact.said and own.split.pipeline == 1:
            out += _cache(fact, own)
    return out


_SORTS_UNTIL: Final = (0, 16)
_UNSEEN, _FEW_ROWS, _MORE = 10, 128, 12


def _sorted(fact: Fact, own: Ours) -> int:
    """Bytes of a sampler that sorts which a dry start does not see: a kernel allocates them.

    18 bytes a logit are there when it sorts, and the kernel takes 20 (PyTorch, SortStable.cu; 32
    where it sorts fewer than 128 rows); the most that a dry start sees is 28, in a later step.
    """
    if tuple(map(int, fact.release.split(".")[:2])) > _SORTS_UNTIL:
        return 0
    said = fact.said["resolved"]
    rows = min(said["max_num_seqs"], said["max_num_batched_tokens"])
    each = _UNSEEN + _MORE * (1 < rows < _FEW_ROWS)
    return int(each * rows * own.architecture.vocab_size)


_MEMORY_WORDS: Final = ("memory", "larger than the available KV cache", "KV cache is needed")


def about_memory(fact: Fact) -> bool:
    """Whether a refusal is about memory: whether that fits is another question."""
    words = (fact.refused or {}).get("message", "")
    return any(word in words for word in _MEMORY_WORDS)


_FILE_WORDS: Final = (
    "does not recognize this architecture",
    "Can't load",
    "Missing required keys in `rope_parameters`",
    "trust_remote_code",
    "skip_tokenizer_init",
    "requires DeepGEMM to be installed",
    "in the model's quantization config",
    "failed to be inspected",
    "`rope_scaling` must be a dictionary",
    "Too large swap space",
)


def about_files(fact: Fact) -> bool:
    """Whether the engine missed what is not in a config: remote code, a processor, a package, the
    main memory of the machine that was asked.

    The folder that it was given holds a config.json alone, of some fields: of the checkpoint that
    says nothing.
    """
    words = (fact.refused or {}).get("message", "")
    return any(word in words for word in _FILE_WORDS)


def _refusal(fact: Fact, own: Ours) -> Compared:
    theirs = bool(fact.refused) and not about_memory(fact)
    words = (fact.refused or {}).get("message", "")
    return Compared("refusals", f"refused ({words[:100]})", fact, theirs, bool(own.problems))


def _defaults(fact: Fact, own: Ours, estimate: Estimate) -> list[Compared]:
    said = fact.said["resolved"]
    pairs = {
        "max_model_len": estimate.max_model_len,
        "max_num_seqs": estimate.max_num_seqs,
        "max_num_batched_tokens": estimate.max_num_batched_tokens,
        "gpu_memory_utilization": float(estimate.utilization),
    }
    return [
        Compared("defaults", name, fact, said[name], value)
        for name, value in pairs.items()
        if name in said
    ]


def _weights(fact: Fact, own: Ours) -> int:
    """Bytes of weights on the rank that the case asked; an estimate has them of one stage alone."""
    if own.estimate is not None and own.split.pipeline == 1:
        return own.estimate.terms[TermName.WEIGHTS].bytes
    figures, settings, split = TABLE.or_newest(own.settings.version), own.settings, own.split
    gpu = catalogue.find(fact.case.gpu)
    assert gpu is not None
    loaded = multimodal.loaded(own.architecture, settings, figures)
    resolved = resolve(loaded, settings, gpu, figures)
    stages = stage_weights(
        support.on_stages(kernels.held(loaded, gpu, figures), settings, split),
        resolved.dtype,
        settings.quantization,
        split,
        kernels.padding(loaded, settings, split, gpu, figures),
        views=True,
        whole=figures.flag("loading_unsplit"),
    )
    beside = latent.loaded(loaded, resolved, gpu, figures) + multimodal.buffers(loaded, resolved)
    return stages[min(fact.case.rank // split.tensor, len(stages) - 1)] + beside


def _pages(own: Ours, gpu: str) -> Cache:
    accelerator = catalogue.find(gpu)
    assert accelerator is not None
    figures = TABLE.or_newest(own.settings.version)
    resolved = resolve(own.architecture, own.settings, accelerator, figures)
    options = VLLMOptions.of(own.settings)
    return cache(
        first.cached(own.architecture, resolved, figures),
        own.split,
        figures,
        dtype=resolved.kv_dtype,
        model_bytes=resolved.element,
        block_size=latent.block(own.architecture, own.settings, accelerator, figures),
        batched_tokens=resolved.batched_tokens,
        apart=offload.groups_layers(own.settings, figures),
        prefix_caching=options.enable_prefix_caching,
        checkpoints=accelerator.compute[0] in _FLASHINFER_DELTA,
    )


def _cache(fact: Fact, own: Ours) -> list[Compared]:
    said = fact.said["cache"]
    if not said["groups"]:
        return []
    pages = _pages(own, fact.case.gpu)
    available = fact.said["profile"]["available"]
    blocks = pages.holds([available])
    # A group of states has a block of its own size in some releases, whatever a sequence needs.
    theirs = sorted(g["block_size"] * (g["kind"] != "MambaSpec") for g in said["groups"])
    mine = sorted(g.block * (g.keeps is not Keeps.STATE) for g in pages.pool.groups)
    requests = pages.concurrency(blocks, said["max_model_len"])
    out = [
        Compared("cache", "groups", fact, theirs, mine),
        Compared("cache", "blocks", fact, said["blocks"], blocks),
    ]
    if said.get("concurrency") is not None:
        asked = round(said["concurrency"], 2)
        out.append(Compared("cache", "requests", fact, asked, round(requests, 2)))
    return out
