"""`python -m gitops` writes the files for Argo CD that changed."""

from __future__ import annotations

from gitops.files import FOLDER, files


def main() -> None:
    """Write them, and say which."""
    for path, text in files().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(FOLDER.parents[1])}")


if __name__ == "__main__":
    main()
