"""`python -m chart` writes what is made from the chart: files under deploy/, and its README.

It must hold no logic of its own.
"""

from __future__ import annotations

from chart import deploy
from chart.helm import ROOT
from chart.readme import readme


def main() -> None:
    """Write the files that changed, and say which; resources first, for the rest reads them."""
    for make in (deploy.resources, lambda: dict([deploy.one_file()]), lambda: dict([readme()])):
        for path, text in make().items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
                print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
