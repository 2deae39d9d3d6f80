"""Which layer lies on which GPU: --gpu-layers, --split-mode, --tensor-split, --main-gpu.

It must not weigh anything: it deals in layers, and counts the output as one more after the last.

    on a GPU     the last N of layers and output (before b7410 the output only where N exceeds
                 the layers)
    which one    the first whose share of the split exceeds (layer - first) / N, shares added up

Source: src/llama-model.cpp of llama.cpp (``load_tensors``). Shares that nobody gave are those of
free memory: equal on GPUs of one kind.
"""

from __future__ import annotations

from fractions import Fraction

HOST = -1
"""The device of what stays in main memory."""


def devices(
    layers: int, gpu_layers: int, gpus: int, shares: tuple[Fraction, ...], output_first: bool
) -> tuple[int, ...]:
    """The GPU of every layer and, last, of the output; `HOST` for those in main memory.

    shares: of each GPU, in any unit; empty for equal ones; missing ones are 0.
    """
    held = min(gpu_layers, layers + 1)
    first = max(layers + (1 if output_first else 0) - gpu_layers, 0)
    bounds = _bounds(gpus, shares)
    found = []
    for index in range(layers + 1):
        if index < first or index - first >= held:
            found.append(HOST)
            continue
        place = Fraction(index - first, held)
        found.append(next((g for g, bound in enumerate(bounds) if bound > place), gpus - 1))
    return tuple(found)


def _bounds(gpus: int, shares: tuple[Fraction, ...]) -> list[Fraction]:
    given = [shares[g] if g < len(shares) else Fraction(0) for g in range(gpus)]
    total = sum(given, Fraction(0))
    if total <= 0:
        return [Fraction(g + 1, gpus) for g in range(gpus)]
    bounds, so_far = [], Fraction(0)
    for share in given:
        so_far += share
        bounds.append(so_far / total)
    return bounds
