"""docs/crd.md: every field of the kinds that Plimsoll defines, read off their definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from handbook.markdown import HEAD, plain, table
from plimsoll_operator.api.crd import crd, policy_crd, pool_crd

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENING: Final = """# The kinds and their fields

`kubectl explain llmd.spec` prints the same on a cluster. Of spec nothing has a default in the
definition: what is left out is worked out, and the status shows what came of it. What becomes of a
version is on [versions of the CRD](crd-versions.md).
"""
_LIMITS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} keys",
    "pattern": "matches `{}`",
    "format": "{}",
}


def page() -> str:
    """The page."""
    parts = [HEAD.format(source="the definitions"), OPENING]
    for made in (crd(), pool_crd(), policy_crd()):
        names, (version,) = made["spec"]["names"], made["spec"]["versions"]
        schema = version["schema"]["openAPIV3Schema"]
        short = ", ".join(f"`{one}`" for one in names.get("shortNames", ()))
        parts.append(f"\n## {names['kind']}\n\n")
        parts.append(
            f"`{made['spec']['group']}/{version['name']}`, {made['spec']['scope'].lower()}"
            + (f", short name {short}" if short else "")
            + f". {plain(schema.get('description', ''))}\n"
        )
        for top in ("spec", "status"):
            if top in schema["properties"]:
                parts += _blocks(names["kind"], top, schema["properties"][top])
        columns = [
            (f"`{one['name']}`", f"`{one['jsonPath']}`", "`-o wide`" if one.get("priority") else "")
            for one in version.get("additionalPrinterColumns", ())
        ]
        if columns:
            parts.append(f"\n### {names['kind']}: columns of `kubectl get`\n\n")
            parts.append(table(("column", "from", "shown with"), columns))
    return "".join(parts)


def _blocks(kind: str, top: str, schema: dict[str, Any]) -> Iterator[str]:
    """A section for the fields right below spec or status, and one for each that has its own."""
    own = {n: s for n, s in schema.get("properties", {}).items() if not _nested(s)}
    yield f"\n### {kind}: {top}\n\n"
    if schema.get("description"):
        yield plain(schema["description"]) + "\n\n"
    yield from _told(list(_rows(top, {**schema, "properties": own})))
    yield from _rules(schema)
    for name, inner in schema.get("properties", {}).items():
        if _nested(inner):
            yield f"\n### {kind}: {top}.{name}\n\n"
            if inner.get("description"):
                yield plain(inner["description"]) + "\n\n"
            where = f"{top}.{name}" + ("[]" if inner.get("type") == "array" else "")
            yield from _told(list(_rows(where, inner.get("items", inner))))
            yield from _rules(inner)


def _told(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    if rows:
        yield table(("field", "type", "what it is"), rows)


def _nested(schema: dict[str, Any]) -> bool:
    return "properties" in schema or "properties" in schema.get("items", {})


def _rows(where: str, schema: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        path = f"{where}.{name}"
        told = plain(inner.get("description", ""))
        told += "".join(f" {limit}." for limit in _limits(inner, name in required))
        yield f"`{path}`", _type(inner), told.strip()
        below = inner.get("items", inner)
        if "properties" in below:
            yield from _rows(path + ("[]" if "items" in inner else ""), below)


def _type(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema['items'])}s"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}s"
    return str(kind)


def _limits(schema: dict[str, Any], required: bool) -> Iterator[str]:
    if required:
        yield "Required"
    if "enum" in schema:
        yield "One of " + ", ".join(f"`{one}`" for one in schema["enum"])
    said = [(words, schema[key]) for key, words in _LIMITS.items() if key in schema]
    said += [(w, schema["items"][k]) for k, w in _LIMITS.items() if k in schema.get("items", {})]
    for words, value in said:
        text = words.format(str(value).replace("|", "\\|"))
        yield text[0].upper() + text[1:]
    if "default" in schema:
        yield f"Default: `{schema['default']}`"


def _rules(schema: dict[str, Any]) -> Iterator[str]:
    rules = schema.get("x-kubernetes-validations", ())
    if rules:
        yield "\nHeld by the API server, between fields:\n\n"
    for rule in rules:
        where = f"`{rule['fieldPath']}` " if "fieldPath" in rule else ""
        yield f"- {where}{plain(rule['message'])}\n"
