"""From the name of an image to the engine in it and, if its tag says so, the engine's version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_IMAGE: Final = 512
"""Characters of an image's name that are looked at."""

_ENGINES: Final = (
    ("text-generation-inference", "tgi"),
    ("tgi-gaudi", "tgi"),
    ("tgi-inference", "tgi"),
    ("sglang", "sglang"),
    ("llama-swap", "llama-swap"),
    ("llama.cpp", "llama.cpp"),
    ("llama-cpp", "llama.cpp"),
    ("llamacpp", "llama.cpp"),
    ("llama-server", "llama.cpp"),
    ("tensorrt-llm", "tensorrt-llm"),
    ("tensorrtllm", "tensorrt-llm"),
    ("trtllm", "tensorrt-llm"),
    ("ollama", "ollama"),
    ("lmdeploy", "lmdeploy"),
    ("localai", "localai"),
    ("local-ai", "localai"),
    ("koboldcpp", "koboldcpp"),
    ("aphrodite", "aphrodite"),
    ("text-generation-webui", "text-generation-webui"),
    ("tabbyapi", "tabbyapi"),
    ("tabbyml/tabby", "tabby"),
    ("mlc-llm", "mlc-llm"),
    ("ktransformers", "ktransformers"),
    ("xinference", "xinference"),
    ("nvcr.io/nim/", "nim"),
    ("vllm", "vllm"),
    ("llm-d-cuda", "vllm"),
    ("llm-d-aws", "vllm"),
    ("llm-d-gke", "vllm"),
    ("llm-d-rocm", "vllm"),
    ("llm-d-xpu", "vllm"),
    ("ray-llm", "vllm"),
)
"""Parts of an image's name by which an engine is known; the first that is in it counts. Those whose
memory is not known here are known by name, so that what runs them is not passed over."""
_NO_SERVER: Final = re.compile(
    r"router|simulator|llm-d-inference-sim|benchmark|guidellm|exporter|lora-syncer|gateway|"
    r"sidecar|proxy|operator|(^|/)epp($|:)|scheduler|open-webui|litellm|"
    r"gradio|streamlit|chat-ui|[-_]mock|[-_]bench|[-_]render|semantic-router/"
)
"""Images that are beside an engine and serve no model themselves."""
_OTHER_VERSIONS: Final = (
    "llm-d",
    "dynamo",
    "nvcr.io/nim/",
    "kserve",
    "lmcache/",
    "/nvidia/vllm",
    "rocm/",
    "/rhoai/",
    "/rhaiis/",
    "odh-vllm",
)
"""Images whose tag counts releases of somebody else, not the engine's."""
_STILL_ZERO: Final = frozenset({"vllm", "sglang"})
"""Engines without a release from 1.0 on."""
_VERSIONED: Final = frozenset({"vllm", "sglang", "tgi", "tensorrt-llm"})
"""Engines of which a tag of numbers is the release."""
_OWN: Final = ("vllm/vllm-openai", "lmsysorg/sglang")
"""Images whose entrypoint is the engine, or that have none."""
_VERSION: Final = re.compile(r"v?(\d\.\d+(?:\.\d+){0,2}(?:\.?(?:post|rc|dev)\d+)?)(?!\d|\.\d)")
_IN_NAME: Final = re.compile(
    r"(?:vllm|sglang|tgi)[_-]?v?(\d\.\d+(?:\.\d+){0,2}(?:\.?(?:post|rc|dev)\d+)?)(?!\d|\.\d)"
)
_DEEP: Final = re.compile(r"text-generation-inference-[a-z0-9]+\.(\d+)-(\d+)\.")
"""Google's containers of TGI have its release in their name: ``-cu124.2-3.ubuntu2204.py311``."""
_BUILD: Final = re.compile(r"(?:^|[-_])(b\d{3,6})(?:$|[-_])")


