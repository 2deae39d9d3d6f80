"""What is neither weights, cache nor activation: libraries' buffers, CUDA graphs, the context.

It must not read requests beyond their batch.

    non-torch     by GPUs that speak to one another; charged to the budget
    graphs        (0.35 + 0.018 x layers of the rank [+ 0.45: experts or MLA]) GiB x graphs / 102,
                  at least 1.8 GiB with tensor parallelism; charged to the budget from 0.20 on
                  (by the second runner from 0.29 on)
    graphs' sizes 1, 2, 4, 8 ... 248 by 8, 256 ... by 16, up to min(2 x seqs, 512)
    context       outside the budget: the CUDA context and what NCCL takes before vLLM measures

Figures with sources in data/constants.json; measured on H100 with NVLink only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Term, TermName
from plimsoll.engines.vllm.defaults import SECOND_ENGINE
from plimsoll.engines.vllm.runner import second_runner
from plimsoll.engines.vllm.traits import traits
from plimsoll.units import GIB

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import Parallelism
    from plimsoll.engines.vllm.constants import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture

_BLACKWELL: Final = 10


def non_torch(parallelism: Parallelism, accelerator: Accelerator, constants: Constants) -> Term:
    """Buffers that torch does not hold: NCCL, custom all-reduce, cuBLAS."""
    tensor = parallelism.tensor * (parallelism.data if parallelism.expert else 1)
    if tensor >= 2:
        name = f"non_torch_tensor_{2 if tensor < 4 else 4 if tensor < 8 else 8}"
        basis = f"{tensor} GPUs in tensor or expert parallelism"
    elif parallelism.pipeline > 1:
        name, basis = "non_torch_pipeline", f"{parallelism.pipeline} pipeline stages"
    else:
        name, basis = "non_torch_single", "one GPU"
    figure = constants[name]
    size = figure.bytes()
    if constants.flag("context_inside") and accelerator.compute >= SECOND_ENGINE:
        size += constants["context_single"].bytes()
        basis += ", with the CUDA context"
    seen = accelerator.family == "hopper"
    band = max(round(size * figure.error), GIB // 10) if seen else max(size // 4, GIB // 5)
    known = figure.known if seen else Known.ASSUMED
    return Term(TermName.NON_TORCH, size, max(0, size - band), size + band, known, basis)


def graph_sizes(seqs: int, most: int) -> int:
    """How many batch sizes are captured."""
    limit = min(2 * seqs, most)
    small = sum(size <= limit for size in (1, 2, 4))
    return small + len(range(8, min(limit, 248) + 1, 8)) + len(range(256, limit + 1, 16))


def graphs(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    layers: int,
    accelerator: Accelerator,
    constants: Constants,
) -> Term:
    """What captured CUDA graphs take on a rank of `layers` layers; 0 in eager mode.

    The engine charges its own estimate to the budget, not what capturing then takes. Before 0.20,
    and before 0.29 with the second runner, it charges nothing: `outside` says what lies beside the
    budget then.
    """
    if resolved.eager:
        return Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, "eager mode")
    if not _charged(architecture, constants):
        return Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, "outside the budget")
    size, low, high, number = _graphs(
        architecture, resolved, parallelism, layers, accelerator, constants
    )
    known = Known.MODELLED if accelerator.family == "hopper" else Known.ASSUMED
    return Term(
        TermName.CUDA_GRAPHS,
        round(size * GIB),
        round(low * GIB),
        round(high * GIB),
        known,
        f"{number} graphs, {layers} layers",
    )


def _charged(architecture: Architecture, constants: Constants) -> bool:
    """Whether CUDA graphs count towards the budget."""
    second = second_runner(architecture, constants)
    return constants.flag("second_graphs_charged" if second else "graphs_charged")


def outside(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    layers: int,
    accelerator: Accelerator,
    constants: Constants,
) -> int:
    """Bytes that the budget does not count and the GPU must have: context, uncharged graphs."""
    if parallelism.tensor * parallelism.pipeline * parallelism.data == 1:
        figure = constants["context_single"]
    else:
        figure = constants["context_moe" if traits(architecture).experts else "context_many"]
    size = figure.bytes()
    if not resolved.eager and not _charged(architecture, constants):
        size += round(
            _graphs(architecture, resolved, parallelism, layers, accelerator, constants)[1] * GIB
        )
    return size


def _graphs(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    layers: int,
    accelerator: Accelerator,
    constants: Constants,
) -> tuple[float, float, float, int]:
    """Estimate, least and most in GiB, and the number of graphs."""
    number = constants.number
    sm100 = accelerator.compute[0] == _BLACKWELL
    most = int(number("graph_size_most_sm100" if sm100 else "graph_size_most"))
    captured = graph_sizes(resolved.seqs, most) * int(number("graphs_modes"))
    share = captured / number("graphs_fitted")
    own = traits(architecture)
    error = constants["graphs_base"].error
    base = (number("graphs_base") + number("graphs_per_layer") * layers) * share
    extra = number("graphs_moe") * share if own.experts or own.latent else 0.0
    size = base + extra
    high = base * (1 + error) + extra * (1 + constants["graphs_moe"].error)
    if parallelism.tensor > 1:
        least = number("graphs_tensor_least") * min(1.0, share)
        size = max(size, least)
        high = max(high, least * (1 + constants["graphs_tensor_least"].error))
    if own.states:
        high = max(high, size * number("graphs_hybrid_factor"))
    return size, min(size, base * (1 - error)), max(high, size), captured
