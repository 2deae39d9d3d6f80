"""The catalogue: models by Hugging Face id, each parsed when it is first asked for and kept.

Nothing is fetched: what is not in the data files is unknown. Models and their configs are in
data/catalogue.json; copies of them that others quantized, of which a source tells the id and the
word for how they are stored, in data/copies.json.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from plimsoll.models.architecture import Architecture

MAX_ID: Final = 256
"""Characters of an id that are looked at."""


_SIZE: Final = re.compile(r"(?<![\d.])\d+(?:\.\d+)?b(?![a-z])")
_ACTIVE: Final = re.compile(r"a\d+(?:\.\d+)?b")
_FAMILY: Final = re.compile(r"^(?:meta-)?([a-z]+)-?(\d+(?:\.\d+)?)(?![\d.]*[bx])")


def sizes(name: str) -> frozenset[str]:
    """The sizes in a name: 7b of Qwen2.5-7B; 30b of Qwen3-30B-A3B, whose a3b is no size."""
    return frozenset(_SIZE.findall(_ACTIVE.sub("", name.lower())))


def _another(short: str, wanted: str) -> bool:
    """Whether a name is of another size, or of another version of the same family."""
    if sizes(wanted) and sizes(short) != sizes(wanted):
        return True
    one, other = _FAMILY.match(short), _FAMILY.match(wanted)
    return bool(one and other and one[1] == other[1] and one[2] != other[2])


_TEXT: Final = "text_config"
"""The section of a config of which an entry says its own fields alone."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One model of the catalogue; the line that describes it is parsed when it is asked for.

    id: its Hugging Face id. aliases: other ids of models whose config is the same.
    own: fields of its config that are not those in the line, which is then the line of a model of
    the same structure: another context, or another quantization.
    word: how it is stored, if only that word is known; of: the id of the model that it is a copy of
    then, and seen: where, if not where the line says.
    """

    id: str
    aliases: tuple[str, ...]
    line: bytes
    own: Mapping[str, Any] = field(default_factory=dict)
    word: str = ""
    of: str = ""
    seen: str = ""

    @cached_property
    def _row(self) -> dict[str, Any]:
        row: dict[str, Any] = json.loads(self.line)
        return row

    @property
    def config(self) -> Mapping[str, Any]:
        """The structural fields of its config.json."""
        fields: Mapping[str, Any] = self._row["config"]
        own = dict(self.own)
        if _TEXT in own:
            own[_TEXT] = {**fields[_TEXT], **own[_TEXT]}
        return {**fields, **own}

    @property
    def quant(self) -> Mapping[str, Any] | None:
        """Those of its hf_quant_config.json, if there is one."""
        return self._row.get("quant")

    @property
    def source(self) -> str:
        """Where they were seen."""
        return self.seen or str(self._row["source"])

    @cached_property
    def digest(self) -> str:
        """Short hash of what its structure is made from."""
        text = json.dumps([self.config, self.quant], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def of_its_maker(self) -> bool:
        """Whether its owner is that of the model whose config was seen first."""
        return self.id.partition("/")[0] == str(self._row["id"]).partition("/")[0]

    @cached_property
    def architecture(self) -> Architecture:
        """The model's structure, parsed once."""
        from plimsoll.models.config import architecture

        return architecture(self.config, self.quant)

    def profile(self) -> dict[str, Any]:
        """The compact profile that `plimsoll models export` writes."""
        from plimsoll.models.checkpoint.profile import profile

        return profile(self.config, self.quant, name=self.id)


