"""``make accuracy``: write docs/accuracy.md, its pictures and the golden cases again."""

from __future__ import annotations

from accuracy.cases import GOLDEN, golden
from accuracy.data import scored
from accuracy.page import PAGE, TITLES, page
from accuracy.pictures import FOLDER, draw
from accuracy.words import percent
from plimsoll.measured.score import points_of, summary

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), "utf-8")
    for name, text in draw().items():
        (FOLDER / name).write_text(text, "utf-8")
    GOLDEN.write_text(golden(), "utf-8")
    for term, title in TITLES.items():
        found = summary(points_of(scored(), term))
        print(f"{title}: {found.n} rows, median error {percent(found.median_pct)}")
    print(f"written: {PAGE}, {FOLDER}, {GOLDEN}")
