"""`plimsoll read-log`: what a person and a pipeline see of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from commands import run
from plimsoll.measured import rows, score
from plimsoll.measured.models import Configs
from plimsoll.models import catalogue

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "meta-llama/Llama-3.1-8B"
LOG = """\
(APIServer pid=1) INFO [utils.py:1] vLLM API server version 0.19.0
(APIServer pid=1) INFO [utils.py:2] non-default args: {'model': 'MODEL', 'max_model_len': 8192, \
'gpu_memory_utilization': 0.95}
(EngineCore_DP0 pid=9) INFO [core.py:1] Initializing a V1 LLM engine (v0.19.0) with config: \
model='MODEL', dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=1, \
pipeline_parallel_size=1, data_parallel_size=1, quantization=None, enforce_eager=False, \
kv_cache_dtype=auto)
(EngineCore_DP0 pid=9) INFO [gpu_model_runner.py:1] Model loading took 14.99 GiB memory and 5 s
(EngineCore_DP0 pid=9) INFO [gpu_worker.py:1] Available KV cache memory: 58.0 GiB
(EngineCore_DP0 pid=9) INFO [kv_cache_utils.py:1] GPU KV cache size: 475,136 tokens
(EngineCore_DP0 pid=9) INFO [gpu_worker.py:2] Free memory on device (78.68/79.19 GiB) on startup. \
Desired GPU memory utilization is (0.95, 75.23 GiB). Actual usage is 14.99 GiB for weight, 1.98 \
GiB for peak activation, 0.25 GiB for non-torch memory, and 0.87 GiB for CUDAGraph memory.
(APIServer pid=1) INFO:     Application startup complete.
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of a catalogue model."""
    file = tmp_path / "llama.log"
    file.write_text(LOG.replace("MODEL", MODEL))
    return file


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """The same, served from a folder of its own name."""
    file = tmp_path / "local.log"
    file.write_text(LOG.replace("MODEL", "/models/Llama-3.1-8B-mine"))
    return file


def read_log(*args: object, code: int = 0, given: bytes | None = None) -> str:
    """Standard output and error of the command."""
    result = run("read-log", *args, stdin=given)
    assert result.exit_code == code, result.output
    return result.output


def test_the_table_says_what_was_read_and_puts_predicted_beside_measured(log: Path) -> None:
    lines = read_log(log, "--gpu", "nvidia-h100-80gb").splitlines()
    said = {line.split("  ")[0]: line for line in lines}
    assert said["version"].endswith("0.19.0")
    assert said["GPU memory, GiB"].endswith("79.19")
    assert "GPU" in said
    weights = said["weights_gib_per_gpu"].split()
    assert weights[1:3] == ["14.99", "14.99"]
    assert said["verdict: allow; the start-up: ok"]
    assert not any("does not say" in line for line in lines)


def test_what_the_log_lacks_is_said_with_the_option_that_fills_it_in(log: Path) -> None:
    assert "the log does not say the GPU: add --gpu" in read_log(log)


def test_a_model_that_is_only_a_path_is_not_guessed_and_a_like_one_is_offered(local: Path) -> None:
    said = read_log(local)
    assert (
        "the structure of /models/Llama-3.1-8B-mine is not known: add --model or --config" in said
    )
    assert "(--model meta-llama/Llama-3.1-8B" in said
    assert "the structure of the model is not known" in said


@pytest.mark.parametrize(
    "path",
    [
        "/models/Llama-3.1-8B",
        "./weights/meta-llama/Llama-3.1-8B/",
        "/cache/hub/LLM-Research/Llama-3___1-8B",
        "/root/.cache/huggingface/hub/models--meta-llama--Llama-3.1-8B/snapshots/0e9e39f",
    ],
)
def test_a_path_that_ends_in_a_known_name_is_that_model(tmp_path: Path, path: str) -> None:
    file = tmp_path / "known.log"
    file.write_text(LOG.replace("MODEL", path))
    row = json.loads(read_log(file, "-o", "row"))
    found, wanted = catalogue.load().find(row["config_id"]), catalogue.load().find(MODEL)
    assert found is not None
    assert found is wanted
    assert row["model"] == path


def test_no_model_of_another_size_is_offered(tmp_path: Path) -> None:
    file = tmp_path / "small.log"
    file.write_text(LOG.replace("MODEL", "/models/Qwen3-5B"))
    said = read_log(file)
    assert "the structure of /models/Qwen3-5B is not known: add --model or --config" in said
    assert "?)" not in said


def test_the_total_of_the_gpu_follows_from_the_advice_on_graphs(tmp_path: Path) -> None:
    lines = [line for line in LOG.splitlines() if "Free memory on device" not in line]
    estimated = "INFO [gpu_model_runner.py:3] Estimated CUDA graph memory: 1.89 GiB total"
    advice = (
        "INFO [gpu_worker.py:4] CUDA graph memory profiling is enabled (default since v0.21.0). "
        "The current --gpu-memory-utilization=0.9500 is equivalent to "
        "--gpu-memory-utilization=0.9395 without CUDA graph memory profiling."
    )
    file = tmp_path / "advice.log"
    file.write_text("\n".join([*lines, estimated, advice]))
    row = json.loads(read_log(file, "-o", "row"))
    assert row["cuda_graph_estimate_gib"] == 1.89
    assert row["gpu_total_gib"] == pytest.approx(179, abs=5)
    file.write_text("\n".join([*lines, estimated.replace("1.89", "0.01"), advice]))
    assert json.loads(read_log(file, "-o", "row"))["gpu_total_gib"] is None


def test_model_and_config_fill_in_what_a_path_stands_for(local: Path, tmp_path: Path) -> None:
    entry = catalogue.load().find(MODEL)
    assert entry is not None
    config = tmp_path / "config.json"
    config.write_text(json.dumps(dict(entry.config)))
    named = json.loads(read_log(local, "--model", MODEL, "-o", "json"))
    given = json.loads(read_log(local, "--config", config, "-o", "json"))
    assert named["comparison"]["terms"] == given["comparison"]["terms"]
    assert named["row"]["config_id"] == MODEL
    assert named["row"]["model"] == "/models/Llama-3.1-8B-mine"
    assert abs(named["comparison"]["terms"]["weights_gib_per_gpu"]["error_pct"]) < 0.5


def test_the_json_has_the_row_the_comparison_and_what_is_missing(log: Path) -> None:
    said = json.loads(read_log(log, "-o", "json"))
    assert set(said) == {"row", "comparison", "missing"}
    term = said["comparison"]["terms"]["kv_cache_gib_per_gpu"]
    assert term["measured"] == 58.0
    assert term["low"] <= term["predicted"] <= term["high"]
    assert term["error"] == pytest.approx(
        max(0.0, term["low"] - 58.0, 58.0 - term["high"]), abs=1e-3
    )


def test_the_row_is_one_line_that_accuracy_reads_to_the_same_comparison(log: Path) -> None:
    args = (log, "--gpu", "nvidia-h100-80gb")
    text = read_log(*args, "-o", "row")
    assert text.count("\n") == 1
    entry = catalogue.load().find(MODEL)
    assert entry is not None
    configs = Configs(by_id={MODEL: dict(entry.config)})
    scored = score.score_row(rows.row_of_line(text, 1), configs)
    again = score.as_dict([scored])["rows"][0]
    said = json.loads(read_log(*args, "-o", "json"))["comparison"]
    assert {t: v["predicted"] for t, v in said["terms"].items()} == {
        t: v["predicted"] for t, v in again["terms"].items()
    }
    assert again["verdict"] == said["verdict"] == "allow"


def test_standard_input_is_read_for_a_dash(log: Path) -> None:
    said = json.loads(read_log("-", "-o", "json", given=log.read_bytes()))
    assert said["row"]["weights_gib_per_gpu"] == 14.99


@pytest.mark.parametrize("form", ["table", "json", "row"])
def test_a_file_that_is_no_log_is_refused_with_what_was_looked_for(
    tmp_path: Path, form: str
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Application startup complete.\nnothing of an engine\n")
    said = read_log(file, "-o", form, code=2)
    assert "a start-up log; looked for vLLM:" in said.replace('\\"', '"')
    assert "Load weight end." in said


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "a file that can be read" in read_log(tmp_path / "none.log", code=2)
    assert "a file that can be read" in read_log(tmp_path, code=2)


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        (("--gpu", "nvidia-h1000"), "a known accelerator; did you mean nvidia-h"),
        (("--model", "meta-llama/Llama-3.1-9B"), "a model of the catalogue"),
        (("--config", "missing.json"), "a readable file"),
    ],
)
def test_an_option_that_names_nothing_is_refused_with_a_next_step(
    log: Path, args: tuple[str, str], wanted: str
) -> None:
    assert wanted in read_log(log, *args, code=2)