class ModelCatalogue:
    """All entries, found by id or alias in any case."""

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self._entries = entries
        self._by_name = {
            name.lower(): entry for entry in entries for name in (*entry.aliases, entry.id)
        }
        self._names = tuple(self._by_name)
        self._short: dict[str, list[str]] = {}
        for name in self._names:
            self._short.setdefault(name.rpartition("/")[2], []).append(name)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, name: str) -> Entry | None:
        """The entry of that id or alias, in any case; None if there is none."""
        return self._by_name.get(name.strip().lower()) if len(name) <= MAX_ID else None

    def named(self, short: str) -> Entry | None:
        """The entry whose id ends in that name, of whichever owner; None if several differ.

        Of several that are alike that of the maker; one whose config is known goes before a copy
        that only its name describes.
        """
        found = {
            id(entry): entry
            for name in self._short.get(short.strip().lower(), ())
            if (entry := self._by_name[name])
        }
        entries = list(found.values())
        entries = [entry for entry in entries if not entry.word] or entries
        if len(entries) > 1 and len({one.digest for one in entries}) > 1:
            return None
        return min(entries, key=lambda one: not one.of_its_maker) if entries else None

    @cached_property
    def _own_names(self) -> list[tuple[str, int]]:
        """The names of those that are no copies, without their owners, in order; each with its
        place."""
        places = enumerate(self._entries)
        return sorted((one.id.lower().rpartition("/")[2], i) for i, one in places if not one.of)

    @cached_property
    def _copies_of(self) -> dict[str, list[int]]:
        """The places of the copies of each model, by its id."""
        found: dict[str, list[int]] = {}
        for place, entry in enumerate(self._entries):
            if entry.of:
                found.setdefault(entry.of, []).append(place)
        return found

    def alike(self, entry: Entry, short: str) -> list[Entry]:
        """The copies of an entry and those whose name begins with a name, in their order."""
        names = self._own_names
        first = bisect_left(names, (short, 0))
        begun = takewhile(lambda one: one[0].startswith(short), islice(names, first, None))
        places = sorted((*(place for _, place in begun), *self._copies_of.get(entry.id, ())))
        return [self._entries[place] for place in places]

    def suggest(self, name: str, n: int = 3) -> tuple[str, ...]:
        """Ids near an unknown one: the same name of another owner first, then similar names.

        None is of another size, or of another version of the family.
        """
        wanted = name[:MAX_ID].strip().lower()
        short = wanted.rpartition("/")[2]
        if not short:
            return ()
        same = self._short.get(short, [])
        pool = [s for s in self._short if abs(len(s) - len(short)) <= 8 and s[:2] == short[:2]]
        pool = [s for s in pool if not _another(s, short)]
        near = difflib.get_close_matches(short[:64], pool, n=n, cutoff=0.72)
        names = [*same, *(full for s in near if s != short for full in self._short[s])]
        owner = wanted.rpartition("/")[0]
        names.sort(key=lambda found: (found not in same, found.rpartition("/")[0] != owner))
        return tuple(dict.fromkeys(self._spelt(found) for found in names))[:n]

    def _spelt(self, lower: str) -> str:
        entry = self._by_name[lower]
        return next(known for known in (entry.id, *entry.aliases) if known.lower() == lower)


@cache
def load() -> ModelCatalogue:
    """The catalogue, read once: one model a line, of which only the names are parsed."""
    text = (Path(__file__).parent / "data" / "catalogue.json").read_bytes()
    entries: list[Entry] = []
    for line in (line.rstrip(b",") for line in text.splitlines()[1:-1]):
        names = json.loads(line.partition(b',"config":')[0] + b"}")
        entries.append(Entry(names["id"], tuple(names.get("aliases", ())), line))
        entries += [Entry(n, (), line, fields) for n, fields in names.get("variants", {}).items()]
    return ModelCatalogue((*entries, *_copies({entry.id: entry for entry in entries})))


def _copies(models: Mapping[str, Entry]) -> Iterator[Entry]:
    """The quantized copies of models of the catalogue."""
    made = json.loads((Path(__file__).parent / "data" / "copies.json").read_bytes())
    stored, sources = made["stored"], made["sources"]
    for base, copies in made["copies"].items():
        model = models[base]
        for name, (word, source) in copies.items():
            own = {**model.own, **stored[word]}
            yield Entry(name, (), model.line, own, word, base, sources[source])
