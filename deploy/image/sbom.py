"""Write the SPDX list of what is in the image: Python distributions, and the base's packages.

It must not guess: what carries no version or licence is listed as NOASSERTION.

Run in the build stage: python sbom.py --site SITE --dpkg DPKG --version VERSION > sbom.spdx.json
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from datetime import UTC, datetime
from email.parser import HeaderParser
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from license_expression import ExpressionError, get_spdx_licensing
from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
from spdx_tools.spdx.model import (
    Actor,
    ActorType,
    CreationInfo,
    Document,
    ExternalPackageRef,
    ExternalPackageRefCategory,
    Package,
    Relationship,
    RelationshipType,
    SpdxNoAssertion,
)
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from spdx_tools.spdx.writer.json.json_writer import write_document_to_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

HOME = "https://plimsoll.dev"
IMAGE = "SPDXRef-image"


def main() -> None:
    """Read the folders that the flags name; the document goes to standard output."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--site", type=Path, required=True, help="where the wheels are installed")
    flags.add_argument("--dpkg", type=Path, help="/var/lib/dpkg of the base image")
    flags.add_argument("--version", required=True, help="of Plimsoll")
    given = flags.parse_args()
    found = [*_python(given.site), *(_debian(given.dpkg) if given.dpkg else ())]
    document = _document(given.version, found)
    problems = validate_full_spdx_document(document)
    if problems:
        sys.exit("\n".join(problem.validation_message for problem in problems))
    write_document_to_stream(document, sys.stdout, validate=False, converter=DocumentConverter())


def _document(version: str, found: list[Package]) -> Document:
    """The image and what it contains. SOURCE_DATE_EPOCH dates it."""
    when = int(os.environ.get("SOURCE_DATE_EPOCH") or datetime.now(UTC).timestamp())
    listing = ",".join(sorted(f"{p.name}={p.version}" for p in found))
    info = CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id="SPDXRef-DOCUMENT",
        name=f"plimsoll-{version}",
        document_namespace=f"{HOME}/spdx/{uuid5(NAMESPACE_URL, version + listing)}",
        creators=[Actor(ActorType.TOOL, "spdx-tools")],
        created=datetime.fromtimestamp(when, UTC).replace(tzinfo=None),
        data_license="CC0-1.0",
    )
    image = _package(IMAGE, "plimsoll-image", version, "", "")
    contains = [Relationship(IMAGE, RelationshipType.CONTAINS, p.spdx_id) for p in found]
    describes = Relationship("SPDXRef-DOCUMENT", RelationshipType.DESCRIBES, IMAGE)
    return Document(info, packages=[image, *found], relationships=[describes, *contains])


def _python(site: Path) -> Iterator[Package]:
    """Every distribution that is installed in a folder."""
    for own in sorted(distributions(path=[str(site)]), key=lambda d: d.name.lower()):
        canonical = re.sub(r"[-_.]+", "-", own.name).lower()
        purl = f"pkg:pypi/{canonical}@{quote(own.version)}"
        yield _package(f"SPDXRef-pypi-{own.name}", own.name, own.version, _licence(own), purl)


def _licence(own: Distribution) -> str:
    """An SPDX expression, where the distribution states one that is valid."""
    for field in ("License-Expression", "License"):
        stated = own.metadata.get(field) or ""
        if stated and len(stated) < 100:
            return stated
    return ""


def _debian(folder: Path) -> Iterator[Package]:
    """Every package that dpkg lists: in one status file, or one a package (distroless)."""
    parts = sorted(folder.glob("status.d/*"))
    texts = [p.read_text("utf-8", "replace") for p in parts if p.suffix != ".md5sums"]
    status = folder / "status"
    if status.exists():
        texts += status.read_text("utf-8", "replace").split("\n\n")
    for text in texts:
        fields = HeaderParser().parsestr(text)
        name, version = fields.get("Package"), fields.get("Version")
        if name and version:
            arch = fields.get("Architecture") or ""
            purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={quote(arch)}"
            yield _package(f"SPDXRef-deb-{name}", name, version, "", purl)


def _package(ref: str, name: str, version: str, licence: str, purl: str) -> Package:
    try:
        declared = get_spdx_licensing().parse(licence, validate=True) if licence else None
    except ExpressionError:
        declared = None
    references = []
    if purl:
        references.append(
            ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", purl)
        )
    return Package(
        spdx_id=re.sub(r"[^A-Za-z0-9.-]", "-", ref),
        name=name,
        version=version,
        download_location=SpdxNoAssertion(),
        files_analyzed=False,
        license_declared=SpdxNoAssertion() if declared is None else declared,
        external_references=references,
    )


if __name__ == "__main__":
    main()
