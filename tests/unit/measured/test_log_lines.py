"""Any bytes may stand in a log: wrappers, colours, progress bars, and what is no text at all."""

from __future__ import annotations

import io
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.measured import log_lines, logs
from plimsoll.measured.log_row import row_of
from plimsoll.measured.printed import printed_settings

LINE = "(EngineCore_DP0 pid=9) INFO [x.py:1] Model loading took 14.99 GiB and 3.1 seconds"


def weights(data: bytes) -> float | None:
    """The weights that a log says."""
    found = logs.read(io.BytesIO(data)).last
    return None if found is None else row_of(found, "log")["weights_gib_per_gpu"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(json.dumps({"log": LINE + "\n", "stream": "stderr"}).encode(), id="docker"),
        pytest.param(json.dumps({"message": LINE, "level": "info"}).encode(), id="structured"),
        pytest.param(f"2026-01-01T00:00:00Z stderr F {LINE}".encode(), id="kubelet"),
        pytest.param(f"vllm-7d9f-x2 vllm {LINE}".encode(), id="stern"),
        pytest.param(f"[vllm]    | {LINE}".encode(), id="compose"),
        pytest.param(f"\x1b[1;36m(EngineCore pid=9)\x1b[0;0m {LINE}".encode(), id="colours"),
        pytest.param(f"Loading: 50%|###  | 1/2\rLoading: 100%\r{LINE}".encode(), id="progress"),
        pytest.param(b"\xef\xbb\xbf" + LINE.encode() + b"\r\n", id="mark and line end"),
        pytest.param(b"\xff\xfe\x00" + LINE.encode(), id="bytes that are no text"),
        pytest.param(f'"{LINE}\\n",'.encode(), id="notebook"),
        pytest.param(LINE.encode() + b" x" * log_lines.MOST_BYTES, id="a line without an end"),
        pytest.param(b'{"log": "' + LINE.encode() + b'" not JSON', id="broken JSON"),
    ],
)
def test_a_line_is_read_through_whatever_is_around_it(data: bytes) -> None:
    assert weights(data) == 14.99


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        ("(VllmWorkerProcess pid=507) INFO x", "VllmWorkerProcess 507"),
        ("(VllmWorker rank=1 pid=32) INFO x", "VllmWorker 1"),
        ("(VllmWorker TP1 pid=32) INFO x", "VllmWorker TP1"),
        ("(Worker_DP0_TP1_EP1 pid=32) INFO x", "Worker_DP0_TP1_EP1"),
        ("(Worker pid=32) INFO x", "Worker 32"),
        ("(RayWorkerProc pid=6, ip=10.0.0.7) (Worker_TP1 pid=6) INFO x", "Worker_TP1"),
        (
            "(EngineCore_DP0 pid=8) (RayWorkerWrapper pid=6, ip=10.0.0.7) INFO x",
            "RayWorkerWrapper 6 10.0.0.7",
        ),
        ("[2026-01-01 00:00:00 DP0 TP3 EP3] Load", "DP0 TP3 EP3"),
        ("[2026-01-01 00:00:00] Load", ""),
        ("INFO 01-01 x", ""),
    ],
)
def test_the_process_that_wrote_a_line_is_its_rank(text: str, rank: str) -> None:
    assert next(log_lines.lines_of(text.encode())).rank == rank


@given(st.binary(max_size=4096))
def test_no_bytes_fail(data: bytes) -> None:
    assert logs.read(io.BytesIO(data)).last is None or weights(data) is not None


PIECES = st.sampled_from(
    [
        "Model loading took ", "14.99", " GiB", "Available KV cache memory: ", "-2.1 GiB", "9" * 40,
        "GPU KV cache size: ", "1,2,3,", " tokens", "# GPU blocks: ", "\n", "\r", "{", "}", "(",
        ")", "'", '"', ",", "=", "\\", "\x00", "None", "True", "{}",
        "non-default args: {'a': ", "args: Namespace(", "server_args=ServerArgs(",
        "Load weight end. type=X, avail mem=1.0 GB", "Load weight begin. avail mem=9 GB",
        "KV Cache is allocated. #tokens: 5, K size: 1 GB, V size: 1 GB", "tp_size=0", "dp_size=-3",
        "enable_dp_attention=True, ", "(Worker_TP0 pid=1) ", "[2026-01-01 00:00:00 TP0] ",
        "Initializing a V1 LLM engine (v0.11.0) with config: ", "model='x', ", "max_seq_len=1e999",
        "Maximum concurrency for 0 tokens per request: 1x", "CUDA out of memory ",
        "tensor_parallel_size=", "total_gpu_memory (0GiB) x gpu_memory_utilization (0.90)",
        "Free memory on device (1/2 GiB) on startup. Desired GPU memory utilization is (0.9, 1",
        " GiB). Actual usage is 1 GiB for consumed memory, 2 GiB for peak activation, and 1 GiB ",
        "for CUDAGraph memory",
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join))
def test_no_jumble_of_an_engine_s_own_words_fails_and_every_row_is_json(text: str) -> None:
    found = logs.read(io.BytesIO(text.encode())).last
    if found is not None:
        assert json.loads(json.dumps(row_of(found, "log")))["trust"] == "A-full-log"


@given(st.text(alphabet="a=1,()[]{}'\"\\ :<>x", max_size=200))
def test_no_printed_settings_fail(text: str) -> None:
    assert isinstance(printed_settings(text), dict)


def test_settings_end_where_their_bracket_ends_and_keep_what_is_inside_others() -> None:
    text = "{'a': {'b': [1, ')']}, 'c': Config(d='}', e=(1, 2)), 'f': True} and more, g=1"
    assert printed_settings(text) == {
        "a": {"b": [1, ")"]},
        "c": "Config(d='}', e=(1, 2))",
        "f": True,
    }


def test_settings_that_are_cut_off_give_what_is_whole() -> None:
    assert printed_settings("Namespace(a=1, b='x', c='cut o") == {"a": 1, "b": "x"}


@pytest.mark.sweep
def test_a_log_of_many_lines_is_read_in_time_that_grows_with_it() -> None:
    noise = (
        b"INFO 01-01 00:00:00 [loggers.py:1] Engine 000: Avg prompt throughput: 1.0 tokens/s, KV\n"
    )
    start = time.perf_counter()
    log = logs.read(io.BytesIO(LINE.encode() + b"\n" + noise * 100_000))
    assert log.lines == 100_001
    assert log.last is not None
    assert time.perf_counter() - start < 10


def test_lines_that_no_pattern_ends_quickly_on_do_not_hold_the_reader_up() -> None:
    hostile = (
        b"total_gpu_memory=1GiB " + b"peak_torch_memory=1GiB " * 2000,
        b"Actual usage is 1 GiB for weight" + b", 1 GiB" * 20000 + b" on startup",
        b"server_args=ServerArgs(" + b"a=(" * 40000,
        b"Capture " + b"cuda graph " * 20000 + b"graph end.",
        b"Load weight end. " + b"type=" * 40000,
        b"GPU " * 50000 + b"| " * 10000,
    )
    start = time.perf_counter()
    for data in hostile:
        logs.read(io.BytesIO(data * 3))
    assert time.perf_counter() - start < 10
