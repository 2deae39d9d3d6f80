"""The pieces that every family is made of: linears, norms, dense and expert feed-forwards.

No config is read here: everything comes as numbers.

    gated MLP      gate, up: intermediate x hidden; down: hidden x intermediate
    expert MLPs    the same, times the number of experts; router: experts x hidden
"""

from __future__ import annotations

from plimsoll.models.architecture import Part, Split, Stage, Tensor

Tensors = tuple[Tensor, ...]


def linear(
    name: str,
    out: int,
    into: int,
    split: Split,
    part: Part,
    *,
    bias: bool = False,
    copies: int = 1,
    stage: Stage = Stage.FIRST,
) -> Tensors:
    """The weight (out x into) and, if there is one, the bias (out) of a linear layer."""
    weight = Tensor(f"{name}.weight", (out, into), split, part, copies, True, stage)
    if not bias:
        return (weight,)
    whole = split in (Split.ROW, Split.EXPERT_ROW)
    return (
        weight,
        Tensor(
            f"{name}.bias",
            (out,),
            Split.NONE if whole and copies == 1 else split,
            part,
            copies,
            False,
            stage,
        ),
    )


def norm(name: str, width: int, *, bias: bool = False, stage: Stage = Stage.FIRST) -> Tensors:
    """The weight of a norm, and its bias if it has one."""
    weight = Tensor(f"{name}.weight", (width,), Split.NONE, Part.NORM, stage=stage)
    if not bias:
        return (weight,)
    return (weight, Tensor(f"{name}.bias", (width,), Split.NONE, Part.NORM, stage=stage))


def loose(
    name: str,
    shape: tuple[int, ...],
    split: Split = Split.NONE,
    part: Part = Part.OTHER,
    stage: Stage = Stage.FIRST,
) -> Tensors:
    """A tensor that is neither a linear's nor a norm's."""
    return (Tensor(name, shape, split, part, stage=stage),)


def mlp(
    hidden: int,
    width: int,
    *,
    gated: bool = True,
    bias: bool = False,
    prefix: str = "mlp",
    part: Part = Part.MLP,
) -> Tensors:
    """A dense feed-forward."""
    up = linear(f"{prefix}.up_proj", width, hidden, Split.COLUMN, part, bias=bias)
    gate = linear(f"{prefix}.gate_proj", width, hidden, Split.COLUMN, part, bias=bias)
    down = linear(f"{prefix}.down_proj", hidden, width, Split.ROW, part, bias=bias)
    return (gate if gated else ()) + up + down


def experts(
    hidden: int,
    width: int,
    count: int,
    *,
    gated: bool = True,
    bias: bool = False,
    router_bias: bool = False,
    prefix: str = "mlp",
    into: int = 0,
) -> Tensors:
    """A router and its experts. into: width that the experts read and write, if not hidden.

    prefix: what they lie in; empty: they lie in the layer itself, beside a dense MLP.
    """
    inner = into or hidden
    name = f"{prefix}.experts" if prefix else "experts"
    column, row, part = Split.EXPERT_COLUMN, Split.EXPERT_ROW, Part.EXPERTS
    gate = linear(f"{name}.gate_proj", width, inner, column, part, bias=bias, copies=count)
    up = linear(f"{name}.up_proj", width, inner, column, part, bias=bias, copies=count)
    down = linear(f"{name}.down_proj", inner, width, row, part, bias=bias, copies=count)
    chooses = f"{prefix}.gate" if prefix else "router.proj"
    router = linear(chooses, count, hidden, Split.NONE, Part.ROUTER, bias=router_bias)
    return router + (gate if gated else ()) + up + down
