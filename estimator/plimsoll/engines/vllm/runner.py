"""Which of vLLM's two model runners a model starts with: they profile and charge differently.

It must not know what they charge; `plimsoll.engines.vllm.activation` and `overheads` do.

    first     samples with every parameter set while it profiles, charges CUDA graphs from 0.20
    second    for some models from 0.22 on, for all from 0.29; samples plainly, charges from 0.29

Source: vllm/config/vllm.py of the releases (use_v2_model_runner and what it asks); the list by
version is the figure ``second_runner`` in data/constants.json.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.engines.vllm.traits import traits

if TYPE_CHECKING:
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture

_NONE, _NAMED_PLAIN, _NAMED, _DENSE, _ALL = range(5)
"""Values of the figure ``second_runner``; its note says what each means."""


def second_runner(architecture: Architecture, constants: Constants) -> bool:
    """Whether the second runner serves this model.

    A model with images counts as the first runner's until all are the second's: the one start-up
    that was measured (Gemma 4 31B, 0.26.0) charged its graphs, as the first runner does.
    """
    figure = constants["second_runner"]
    rule = int(figure.value)
    if rule in (_NONE, _ALL):
        return rule == _ALL
    own = traits(architecture)
    named = architecture.model_type in figure.names
    if rule == _DENSE:
        return (named or not own.experts) and not own.states and not architecture.multimodal
    plain = not own.experts and architecture.quantization is None
    return named and (plain or rule == _NAMED)
