"""Files that are cut, forged or hostile end in one sentence: never a crash, never endless work."""

from __future__ import annotations

import json
import struct
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import checkpoint_files
from checkpoint_files import Maker, base
from plimsoll.errors import Invalid, PlimsollError, Unreadable
from plimsoll.models.checkpoint import gguf, safetensors
from plimsoll.models.checkpoint.profile import FORMAT, from_profile
from plimsoll.models.checkpoint.source import is_local, local_profile

if TYPE_CHECKING:
    from pathlib import Path

CONFIG: Final = base("llama")


def file_of(entries: object, path: Path) -> Path:
    """A safetensors file with any JSON as its header."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(64))
    return path


def entry(**more: Any) -> dict[str, Any]:
    return {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8], **more}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "8 bytes with its header's length"),
        (b"\x10", "8 bytes with its header's length"),
        (b"\xff" * 8, "at most 100000000"),
        (b"\x00" * 8, "8 bytes with its header's length"),
        ((1 << 40).to_bytes(8, "little") + b"{}", "at most 100000000"),
        ((64).to_bytes(8, "little") + b'{"a":', "this one is cut"),
    ],
)
def test_a_file_with_an_unbelievable_length_is_refused(
    content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=said):
        safetensors.read(path)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"\xff\xfe\x00\x01\x02\x03", "JSON"),
        (b"[]", "a JSON object"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": {}, "a": {}}', "a key stands twice"),
        (b"[" * 100_000, "JSON"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested for ever"),
        ({"a": 3}, "described by a mapping"),
        ({"a": entry(dtype="F7")}, "known dtypes"),
        ({"a": entry(dtype=["BF16"])}, "known dtypes"),
        ({"a": entry(shape=[-1, 2])}, "whole numbers"),
        ({"a": entry(shape=[2.0, 2])}, "whole numbers"),
        ({"a": entry(shape=[True, 4])}, "whole numbers"),
        ({"a": entry(shape="22")}, "whole numbers"),
        ({"a": entry(shape=[1 << 61, 1 << 61])}, "as far apart"),
        ({"a": entry(shape=[2] * 9)}, "whole numbers"),
        ({"a": entry(data_offsets=[0])}, "whole numbers"),
        ({"a": entry(data_offsets=[8, 0])}, "as far apart"),
        ({"a": entry(data_offsets=[0, 4])}, "as far apart"),
        ({"a": entry(), "b": entry(data_offsets=[4, 12])}, "without a gap or an overlap"),
        ({"a": entry(), "b": entry(data_offsets=[16, 24])}, "without a gap or an overlap"),
        (
            b'{"a": {"dtype": "BF16", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 8]}}',
            "JSON",
        ),
    ],
)
def test_a_header_that_lies_is_refused(header: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=said):
        safetensors.read(file_of(header, tmp_path / "model.safetensors"))


@pytest.mark.sweep
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_crash_the_readers(tmp_path: Path, content: bytes, framed: bool) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(content).to_bytes(8, "little") * framed + content)
    other = tmp_path / "m.gguf"
    other.write_bytes(b"GGUF\x03\x00\x00\x00" * framed + content)
    said = ""
    for read in (lambda: safetensors.read(path), lambda: gguf.read(other)):
        try:
            read()
        except Unreadable as error:
            said = str(error)
        assert said.isprintable()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.sweep
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.text(max_size=30), json_values, max_size=4))
def test_no_header_crashes_the_reader(tmp_path: Path, header: dict[str, Any]) -> None:
    try:
        safetensors.read(file_of(header, tmp_path / "model.safetensors"))
    except Unreadable:
        return


@pytest.mark.parametrize(
    "index",
    [
        {},
        {"weight_map": {}},
        {"weight_map": []},
        {"weight_map": {"a": 3}},
        {"weight_map": {"a": "../../etc/passwd"}},
        {"weight_map": {"a": "/etc/passwd"}},
        {"weight_map": {"a": "no\0file"}},
        {"weight_map": {"a": "half of a \ud800.safetensors"}},
        {"weight_map": {"a": "\x1b[2J.safetensors"}},
        {"weight_map": {"a": ""}},
        {"weight_map": {"a": "missing.safetensors"}},
    ],
)
def test_an_index_that_lies_is_refused(index: object, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Unreadable):
        safetensors.read(tmp_path)


def test_an_index_with_a_tensor_that_is_in_no_file_is_refused(tmp_path: Path) -> None:
    folder = checkpoint_files.write(
        tmp_path / "m", CONFIG, checkpoint_files.dense(CONFIG, Maker()), shards=2
    )
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["lost"] = "model-00001-of-00002.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(Unreadable, match="1 are in none"):
        safetensors.read(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = checkpoint_files.write(
        tmp_path / "m", CONFIG, checkpoint_files.dense(CONFIG, Maker()), shards=3
    )
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(Unreadable, match=r"model-00002-of-00003.safetensors is missing"):
        safetensors.read(folder)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(Unreadable, match="a folder with safetensors files"):
        local_profile(str(tmp_path))


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    for source in (str(tmp_path / "nothing"), "file:///no/such/place", "./a\0b", "/" + "x" * 5000):
        with pytest.raises(PlimsollError):
            local_profile(source)
    with pytest.raises(Unreadable, match="a file on this machine"):
        local_profile("file://elsewhere/model")


def test_weights_without_a_config_say_what_is_missing(tmp_path: Path) -> None:
    folder = checkpoint_files.write(tmp_path / "m", None, checkpoint_files.dense(CONFIG, Maker()))
    with pytest.raises(Invalid, match=r"a config\.json beside the weights"):
        local_profile(str(folder))


@pytest.mark.parametrize("config", [b"\xff\xfe", b"[1]", b"{", b'{"model_type": NaN}'])
def test_a_bad_config_beside_good_weights_is_refused(config: bytes, tmp_path: Path) -> None:
    folder = checkpoint_files.write(tmp_path / "m", None, checkpoint_files.dense(CONFIG, Maker()))
    (folder / "config.json").write_bytes(config)
    with pytest.raises(Unreadable, match="JSON"):
        local_profile(str(folder))


GGUF: Final = b"GGUF" + struct.pack("<I", 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "this one is cut"),
        (b"GGML" + bytes(20), "begins with the letters GGUF"),
        (b"PK\x03\x04", "a GGUF file"),
        (b"GGUF" + struct.pack("<I", 9) + bytes(16), "version 1, 2 or 3"),
        (GGUF + struct.pack("<QQ", 1 << 60, 0), "at most"),
        (GGUF + struct.pack("<QQ", 0, 1 << 60), "at most"),
        (GGUF + struct.pack("<QQQ", 0, 1, 1 << 60), "believable length"),
        (GGUF + struct.pack("<QQQ", 0, 1, 5) + b"abc", "this one is cut"),
        (GGUF + struct.pack("<QQQ", 0, 1, 1) + b"a" + struct.pack("<I", 77), "kinds of values"),
        (GGUF + struct.pack("<QQQ", 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 9, 1), "arrays of"),
        (
            GGUF + struct.pack("<QQQ", 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 8, 1 << 60),
            "header below",
        ),
        (
            GGUF + struct.pack("<QQQ", 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 10, 1 << 61),
            "header below",
        ),
        (GGUF + struct.pack("<QQQ", 1, 0, 1) + b"t" + struct.pack("<I", 99), "dimensions"),
        (
            GGUF + struct.pack("<QQQ", 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 4, 99, 0),
            "types of tensors",
        ),
        (
            GGUF + struct.pack("<QQQ", 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 4, 12, 0),
            "whole blocks of 256",
        ),
        (
            GGUF
            + struct.pack("<QQQ", 1, 0, 1)
            + b"t"
            + struct.pack("<IQQIQ", 2, 1 << 40, 1 << 40, 0, 0),
            "whole blocks",
        ),
    ],
)
def test_a_gguf_file_that_lies_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(Unreadable, match=said):
        gguf.read(path)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    "checkpoint",
    [
        3,
        [],
        {"layers": 3},
        {"layers": [3]},
        {"layers": [{"layers": "9-2", "tensors": []}]},
        {"layers": [{"layers": "0-99999", "tensors": []}]},
        {"layers": [{"layers": "0", "tensors": []}, {"layers": "0", "tensors": []}]},
        {"layers": [{"layers": "0", "tensors": [["a"]]}]},
        {"outside": 3},
        {"extra": [3]},
        {"outside": [["a", [1 << 50], "replicated", "other", 1, 0, "first"]]},
        {"outside": [["a", [-1], "replicated", "other", 1, 0, "first"]]},
        {"outside": [["a", [1], "sideways", "other", 1, 0, "first"]]},
        {"outside": [["a", [1], "replicated", "other", 0, 0, "first"]]},
        {"outside": [["a", [1], "replicated", "other", 1, 0, "first", ["x", 0, 0, 0, 0, 0]]]},
        {"outside": [["a", [[1]], "replicated", "other", 1, 0, "first"]]},
        {"outside": [[["a"], [1], {}, "other", 1, 0, "first"]]},
        {"outside": [["a", [1 << 39], "replicated", "other", 1, 0, "first"]] * 4000},
        {"quantization": 3},
        {"quantization": ["x", 3]},
        {"assumed": 3},
        {"gguf": 3},
        {"gguf": [["a", [1], "Q99"]]},
        {"gguf": [["a", [1], "Q4_K"]]},
        {"gguf": [["blk.*.a", [1], "F32"]]},
        {"gguf": [["blk.*.a", [1], "F32", "0-999999"]]},
        {"gguf": [["a", [1], "F32"], ["a", [1], "F32"]]},
        {"gguf": [["a", [2.5], "F32"]]},
        {"gguf": [["a", [1], ["F32"]]]},
        {"gguf": [["a", [1 << 40, 1 << 40], "F32"]]},
    ],
)
def test_a_forged_profile_is_refused(checkpoint: object) -> None:
    with pytest.raises(Invalid, match="checkpoint"):
        from_profile({"format": FORMAT, "config": CONFIG, "checkpoint": checkpoint})


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["layers", "outside", "extra", "quantization", "assumed", "gguf"]),
        json_values,
        max_size=3,
    )
)
def test_no_profile_crashes_its_reader(checkpoint: dict[str, Any]) -> None:
    try:
        from_profile({"format": FORMAT, "config": CONFIG, "checkpoint": checkpoint})
    except Invalid:
        return


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", False),
        ("hf://meta-llama/x.safetensors", False),
        ("./model", True),
        ("/models/x", True),
        ("file:///models/x", True),
        ("~/x", True),
        ("model.gguf", True),
        ("a/model.safetensors.index.json", True),
        ("s3://bucket/x", False),
        ("a\0b", False),
        (".", True),
    ],
)
def test_what_names_files_on_this_machine(text: str, local: bool) -> None:
    assert is_local(text) is local
