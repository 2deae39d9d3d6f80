"""What vLLM's model runner keeps on a GPU beside the weights, from its start to its end.

    sampler      second runner, last stage, models that write text:
                 seqs x V x 4 (how often each token was written, for penalties)
                 + 2 x seqs x V / 8 (tokens of the prompt; tokens that a grammar allows)
                 + seqs x 16 KiB (biases, bad words, stops)
    embeddings   models that see or hear: batched tokens x h, where the encoder runs
    handed over  second runner, stages after the first: 2 x batched tokens x h

From 0.27 on the engine charges all that is gone of the GPU's free memory, so this too. Before, it
charged what loading the model took, what the profile took on top and what torch does not hold: the
runner's state was made before loading or after it, and lay beside the budget.

The engine's own check counts weights as the allocator holds them ("Model loading took" is torch's
allocated memory, not the sum of the parameters): up to 0.26 that figure itself; from 0.27 on what
the allocator keeps for it, which is a little more.

Source: vLLM 0.22.0 to 0.33.0: vllm/v1/worker/gpu/sample/penalties.py, structured_outputs.py,
model_runner.py, mm/encoder_runner.py; vllm/utils/mem_utils.py (memory_profiling, total_consumed
from 0.27) and vllm/v1/worker/gpu_worker.py. The start-up code of 0.33.0, run with a GPU that is
not there, allocates as much in 60 models within 0.01 GiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Term, TermName
from plimsoll.engines.vllm.traits import second_runner
from plimsoll.units import grouped

if TYPE_CHECKING:
    from plimsoll.engines.base import Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture

_COUNTS: Final = 4
_MASKS: Final = 2
_REST: Final = 16384
"""Bytes a sequence beside counts and masks."""
_BAND: Final = 0.05


def state(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    stage: int,
    constants: Constants,
) -> int:
    """Bytes that the runner keeps on one rank of a stage, charged to the budget or not.

    architecture: as it is profiled; without a vocabulary it makes no logits.
    """
    second = second_runner(architecture, constants)
    row = resolved.batched_tokens * architecture.hidden_size * resolved.element
    size = 0
    if second and stage == parallelism.pipeline - 1 and architecture.vocab_size:
        masks = _MASKS * -(-architecture.vocab_size // 32) * 4
        size += resolved.seqs * (architecture.vocab_size * _COUNTS + masks + _REST)
    if architecture.multimodal and (stage == 0 or not second):
        size += row
    if second and stage:
        size += 2 * row
    return size


def term(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    stage: int,
    constants: Constants,
) -> Term | None:
    """The runner's state where the budget is charged for it; None where there is none."""
    if not constants.flag("runner_charged"):
        return None
    size = state(architecture, resolved, parallelism, stage, constants)
    if not size:
        return None
    band = round(size * _BAND)
    sequences, vocabulary = grouped(resolved.seqs), grouped(architecture.vocab_size)
    words = f"{sequences} sequences x {vocabulary} tokens of the vocabulary"
    return Term(TermName.RUNNER, size, size - band, size + band, Known.MODELLED, words)


def uncharged(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    stage: int,
    constants: Constants,
) -> int:
    """Bytes of it that lie beside the budget."""
    if constants.flag("runner_charged"):
        return 0
    return state(architecture, resolved, parallelism, stage, constants)
