"""Which of a folder's files make up its checkpoint; copies and other forms count never."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import checkpoint_files
from checkpoint_files import Maker, base
from plimsoll.models.checkpoint import safetensors
from plimsoll.models.checkpoint.profile import from_profile
from plimsoll.models.checkpoint.source import local_profile
from plimsoll.models.config import architecture

if TYPE_CHECKING:
    from pathlib import Path

CONFIG: Final = base("llama")
TENSORS: Final = checkpoint_files.dense(CONFIG, Maker())


def test_the_folder_its_index_a_shard_and_its_uri_are_the_same_checkpoint(tmp_path: Path) -> None:
    folder = checkpoint_files.write(tmp_path / "m", CONFIG, TENSORS, shards=3)
    profile, notes = local_profile(str(folder))
    assert not notes
    for source in (
        folder / "model.safetensors.index.json",
        folder / "model-00002-of-00003.safetensors",
        f"file://{folder}",
    ):
        assert local_profile(str(source)) == (profile, notes)


def test_all_tensors_are_counted_once_and_to_the_byte(tmp_path: Path) -> None:
    found = safetensors.read(checkpoint_files.write(tmp_path / "m", CONFIG, TENSORS, shards=2))
    assert found.bytes == checkpoint_files.size_of(TENSORS)
    assert [t.name for t in found.tensors] == sorted(TENSORS)


def test_originals_metal_and_consolidated_files_are_passed_over_and_named(tmp_path: Path) -> None:
    folder = checkpoint_files.write(tmp_path / "m", CONFIG, TENSORS, shards=2)
    for name in ("original", "metal"):
        (folder / name).mkdir()
        checkpoint_files.write_file(folder / name / "model.safetensors", TENSORS)
    checkpoint_files.write_file(folder / "consolidated.safetensors", TENSORS)
    found = safetensors.read(folder)
    assert found.bytes == checkpoint_files.size_of(TENSORS)
    assert found.notes == (
        "passed over original/, metal/: the same weights in another form",
        "passed over consolidated.safetensors: the same weights in another form",
    )


def test_without_an_index_one_whole_file_beats_shards_beside_it(tmp_path: Path) -> None:
    folder = checkpoint_files.write(tmp_path / "m", CONFIG, TENSORS, shards=2)
    (folder / "model.safetensors.index.json").unlink()
    checkpoint_files.write_file(folder / "model.safetensors", TENSORS)
    found = safetensors.read(folder)
    assert found.bytes == checkpoint_files.size_of(TENSORS)
    assert "passed over model-00001-of-00002.safetensors" in found.notes[0]


def test_files_that_an_index_does_not_name_do_not_count(tmp_path: Path) -> None:
    folder = checkpoint_files.write(tmp_path / "m", CONFIG, TENSORS, shards=2)
    checkpoint_files.write_file(folder / "model.safetensors", TENSORS)
    assert safetensors.read(folder).bytes == checkpoint_files.size_of(TENSORS)


def test_a_tensor_in_two_files_counts_once_and_is_said(tmp_path: Path) -> None:
    folder = checkpoint_files.write(tmp_path / "m", CONFIG, TENSORS, shards=2)
    names = list(TENSORS)
    both = {name: TENSORS[name] for name in [*names[1::2], names[0]]}
    checkpoint_files.write_file(folder / "model-00002-of-00002.safetensors", both)
    found = safetensors.read(folder)
    assert found.bytes == checkpoint_files.size_of(TENSORS)
    assert found.notes == ("1 tensors stand in two files and count once",)


def test_an_adapter_beside_the_weights_is_no_part_of_the_model(tmp_path: Path) -> None:
    folder = checkpoint_files.write(tmp_path / "m", CONFIG, TENSORS)
    checkpoint_files.write_file(folder / "adapter_model.safetensors", {"lora": ("BF16", (8, 8))})
    profile, notes = local_profile(str(folder))
    assert from_profile(profile).parameters == architecture(CONFIG).parameters
    assert "adapter" in notes[0]


def test_a_file_whose_header_alone_was_fetched_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    checkpoint_files.write(folder, CONFIG, TENSORS)
    (folder / "model.safetensors").write_bytes(checkpoint_files.header_bytes(TENSORS))
    profile, notes = local_profile(str(folder))
    assert from_profile(profile).parameters == architecture(CONFIG).parameters
    assert notes == ("model.safetensors ends before its last tensor: its header counts",)


def test_no_tensor_is_read(tmp_path: Path) -> None:
    huge = base("llama", hidden_size=8192, intermediate_size=28672, vocab_size=128256)
    folder = checkpoint_files.write(tmp_path / "m", huge, checkpoint_files.dense(huge, Maker()))
    assert (folder / "model.safetensors").stat().st_size > 5 << 30
    assert from_profile(local_profile(str(folder))[0]).parameters == architecture(huge).parameters


def test_hf_quant_config_counts_as_it_does_beside_a_config(tmp_path: Path) -> None:
    quant = {"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}
    folder = checkpoint_files.write(
        tmp_path / "m",
        CONFIG,
        checkpoint_files.dense(CONFIG, Maker("nvfp4", ("lm_head",))),
        quant=quant,
    )
    profile, notes = local_profile(str(folder))
    assert not notes
    read = from_profile(profile)
    assert read.quantization == architecture(CONFIG, quant).quantization
