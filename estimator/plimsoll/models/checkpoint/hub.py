"""Reads the headers of checkpoints on a Hugging Face hub: metadata and headers, never the tensors.

It must not be called unless a source on the hub was asked for, and it must not keep a way of its
own to reach it: endpoint (``HF_ENDPOINT``), token (``HF_TOKEN``), proxies, offline mode
(``HF_HUB_OFFLINE``) and cache (``HF_HOME``) are those of ``huggingface_hub``.

    config, index   its cache, as every other program there fills it
    headers         range requests; kept by commit among its cached assets, for the next time and
                    for offline use; of a file that is in the cache already, read from there
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from plimsoll.errors import Invalid, Problem, Unreadable, shown
from plimsoll.models.checkpoint import gguf
from plimsoll.models.checkpoint.safetensors import (
    CONFIG,
    INDEX,
    MAX_INDEX,
    QUANT,
    SINGLE,
    Header,
    chosen,
    document,
    json_object,
    merged,
    parse_header,
    read_header,
    weight_map,
)
from plimsoll.models.files import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")

_AT_ONCE: Final = 8
"""Headers that are fetched at the same time."""
_PATH: Final = "MODEL"
_TIMEOUT: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Repository:
    """A repository at a commit. names: of its files, as far as they are known."""

    id: str
    commit: str
    names: tuple[str, ...]
    offline: bool


def read(name: str, revision: str = "") -> Checkpoint:
    """The headers of a repository (``owner/name``) at a revision (empty: its main branch).

    Raises `Invalid` with the next step if it is not to be had, `Unreadable` for bad files.
    """
    return _asked(name, revision, lambda: _read(name, revision))


def read_gguf(name: str, file: str, revision: str = "") -> gguf.GGUF:
    """The header of a GGUF file in a repository; of all its parts, if it has several.

    Raises `Invalid` with the next step if it is not to be had, `Unreadable` for a bad file.
    """
    return _asked(name, revision, lambda: _read_gguf(name, file, revision))


def _asked(name: str, revision: str, ask: Callable[[], T]) -> T:
    """What `ask` brings, its errors as problems with a next step."""
    try:
        from huggingface_hub import constants, errors
    except ImportError:
        raise Invalid(
            Problem(
                _PATH,
                shown(f"hf://{name}"),
                "the package huggingface_hub, to read from a hub",
                "pip install 'plimsoll-gpu[hub]', or huggingface_hub beside it",
            )
        ) from None

    at = f"hf://{name}" + (f"@{revision}" if revision else "")

    def problem(wanted: str, fix: str) -> Invalid:
        return Invalid(Problem(_PATH, shown(at), wanted, fix))

    try:
        return ask()
    except errors.GatedRepoError:
        raise problem(
            "a repository that your token may read: this one is gated",
            f"accept its terms at {constants.ENDPOINT}/{name} and set HF_TOKEN",
        ) from None
    except errors.RepositoryNotFoundError:
        raise problem(
            f"a repository on {constants.ENDPOINT}",
            "check the name; for a private one set HF_TOKEN",
        ) from None
    except errors.RevisionNotFoundError:
        raise problem(
            "a branch, tag or commit of that repository", "check what is after the @"
        ) from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise problem(
            "a repository in the cache: the hub is offline or cannot be reached",
            "unset HF_HUB_OFFLINE, set HF_ENDPOINT to a mirror that can be reached, or give a "
            "local folder",
        ) from None
    except errors.EntryNotFoundError as error:
        raise problem(
            "a repository with that file", f"check the name of the file ({_first_line(error)})"
        ) from None
    except errors.HFValidationError as error:
        raise problem("hf://owner/name", _first_line(error)) from None
    except errors.SafetensorsParsingError as error:
        raise Unreadable(at, f"a repository of safetensors files ({_first_line(error)})") from None
    except _failures() as error:
        raise problem(
            f"an answer from {constants.ENDPOINT} ({_first_line(error)})",
            "check the network and HF_ENDPOINT, or give a local folder",
        ) from None


def _failures() -> tuple[type[Exception], ...]:
    """What its HTTP client raises, whichever client its version is built on."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception))


def _first_line(error: BaseException) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return shown(text)[1:-1]


def _repository(name: str, revision: str) -> _Repository:
    """The repository as the hub has it, else as the cache does."""
    from huggingface_hub import HfApi, errors

    api = HfApi()
    try:
        info = api.model_info(name, revision=revision or None, timeout=_TIMEOUT)
    except errors.HfHubHTTPError as error:
        if error.response is not None and error.response.status_code < 500:
            raise
        return _cached(name, revision, error)
    except _failures() as error:
        return _cached(name, revision, error)
    names = tuple(sibling.rfilename for sibling in info.siblings or ())
    commit = info.sha or revision or "main"
    _keep(_reference(name, revision), commit.encode())
    return _Repository(name, commit, names, offline=False)


