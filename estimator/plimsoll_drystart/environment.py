"""The environment of an engine: a driver's library that says no, tools that do nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from plimsoll_drystart.elf import ALWAYS, SONAME, wanted, write_stub

MARK = "PLIMSOLL_DRYSTART_FOLDER"
"""Set in the process that has this environment; holds the folder of what was made for it."""

_SAID = {
    "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HUMMING_DISABLE_PARALLEL_BUILD": "1",
    "LOGNAME": "drystart",
    "NVIDIA_VISIBLE_DEVICES": "void",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCHDYNAMO_DISABLE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "USER": "drystart",
    "VLLM_DISABLE_PYNCCL": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "fork",
}
_TOOL = "#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.88'\n"
"""FlashInfer counts as usable where a compiler is found; the engine's images have one."""


def packages() -> Path:
    """The folder in which the engine is installed."""
    import importlib.util

    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            f"no torch, so no engine that can be dry started, is installed for {sys.executable}"
        )
    return Path(found.origin).parent.parent


def make(folder: Path) -> dict[str, str]:
    """Make that environment's files in a folder. Returns the variables of a process in it."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / SONAME
    if not library.exists():
        write_stub(library, wanted(packages()) | ALWAYS)
    tools = folder / "cuda" / "bin"
    tools.mkdir(parents=True, exist_ok=True)
    for name in ("nvcc", "ninja"):
        (tools / name).write_text(_TOOL, "utf-8")
        (tools / name).chmod(0o755)
    level = os.environ.get("VLLM_LOGGING_LEVEL", "ERROR")
    here = str(Path(__file__).parent.parent)
    paths = {
        "CUDA_HOME": tools.parent,
        "FLASHINFER_WORKSPACE_BASE": folder / "flashinfer",
        "HOME": folder / "home",
        "LD_LIBRARY_PATH": folder,
        "TORCHINDUCTOR_CACHE_DIR": folder / "inductor",
        "TRITON_CACHE_DIR": folder / "triton",
        "VLLM_CACHE_ROOT": folder / "vllm",
        "VLLM_CONFIG_ROOT": folder / "vllm",
        MARK: folder,
    }
    (folder / "home").mkdir(exist_ok=True)
    search = os.pathsep.join([str(tools), os.environ.get("PATH", "")])
    python = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    return (
        dict(os.environ)
        | _SAID
        | {key: str(value) for key, value in paths.items()}
        | {"PATH": search, "PYTHONPATH": python, "VLLM_LOGGING_LEVEL": level}
    )
