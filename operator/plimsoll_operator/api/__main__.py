"""`python -m plimsoll_operator.api [DEPLOY [CHART]]` writes the generated YAML files.

It must hold no logic of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from plimsoll_operator.api.generate import write

if __name__ == "__main__":
    deploy, chart = (*sys.argv[1:], *("deploy", "charts/plimsoll")[len(sys.argv) - 1 :])
    for path in write(Path(deploy), Path(chart)):
        print(f"wrote {path}")
