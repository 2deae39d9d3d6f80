"""`python -m plimsoll_operator.api FOLDER` writes the generated YAML files into a folder.

It must hold no logic of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from plimsoll_operator.api.generate import write

if __name__ == "__main__":
    for path in write(Path(sys.argv[1] if len(sys.argv) > 1 else "deploy")):
        print(f"wrote {path}")
