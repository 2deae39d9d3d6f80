"""`python -m handbook` writes the pages of reference that changed."""

from __future__ import annotations

from handbook.pages import ROOT, pages


def main() -> None:
    """Write them, and say which."""
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