_NOT_LLMS: Final = (
    "embed",
    "rerank",
    "riva",
    "parakeet",
    "asr",
    "tts",
    "ocr",
    "nemoretriever",
    "clip",
    "sdxl",
    "flux",
    "stable-diffusion",
    "whisper",
    "canary",
    "page-elements",
    "table-structure",
    "graphic-elements",
    "openfold",
    "alphafold",
    "boltz",
    "diffdock",
    "proteinmpnn",
    "rfdiffusion",
    "msa-search",
    "evo2",
    "genmol",
    "molmim",
    "audio2face",
    "vista3d",
    "corrdiff",
    "fourcastnet",
)
"""Parts of the names of NIMs that serve no LLM but search, speech, pictures, molecules, weather."""
BY_PROFILE: Final = "split, precision and backend: the profile of the NIM chooses them"
"""What no manifest of a NIM says."""


@dataclass(frozen=True, slots=True)
class Image:
    """What an image's name says. engine, version: empty if it does not.

    why: why no version is read, in words; empty if one is. own: whether the engine's own makers
    publish it, so that nothing stands between its arguments and the engine.
    """

    engine: str
    version: str
    why: str = ""
    own: bool = False


def read_image(image: str) -> Image:
    """The engine and its version in an image's name."""
    name = image[:MAX_IMAGE].lower()
    repository, tag, digest = _parts(name)
    if _NO_SERVER.search("/".join(repository.split("/")[-2:]).removeprefix("llm-d-router/")):
        return Image("", "", "it serves no model itself")
    engine = next((engine for part, engine in _ENGINES if part in repository), "")
    if not engine:
        engine = next((engine for part, engine in _ENGINES if part in tag), "")
    if not engine:
        return Image("", "")
    version, own = _version(engine, repository, tag), repository.endswith(_OWN)
    if version:
        return Image(engine, version, own=own)
    if tag in ("latest", "nightly") or tag.startswith("nightly"):
        why = f"tag {tag} names no version"
    elif not tag:
        why = "a digest names no version" if digest else "it has no tag"
    else:
        why = f"tag {tag[:64]} names no version of the engine"
    return Image(engine, "", why, own)


def _parts(name: str) -> tuple[str, str, str]:
    """Repository, tag and digest."""
    name, _, digest = name.partition("@")
    head, sign, tag = name.rpartition(":")
    if not sign or "/" in tag:
        return name, "", digest
    return head, tag, digest


def _version(engine: str, repository: str, tag: str) -> str:
    if engine == "llama.cpp":
        build = _BUILD.search(tag)
        return build[1] if build else ""
    if engine not in _VERSIONED:
        return ""
    own = repository.rpartition("/")[2]
    deep = _DEEP.search(own) if engine == "tgi" else None
    named = _IN_NAME.search(tag) or _IN_NAME.search(own)
    if deep:
        return f"{deep[1]}.{deep[2]}"
    if named:
        return named[1]
    if any(part in repository for part in _OTHER_VERSIONS):
        return ""
    match = _VERSION.match(tag)
    if match is None or (engine in _STILL_ZERO and not match[1].startswith("0.")):
        return ""  # the release of an accelerator's own stack, as in vllm-gaudi:1.22.0
    return match[1]


def engine_named(text: str) -> str:
    """The engine that the name of a runtime, a backend or a format speaks of; empty if none."""
    lower = text[:MAX_IMAGE].lower()
    if "nim-" in lower or lower == "nim":
        return "nim"
    if lower in ("trt", "trtllm", "tensorrt", "tensorrt_llm"):
        return "tensorrt-llm"
    if "tgi" in lower.replace("_", "-").split("-"):
        return "tgi"
    return next((engine for part, engine in _ENGINES if part in lower), "")


def serves_llm(model: str) -> bool:
    """Whether the NIM of a name serves an LLM, and not search, speech or pictures."""
    return not any(word in model for word in _NOT_LLMS)


def model_of(repository: str) -> str:
    """The model in the name of a NIM: its last two parts; empty for the one that serves any."""
    parts = [part for part in _parts(repository[:MAX_IMAGE])[0].split("/") if part]
    if parts and parts[-1] == "llm-nim":
        return ""
    return "/".join(parts[-2:]) if len(parts) > 2 else "/".join(parts[-1:])
