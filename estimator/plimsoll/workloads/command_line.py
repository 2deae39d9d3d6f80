"""From the command, arguments and environment of a container to the engine's own arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from plimsoll.errors import clean
from plimsoll.workloads import shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

MAX_WORDS: Final = 2_000
"""Words of a command that are looked at."""
MAX_DEPTH: Final = 4
"""Scripts that start scripts."""

_REFERENCE: Final = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")
_SHELLS: Final = frozenset({"sh", "bash", "ash", "dash", "zsh"})
_MODULES: Final = {
    "vllm.entrypoints.openai.api_server": "vllm",
    "vllm.entrypoints.api_server": "vllm",
    "vllm.entrypoints.openai.run_batch": "vllm",
    "vllm.entrypoints.grpc_server": "vllm",
    "vllm_router.launch": "",
    "dynamo.vllm": "vllm",
    "dynamo.sglang": "sglang",
    "dynamo.trtllm": "tensorrt-llm",
    "sglang.launch_server": "sglang",
    "sglang.srt.entrypoints.http_server": "sglang",
    "huggingfaceserver": "vllm",
    "llama_cpp.server": "llama.cpp",
    "tensorrt_llm.commands.serve": "tensorrt-llm",
}
"""Modules that Python runs as a server, with the engine in them."""
SWAP: Final = "llama-swap"
"""Starts and stops llama-server for one model after another, as its configuration says."""
_PROGRAMS: Final = {
    "text-generation-launcher": "tgi",
    "llama-server": "llama.cpp",
    "llamacpp-leader": "llama.cpp",
    "llamafile": "llama.cpp",
    "trtllm-serve": "tensorrt-llm",
}
"""Programs that are a server, with the engine in them."""
_BY_NAME_ALONE: Final = {
    "koboldcpp": "koboldcpp",
    "local-ai": "localai",
    "xinference-local": "xinference",
    SWAP: SWAP,
}
"""Programs that are a server whose arguments nobody reads here."""
_TWO_WORDS: Final = {
    ("vllm", "serve"): "vllm",
    ("vllm", "run-batch"): "vllm",
    ("sglang", "serve"): "sglang",
    ("ollama", "serve"): "ollama",
    ("ollama", "run"): "ollama",
    ("lmdeploy", "serve"): "lmdeploy",
    ("vllm.entrypoints.cli.main", "serve"): "vllm",
    ("aphrodite", "run"): "aphrodite",
    ("litgpt", "serve"): "litgpt",
    ("llamafactory-cli", "api"): "llamafactory",
    ("mlc_llm", "serve"): "mlc-llm",
    ("swift", "deploy"): "ms-swift",
    ("tabby", "serve"): "tabby",
    ("text-generation-server", "serve"): "text-generation-server",
}
"""Programs that are a server with a first word of theirs; those whose arguments nobody reads here
are known by name."""
_LOADING: Final = frozenset({"latency", "throughput", "startup"})
"""What ``vllm bench`` measures on a model that it loads itself, by the server's own arguments; its
``serve`` asks a server (vllm/benchmarks/*.py)."""
_NAMED: Final = re.compile(
    r"(?<![\w.-])(?P<printed>(?<=echo ))?"
    r"(?P<first>vllm|sglang|ollama|lmdeploy)\b\W{1,4}(?P<second>serve)\b|"
    + "|".join(map(re.escape, (*filter(_MODULES.get, _MODULES), *_PROGRAMS)))
)
"""A server that is named in a text, however it is quoted there (``'vllm', 'serve'``)."""
_KEPT_TEXT: Final = re.compile(r"[^\n;&]*(?:(?<!\|)\|(?!\|)|>(?!\s*(?:[&>]|/dev/(?:null|std))))")
"""The rest of what ``echo`` prints, where it goes into a pipe or a file and not to people."""
_SERVING: Final = re.compile(
    r"(?<![\w-])--(?:tensor[-_]parallel[-_]size|tp[-_]size|max[-_]model[-_]len"
    r"|gpu[-_]memory[-_]utilization|mem[-_]fraction[-_]static|kv[-_]cache[-_]dtype|gguf[-_]path"
    r"|ctx[-_]size|n[-_]gpu[-_]layers|triton_model_repo_dir)(?![\w-])"
)
"""Flags by which engines are told how an LLM is to lie on GPUs, and hardly anything else."""
AN_ENGINE: Final = "an engine"
"""Stands for the engine of a command that takes such flags, whichever it is."""
_TRITON: Final = "scripts/launch_triton_server.py"
_FILES: Final = {
    "vllm/entrypoints/openai/api_server.py": "vllm",
    "sglang/launch_server.py": "sglang",
    _TRITON: "tensorrt-llm",
}
"""Scripts of their projects that are a server, with the engine in them."""
_OF_WRAPPERS: Final = frozenset(
    {
        "--disaggregation-mode",
        "--disaggregation-strategy",
        "--is-prefill-worker",
        "--is-decode-worker",
        "--connector",
        "--endpoint",
        "--enable-multimodal",
        "--model_repo",
    }
)
"""Flags of Dynamo's workers and of Triton's script that no engine gets (``--world_size`` is the
product of tensor and pipeline there, and the engine was built for it)."""
_SCRIPT: Final = re.compile(r"(?:^|/)[\w.-]+\.(?:sh|py|bash)$|^/[\w./-]*entrypoint[\w.-]*$")
_UNTOLD: Final = re.compile(r"^\$[({]?[A-Za-z_@]")


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command. path: where the object keeps it."""

    text: str
    path: str


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started. engine: which one; words: its arguments; environment: its own.

    certain: whether it is sure that this command is the one that runs.
    script: the path of a script that is run and is not at hand, which may start a server.
    choices: see `plimsoll.workloads.shell.Command`.
    left: what of the command was not read, in words; empty if all of it was.
    """

    engine: str
    words: tuple[Word, ...]
    environment: Mapping[str, str]
    certain: bool = True
    script: str = ""
    choices: shell.Choices = field(default_factory=dict)
    left: str = ""


def substituted(text: str, environment: Mapping[str, str]) -> str:
    """A text with the variables that the kubelet fills in, ``$(NAME)``, filled in."""
    return _REFERENCE.sub(
        lambda match: "$" if match[0] == "$$" else environment.get(match[1], match[0]), text
    )[: shell.MAX_SCRIPT]


def launch(
    command: Sequence[Word],
    arguments: Sequence[Word],
    environment: Mapping[str, str],
    engine: str,
    text_of: Callable[[str], str | None],
    *,
    suspected: bool = False,
) -> Launch | None:
    """The server that a container starts; None if it starts none.

    engine: what the image is known to hold, empty if nothing is known.
    text_of: the text of a script that the container mounts; None if it is not at hand.
    suspected: whether the container has GPUs, so that it may start a server although nobody can see
    where: then one that its text names counts, and flags that an engine takes.
    """
    said = [Word(substituted(w.text, environment), w.path) for w in (*command, *arguments)]
    words = said[:MAX_WORDS]
    found = _search(words, environment, text_of, MAX_DEPTH)
    further = f"what follows word {MAX_WORDS:,} of its command" if len(said) > MAX_WORDS else ""
    if found is not None and found.engine == SWAP:
        return swapped(environment)
    if found is not None and found.engine:
        return replace(found, left=found.left or further)
    unread = found is not None
    texts = [w.text for w in (*command, *arguments)] if suspected or engine else []
    named = _named_in(" ".join(texts), printed=unread)
    if not named and suspected and (command or (words and _is_command(words))):
        named = AN_ENGINE if serves_by_flags(texts) else ""
    if named and (command or not engine or (words and _is_command(words))):
        left = f"how its script or command starts {named}"
        named = engine if named == AN_ENGINE else named
        return Launch(named, (), environment, certain=False, left=left)
    if not engine:
        return None
    if not command and (not words or not _is_command(words)):
        if engine == SWAP:
            return swapped(environment)
        rest = words[1:] if words and words[0].text in ("serve", "--server") else words
        return Launch(engine, tuple(rest), environment, left=further)
    return None if found is None else replace(found, engine=engine)


def serves_by_flags(texts: Iterable[str]) -> bool:
    """Whether a command or arguments have flags that only engines take."""
    return any(map(_SERVING.search, texts))


def swapped(environment: Mapping[str, str]) -> Launch:
    """What llama-swap starts."""
    left = f"which models {SWAP} starts, and how: its configuration says"
    return Launch("llama.cpp", (), environment, certain=False, left=left)


def _named_in(text: str, *, printed: bool) -> str:
    """The engine whose server a text names; empty if it names none.

    printed: whether one counts that the text only prints.
    """
    for found in _NAMED.finditer(text):
        if found["printed"] is not None and not (printed or _KEPT_TEXT.match(text, found.end())):
            continue
        if found["first"]:
            return _TWO_WORDS[found["first"], found["second"]]
        return _MODULES.get(found[0]) or _PROGRAMS[found[0]]
    return ""


def _is_command(words: Sequence[Word]) -> bool:
    """Whether arguments are a command of their own, and not flags for the image's entrypoint."""
    if words[0].text in _OF_THE_PROGRAM:
        return True
    first = words[0].text.rpartition("/")[2]
    return first in _SHELLS or first.startswith("python") or first in _OTHERS or _is_script(words)


_OF_THE_PROGRAM: Final = frozenset({"launch", "bench", "collect-env", "chat", "complete"})
"""First words of ``vllm`` with which it serves no model."""
_OTHERS: Final = frozenset({"sleep", "tail", "echo", "ray", "cat", "true", "env", "exec", "dynamo"})


_SOURCES: Final = ("source", ".")
_PREFIXES: Final = ("exec", "env", "nohup", "tini", "dumb-init", "uv", "time")
_RUNNERS: Final = (*_SOURCES, *_PREFIXES)


def _is_script(words: Sequence[Word]) -> bool:
    return _SCRIPT.search(words[0].text) is not None


def _search(
    words: Sequence[Word],
    environment: Mapping[str, str],
    text_of: Callable[[str], str | None],
    depth: int,
    choices: shell.Choices | None = None,
    *,
    fed: bool = False,
) -> Launch | None:
    """The first server that a command starts, through shells and scripts.

    One without an engine is a command that may start anything. choices, fed: see
    `plimsoll.workloads.shell.Command`.
    """
    direct = _direct(words, environment)
    if direct is not None:
        return direct
    if not words or not depth:
        return None
    left = _untold(words, fed=fed)
    if left:
        return Launch("", (), environment, certain=False, left=left)
    if words[0].text == "eval":
        said = " ".join(word.text for word in words[1:])
        return _in_script(Word(said, words[0].path), (), environment, text_of, depth, choices)
    inner = _script_of(words)
    if inner is not None:
        script, rest = inner
        return _in_script(script, rest, environment, text_of, depth)
    unread = _script_file(words)
    if unread is None:
        return None
    text = text_of(unread.text)
    if text is None or not _is_shell_text(unread.text, text):
        return Launch("", (), environment, certain=False, script=unread.text)
    rest = tuple(words[words.index(unread) + 1 :])
    return _in_script(Word(text, unread.path), rest, environment, text_of, depth)


def _untold(words: Sequence[Word], *, fed: bool) -> str:
    """What of a command only a run could tell, in words; empty if it is known which one runs."""
    at = 0
    while at < min(len(words) - 1, 8) and words[at].text in _PREFIXES:
        at += 1
    text = words[at].text
    name, rest = text.rpartition("/")[2], [word.text for word in words[at + 1 :]]
    if text.startswith(("`", "$")) and shell.unresolved(text) and not _OF_KUBERAY.search(text):
        return "which command a variable or another command names"
    reads = any(_INPUT.match(one) for one in rest) or (fed and not _says_what_runs(rest))
    if reads and (name in _SHELLS or name.startswith("python") or text in _SOURCES):
        return f"what {clean(name, 40)} is given to run"
    return ""


def _says_what_runs(options: Sequence[str]) -> bool:
    """Whether a shell or Python is told what to run by its arguments, and not by its input."""
    for one in options:
        if not one.startswith(("-", "+")) or re.fullmatch(r"-[A-Za-z]*[cm]", one):
            return True
        if one == "-" or re.fullmatch(r"-[A-Za-z]*s", one):
            return False
    return False


_INPUT: Final = re.compile(r"/dev/(?:stdin|fd/)")
_OF_KUBERAY: Final = re.compile(r"^\$\{?KUBERAY_")
"""Variables in which KubeRay puts how a node of Ray starts, which is no server."""


def _script_file(words: Sequence[Word]) -> Word | None:
    """The script that a command runs: itself, or the first file after its interpreter."""
    if _SCRIPT.search(words[0].text):
        return words[0]
    name = words[0].text.rpartition("/")[2]
    if name not in (*_SHELLS, *_RUNNERS) and not name.startswith("python"):
        return None
    return next((w for w in words[1:4] if _SCRIPT.search(w.text)), None)


def _is_shell_text(path: str, text: str) -> bool:
    return not path.endswith(".py") and "python" not in text[:64].partition("\n")[0]


def _in_script(
    script: Word,
    rest: Sequence[Word],
    environment: Mapping[str, str],
    text_of: Callable[[str], str | None],
    depth: int,
    choices: shell.Choices | None = None,
) -> Launch | None:
    """The server that a script starts: the first that is sure to be, else the first."""
    found: list[Launch] = []
    for command in shell.commands(script.text, environment, [w.text for w in rest], choices):
        words = [Word(text, script.path) for text in command.words][:MAX_WORDS]
        of, chosen = command.environment, command.choices
        one = _search(words, of, text_of, depth - 1, chosen, fed=command.fed)
        if one is not None:
            cut = len(command.words) > MAX_WORDS or any(
                len(word.text) >= shell.MAX_WORD for word in words
            )
            left = f"what follows word {MAX_WORDS:,}, or {shell.MAX_WORD:,} characters of one"
            found.append(
                replace(
                    one,
                    certain=one.certain and command.certain,
                    choices={**command.choices, **one.choices},
                    left=one.left or (left if cut else ""),
                )
            )
    if len(script.text) >= shell.MAX_SCRIPT:
        left = f"what follows {shell.MAX_SCRIPT:,} characters of a script"
        found = [replace(one, left=left) for one in found]
    found = [one for one in found if one.engine] or found
    return next((one for one in found if one.certain), found[0] if found else None)


def _script_of(words: Sequence[Word]) -> tuple[Word, Sequence[Word]] | None:
    """The script of ``sh -c SCRIPT``, however the shell is started, and what follows it."""
    for at, word in enumerate(words[:8]):
        if word.text.rpartition("/")[2] not in _SHELLS:
            continue
        for place in range(at + 1, min(len(words), at + 8)):
            text = words[place].text
            if not text.startswith("-") or text == "--":
                break
            if re.fullmatch(r"-[a-zA-Z]*c", text):
                rest = words[place + 1 :]
                while rest and rest[0].text == "--":
                    rest = rest[1:]
                return (rest[0], rest[2:]) if rest else None
    return None


def _direct(words: Sequence[Word], environment: Mapping[str, str]) -> Launch | None:
    """The server that a command names itself, behind wrappers such as ``env`` and ``exec``."""
    for at, word in enumerate(words[:64]):
        text = word.text
        if at and words[at - 1].text in ("-c", "echo", "printf"):
            return None
        name = text.rpartition("/")[2]
        following = words[at + 1].text if at + 1 < len(words) else ""
        engine = _TWO_WORDS.get((name, following), "")
        if engine:
            rest = words[at + 2 :]
            if engine == "lmdeploy" and rest and rest[0].text == "api_server":
                rest = rest[1:]
            return Launch(engine, tuple(rest), environment)
        if (name, following) == ("vllm", "bench") and words[at + 2 :]:
            loads = words[at + 2].text in _LOADING
            return Launch("vllm", tuple(words[at + 3 :]), environment) if loads else None
        previous = words[at - 1].text if at else ""
        engine = _MODULES.get(text, "") if previous == "-m" else ""
        engine = engine or _PROGRAMS.get(name, "") or ("" if at else _BY_NAME_ALONE.get(name, ""))
        engine = engine or next((found for end, found in _FILES.items() if text.endswith(end)), "")
        if engine:
            rest = words[at + 1 :]
            while rest and (rest[0].text == "--" or (engine, rest[0].text) in _SUBCOMMANDS):
                rest = rest[1:]
            if text.startswith("dynamo.") or text.endswith(_TRITON):
                rest = _engines_own(engine, rest)
            return Launch(engine, tuple(rest), environment)
    return None


def _engines_own(engine: str, words: Sequence[Word]) -> list[Word]:
    """The words without those that a wrapper around the engine keeps to itself."""
    kept: list[Word] = []
    dropping = False
    for word in words:
        name, has_value, _ = word.text.partition("=")
        if name.startswith("-"):
            if name == "--world_size":
                word = Word(word.text.replace(name, "--tp_size"), word.path)
            mine = name in _OF_WRAPPERS or name.startswith("--dyn-")
            dropping = mine and not (engine == "sglang" and name == "--disaggregation-mode")
            if dropping:
                dropping = not has_value
                continue
        if not dropping:
            kept.append(word)
    return kept


_SUBCOMMANDS: Final = frozenset({("tensorrt-llm", "serve"), ("llama.cpp", "--server")})


def is_untold(text: str) -> bool:
    """Whether a word is a variable of which nobody knows how many arguments it stands for."""
    return _UNTOLD.match(text) is not None
