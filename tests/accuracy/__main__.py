"""``make accuracy``: write docs/accuracy.md and tests/golden/estimates.json anew."""

from __future__ import annotations

from accuracy.report import GOLDEN, PAGE, golden, left_for_cache, page, tokens, weights

if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), "utf-8")
    GOLDEN.write_text(golden(), "utf-8")
    for part in (weights(), tokens(), left_for_cache()):
        print(f"{part.name}: {len(part.points)} rows, median error {part.median:.2%}")
    print(f"written: {PAGE}, {GOLDEN}")
