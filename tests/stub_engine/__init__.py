"""An engine of the tests' own, in place of vLLM: ten gigabytes are not installed for a test.

`torch_package` and `vllm_package` are put where an engine is installed, as `torch` and `vllm`. The
harness runs whole over them: its GPU takes their tensors, its allocator holds them. What they give
is plain arithmetic over a config.json, and says nothing of what vLLM would do.
"""

from __future__ import annotations

import shutil
from pathlib import Path

VERSION = "0.33.0"


def installed(folder: Path) -> Path:
    """Both packages below a folder's site-packages, which is given back."""
    here, place = Path(__file__).parent, folder / "site-packages"
    for name in ("torch", "vllm"):
        (place / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(here / f"{name}_package.py", place / name / "__init__.py")
    return place
