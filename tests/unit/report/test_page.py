"""Claims about the page of `plimsoll report` that need no browser: what it says and holds."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from commands import as_json, run
from page_tree import deployment, listing, nodes, overridden, pod, unknown
from plimsoll.report.page.changes import read
from plimsoll.report.page.objects import LINE, MOST_IN_FULL

if TYPE_CHECKING:
    from pathlib import Path


class Elements(HTMLParser):
    """Every element of a page with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of that name."""
        return [attributes for name, attributes in self.found if name == tag]


def page(folder: Path, items: list[dict[str, Any]], *options: object) -> str:
    """The page of these objects."""
    source = folder / "all.json"
    source.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": items}))
    return run("report", source, "--to", "-", *options).stdout


def words(page: str) -> str:
    """What a reader reads, in one line."""
    return re.sub(
        r"\s+", " ", Elements(re.sub(r"<(style|script).*?</\1>", "", page, flags=re.S)).text
    )


def figure(pattern: str, text: str) -> str:
    """What a pattern finds in a text."""
    found = re.search(pattern, text)
    assert found is not None, text
    return found[1]


REFUSED = deployment(9)
FITS = deployment(0)


def test_a_refused_object_stands_first_with_every_way_out_that_check_names(tmp_path: Path) -> None:
    said = page(tmp_path, [FITS, REFUSED])
    rows = [one for one in Elements(said).all("li") if one.get("data-k")]
    assert [one["class"] for one in rows] == ["over", "fits"]
    (refused,) = as_json("check", tmp_path / "all.json")["results"][1:]
    assert refused["decision"] == "deny"
    ways = [
        " and ".join(f"{c['path']}: {c['value']}" for c in way["changes"])
        for way in refused["alternatives"]
    ]
    assert len(ways) > 2
    text = words(said).replace('"', "")
    assert [way for way in ways if way not in text] == []
    assert "refused" in text
    assert "1 do not fit" not in text


def test_the_bar_is_cut_by_the_load_line_where_the_memory_that_may_be_used_ends(
    tmp_path: Path,
) -> None:
    said = page(tmp_path, [FITS, REFUSED])
    bars = [one for one in Elements(said).all("span") if one.get("class") == "bar"]
    styles = [one["style"] or "" for one in bars]
    assert "--o:" not in styles[0]  # to the end, which is not said
    ends = [100.0, float(figure(r"--o:([\d.]+)%", styles[1]))]
    results = as_json("check", tmp_path / "all.json")["results"]
    shares = [
        one["estimate"]["perGPU"]["required"] / one["estimate"]["perGPU"]["usable"]
        for one in results
    ]
    fits, refused = min(shares), max(shares)
    assert LINE * refused > 100
    assert ends[1] == pytest.approx(LINE * fits, abs=0.1)
    assert ends[1] < LINE < ends[0]


def refused(name: str) -> dict[str, Any]:
    """A refused object of that name."""
    one = deployment(9)
    one["metadata"] = {"name": name, "namespace": "chat"}
    return one


def test_beyond_the_first_refused_the_page_shows_one_way_out_and_says_where_the_rest_is(
    tmp_path: Path,
) -> None:
    said = page(tmp_path, [refused(f"llama-{n:02}") for n in range(MOST_IN_FULL + 2)])
    rows = re.findall(r"<li class=over.*", said)
    assert len(rows) == MOST_IN_FULL + 2
    assert all("Any one of these fits:" in row for row in rows[:MOST_IN_FULL])
    many = rows[0].count("<code>")
    for row in rows[MOST_IN_FULL:]:
        assert row.count("<code>") == 1
        assert f"One of {many} that fit:" in row
        assert re.search(r"the rest \d+\.\d</i>", row)
    assert "plimsoll check and plimsoll explain FILE have them all" in words(said)


def test_a_thousand_refused_objects_stay_under_a_megabyte(tmp_path: Path) -> None:
    said = page(tmp_path, [refused(f"llama-{n:03}") for n in range(MOST_IN_FULL + 2)])
    rows = [len(row.encode()) for row in re.findall(r"<li class=over.*\n", said)]
    around = len(said.encode()) - sum(rows)
    of_a_thousand = around + sum(rows[:MOST_IN_FULL]) + rows[-1] * (1000 - MOST_IN_FULL)
    assert of_a_thousand < 1_000_000


def test_the_terms_that_are_shown_add_up_to_the_need_that_is_shown(tmp_path: Path) -> None:
    text = words(page(tmp_path, [FITS]))
    need = float(figure(r"([\d.]+) GiB of", text))
    terms = re.sub(r"\(.*?\)", "", figure(r"(weights \d.*? leaves)", text))
    figures = re.findall(r" (\d+\.\d)(?= )", terms)
    assert sum(map(float, figures)) == pytest.approx(need)


def test_nothing_is_fetched_and_the_one_script_is_the_one_that_the_policy_names(
    tmp_path: Path,
) -> None:
    said = page(tmp_path, listing(12)["items"])
    found = Elements(said)
    addresses = [
        value
        for _, attributes in found.found
        for name, value in attributes.items()
        if name in ("src", "href", "action", "srcset", "data")
    ]
    assert addresses == ["data:,", "#objects"]
    assert "url(" not in said
    assert "@import" not in said
    (script,) = re.findall(r"<script>(.*?)</script>", said, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [m for m in found.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert f"script-src 'sha256-{digest}'" in (policy["content"] or "")
    assert "default-src 'none'" in (policy["content"] or "")


@pytest.mark.parametrize(
    "text", ['"><script>alert(1)</script>', "</style><img src=x>", "' onload=x "]
)
def test_no_text_of_a_manifest_becomes_part_of_the_page(tmp_path: Path, text: str) -> None:
    hostile = unknown(text)
    hostile["metadata"]["namespace"] = text
    hostile["spec"]["model"]["uri"] = f"hf://a/{text}"
    hostile["spec"]["engine"]["extraArgs"] = [text]
    plain = page(tmp_path, [unknown("plain")])
    said = page(tmp_path, [hostile])
    assert len(Elements(said).all("script")) == len(Elements(plain).all("script")) == 1
    assert Elements(said).all("img") == []
    assert {name for _, a in Elements(said).found for name in a if name.startswith("on")} == set()


def test_it_says_what_changed_since_another_page(tmp_path: Path) -> None:
    before = tmp_path / "before.html"
    grown = deployment(0)
    grown["spec"]["accelerator"]["gpusPerReplica"] = 2
    before.write_text(page(tmp_path, [grown, deployment(1), deployment(2)]))
    text = words(page(tmp_path, [FITS, deployment(2), REFUSED], "--since", before))
    assert "Changed 1 LLMDeployment chat/qwen2-5-7b-instruct-0" in text
    assert "2 × nvidia-l4 → 1 × nvidia-l4" in text
    assert "New 1 LLMDeployment support/llama-3-3-70b-instruct-0 does not fit, 2 × " in text
    assert "Gone 1 LLMDeployment chat/llama-3-1-8b-instruct-0 fits, 1 × nvidia-l40s" in text
    assert "1 object as before." in text


def test_a_page_since_which_nothing_changed_says_so(tmp_path: Path) -> None:
    before = tmp_path / "before.html"
    before.write_text(page(tmp_path, [FITS, REFUSED]))
    text = words(page(tmp_path, [FITS, REFUSED], "--since", before))
    assert "Nothing changed: 2 objects as before." in text


@pytest.mark.parametrize(
    "text", ["", "<html>", "<!doctype html><meta name=other>", "<![bad[", "\x00"]
)
def test_what_is_no_page_of_ours_is_none(text: str) -> None:
    assert read(text) is None


def test_a_page_to_compare_with_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text("<html>")
    (tmp_path / "a.json").write_text(json.dumps(FITS))
    told = run("report", tmp_path / "a.json", "--since", tmp_path / "other.html", "--to", "-")
    assert told.exit_code == 2
    assert "--since" in told.stderr
    assert "a page of `plimsoll report`" in told.stderr


def test_nodes_and_pods_of_a_listing_say_what_is_free_and_what_is_idle(tmp_path: Path) -> None:
    text = words(page(tmp_path, [deployment(2), *nodes()]))
    # 4 nodes of 8: one is not ready, and a pod holds 2 of another one's
    assert "nvidia.com/gpu.product=NVIDIA-A100-SXM4-80GB 4 32 8 not ready 22 16" in text
    assert "2 of 32 taken" in page(tmp_path, nodes())
    assert "8 of 24 taken" in page(tmp_path, nodes())


def test_without_pods_nobody_says_what_is_free(tmp_path: Path) -> None:
    only = [one for one in nodes() if one["kind"] == "Node"]
    text = words(page(tmp_path, [deployment(2), *only]))
    assert "No pods were read, so nobody knows what is free." in text
    assert "idle" not in text


def test_what_a_deployment_made_is_not_shown_beside_it(tmp_path: Path) -> None:
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.33.0",
        "args": ["--model=Qwen/Qwen2.5-7B-Instruct"],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    template = {"spec": {"containers": [container]}}
    whole = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": "a"},
        "spec": {"template": template},
    }
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "chat-1", "controller": True}
    made = pod("a", "chat-1-x", "n", 1) | template
    made["metadata"] = {"name": "chat-1-x", "namespace": "a", "ownerReferences": [owner]}
    rows = [one["data-k"] for one in Elements(page(tmp_path, [whole, made])).all("li")]
    assert rows == ["Deployment a/chat"]


def test_two_objects_of_one_name_are_told_apart(tmp_path: Path) -> None:
    keys = [one["data-k"] for one in Elements(page(tmp_path, [FITS, FITS])).all("li")]
    assert len(set(keys)) == 2


def test_what_cannot_be_read_is_on_the_page_and_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [")
    told = run("report", tmp_path / "broken.yaml", "--to", tmp_path / "p.html")
    assert told.exit_code == 2
    assert "broken.yaml" in words((tmp_path / "p.html").read_text())
    assert "Not read" in words((tmp_path / "p.html").read_text())


def test_a_folder_without_anything_makes_a_page_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "service.yaml").write_text("apiVersion: v1\nkind: Service\n")
    told = run("report", tmp_path, "--to", "-")
    assert told.exit_code == 0
    assert "Nothing that serves an LLM was found." in words(told.stdout)


@pytest.mark.sweep
def test_a_thousand_objects_stay_below_a_megabyte(tmp_path: Path) -> None:
    said = page(tmp_path, listing(1000)["items"])
    assert said.count("data-k=") == 1001
    assert len(said.encode()) < 1_000_000


def test_a_price_list_says_what_the_gpus_cost_an_hour(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        "source: https://example.com/prices\ndate: 2026-11-01\nprices: {nvidia-l4: 0.8}\n"
    )
    three = deployment(0)
    three["spec"]["replicas"] = 3
    text = words(page(tmp_path, [three, deployment(1)], "--prices", prices))
    assert "cost/hour" in text
    assert "nvidia-l4 1 3 2.40" in text
    assert "nvidia-l40s 1 2 –" in text


def test_an_override_is_shown_as_claimed_or_on_record_and_by_whom(tmp_path: Path) -> None:
    said = words(page(tmp_path, [overridden(9), overridden(19, recorded=True), overridden(0)]))
    claimed = "Overridden claimed by its annotation, on record nowhere here"
    recorded = "Overridden on record in its status since 2026-11-02T08:00:00Z; written by kubectl"
    assert said.count(claimed) == said.count(recorded) == 1
    assert said.count("who wrote it stands in the API server's audit log") == 1
    assert said.count("which user that was stands in the API server's audit log") == 1
    assert said.count("Reason: sized by hand") == 2, "what fits needs no override"
    assert len(re.findall(r"overridden \w+/llama", said)) == 2


def test_an_override_takes_no_refusal_off_the_count(tmp_path: Path) -> None:
    source = tmp_path / "one.json"
    source.write_text(json.dumps(overridden(9)))
    assert "1 object, 1 refused" in run("report", source, "--to", tmp_path / "p.html").stdout
    assert run("check", source).exit_code == 1