def _cached(name: str, revision: str, error: Exception) -> _Repository:
    """The repository in the cache. Raises the error that led here if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    commit = _reference(name, revision)
    commits = [commit.read_text().strip()] if commit.is_file() else []
    for wanted in (revision or None, *commits):
        for file in (CONFIG, INDEX, SINGLE):
            found = try_to_load_from_cache(name, file, revision=wanted)
            if not isinstance(found, str):
                continue
            snapshot = Path(found).parent
            below = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*")]
            kept = _kept(name, snapshot.name).glob("*.safetensors.json")
            names = [*below, *(path.name.removesuffix(".json") for path in kept)]
            return _Repository(name, snapshot.name, tuple(dict.fromkeys(names)), offline=True)
    raise error


def _reference(name: str, revision: str) -> Path:
    """Where it is kept which commit a branch or tag last was."""
    return _kept(name, "refs") / (revision or "main").replace("/", "--")


def _kept(name: str, commit: str) -> Path:
    """Where headers of a commit are kept."""
    from huggingface_hub import cached_assets_path

    return Path(cached_assets_path("plimsoll", namespace=name, subfolder=commit))


def _read(name: str, revision: str) -> Checkpoint:
    notes: list[str] = []
    repository = _repository(name, revision)
    listed: dict[str, str] = {}
    total: object = None
    if INDEX in repository.names:
        index = json_object(_file(repository, INDEX).read_bytes()[: MAX_INDEX + 1], INDEX)
        listed = weight_map(index, INDEX)
        metadata = index.get("metadata")
        total = metadata.get("total_size") if isinstance(metadata, dict) else None
        files = sorted(set(listed.values()))
    else:
        _not_gguf_alone(repository)
        files = chosen((n for n in repository.names if "/" not in n), f"hf://{name}", notes)
    folders = {
        n.partition("/")[0] for n in repository.names if n.endswith(".safetensors") and "/" in n
    } - {f.partition("/")[0] for f in files}
    if folders:
        notes.append(
            f"passed over {', '.join(f'{f}/' for f in sorted(folders)[:4])}: the same "
            "weights in another form"
        )
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        headers = dict(
            zip(files, pool.map(lambda f: _header(repository, f, notes), files), strict=True)
        )
    if repository.offline:
        notes.append("read from the cache: the hub is offline or cannot be reached")
    tensors = merged(headers, listed, total, notes)
    return Checkpoint(
        name,
        f"hf://{name}@{repository.commit}",
        tensors,
        _document(repository, CONFIG),
        _document(repository, QUANT),
        tuple(notes),
    )


def _not_gguf_alone(repository: _Repository) -> None:
    """Raises `Invalid` for a repository of GGUF files alone: which one is meant nobody can say."""
    files = sorted(n for n in repository.names if n.endswith(".gguf"))
    if files and not any(n.endswith(".safetensors") for n in repository.names):
        raise Invalid(
            Problem(
                _PATH,
                shown(f"hf://{repository.id}"),
                "one of its GGUF files",
                f"name it: hf://{repository.id}/{files[0]} ({len(files)} files)",
            )
        )


def _file(repository: _Repository, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(
        hf_hub_download(
            repository.id, file, revision=repository.commit, local_files_only=repository.offline
        )
    )


def _document(repository: _Repository, file: str) -> dict[str, Any] | None:
    return document(_file(repository, file)) if file in repository.names else None


def _header(repository: _Repository, file: str, notes: list[str]) -> Header:
    """One file's header: out of the cache, else by a range request."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    path = try_to_load_from_cache(repository.id, file, revision=repository.commit)
    if isinstance(path, str):
        return read_header(Path(path), notes)
    kept = _kept(repository.id, repository.commit) / f"{file.replace('/', '--')}.json"
    if kept.is_file():
        return parse_header(kept.read_bytes(), str(kept))
    if repository.offline:
        from huggingface_hub.errors import LocalEntryNotFoundError

        raise LocalEntryNotFoundError(f"{file} is not in the cache")
    parsed = HfApi().parse_safetensors_file_metadata(
        repository.id, file, revision=repository.commit, timeout=_TIMEOUT
    )
    data = json.dumps(
        {
            name: {"dtype": t.dtype, "shape": t.shape, "data_offsets": t.data_offsets}
            for name, t in parsed.tensors.items()
        }
    ).encode()
    header = parse_header(data, f"hf://{repository.id}/{file}")
    _keep(kept, data)
    return header


def _keep(path: Path, data: bytes) -> None:
    """Write a header among the cached assets, whole or not at all; a full disk is no error."""
    part = path.with_suffix(".part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)


def _read_gguf(name: str, file: str, revision: str) -> gguf.GGUF:
    from huggingface_hub import (
        get_session,
        get_token,
        hf_hub_url,
        hf_raise_for_status,
        try_to_load_from_cache,
    )

    def one(part: str) -> gguf.GGUF:
        path = try_to_load_from_cache(name, part, revision=revision or None)
        if isinstance(path, str):
            return gguf.read_file(Path(path))

        def fetch(size: int) -> bytes:
            headers = {"range": f"bytes=0-{size - 1}"}
            if token := get_token():
                headers["authorization"] = f"Bearer {token}"
            url = hf_hub_url(name, part, revision=revision or None)
            answer = get_session().get(
                url, headers=headers, timeout=_TIMEOUT, follow_redirects=True
            )
            hf_raise_for_status(answer)
            return bytes(answer.content[:size])

        return gguf.parse(fetch, part)

    parts = gguf.parts_of(file)
    return gguf.joined([one(part) for part in parts], file)
