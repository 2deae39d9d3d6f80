"""Token pools against the tokens and sizes that real servers logged."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from architectures import H100, build, dense, hybrid, latent, windows
from plimsoll.accelerators.catalogue import find
from plimsoll.engines.base import (
    NO_OPTIONS,
    NOTHING_ASKED,
    EngineSettings,
    Options,
    Parallelism,
)
from plimsoll.engines.sglang.engine import SGLang
from plimsoll.engines.sglang.pools import Pools, StageCells, pools
from plimsoll.engines.sglang.settings import TABLE, SGLangOptions, resolve
from plimsoll.models.architecture import Architecture, Block, FeedForward, Mixer, MixerKind
from plimsoll.models.catalogue import load
from plimsoll.units import GIB

VERSION = "0.5.10"


def made(
    model: Architecture,
    tensor: int = 1,
    version: str = VERSION,
    options: Options = NO_OPTIONS,
    kv: str = "",
    page: int | None = None,
    seqs: int | None = None,
) -> Pools:
    """The pools of a model."""
    settings = EngineSettings(
        name="sglang",
        version=version,
        kv_cache_dtype=kv,
        block_size=page,
        options=options,
        max_num_seqs=seqs,
        utilization=Decimal("0.8"),
    )
    split, figures = Parallelism(tensor=tensor), TABLE.constants(version)
    resolved = resolve(model, settings, split, H100, figures)
    return pools(model, settings, resolved, split, figures)


def test_tokens_are_the_pool_over_the_bytes_of_a_token() -> None:
    # https://github.com/sgl-project/sglang/pull/4760: Llama 3.1 8B, 2 x 27.02 GB, 442,750 tokens
    own = made(dense(layers=32, kv_heads=8, head_dim=128))
    assert own.stages[0].full == 131072
    assert own.tokens([442750 * 131072 + 131071]) == 442750


def test_a_model_of_four_kv_heads_and_28_layers_takes_56_kib_a_token() -> None:
    # DeepSeek-R1-Distill-Qwen-7B: 2 x 2.82 GB, 105,531 tokens
    own = made(dense(layers=28, kv_heads=4, head_dim=128))
    assert own.tokens([int(5.636 * GIB)]) == pytest.approx(105531, rel=1e-3)


def test_mla_is_not_cut_by_tensor_parallelism() -> None:
    # https://github.com/sgl-project/sglang/issues/21611: 36 layers of 256 + 64, 52.22 GiB
    mixer = Mixer(MixerKind.MLA, 32, 1, 320, 0)
    model = build((Block((mixer,), FeedForward(4096), ()),) * 36, hidden=4096)
    own = made(model, tensor=4)
    assert own.stages[0].full == 23040
    assert own.tokens([2433591 * 23040]) == 2433591


def test_sliding_layers_have_a_pool_of_four_fifths_the_tokens() -> None:
    # https://github.com/sgl-project/sglang/pull/18039: MiMo-V2-Flash, TP4, 375,360 full tokens
    # beside a sliding pool of 13.97 GiB
    sliding = Mixer(MixerKind.SLIDING, 64, 8, 192, 128, window=128)
    full = Mixer(MixerKind.FULL, 64, 4, 192, 128)
    part = FeedForward(1024)
    blocks = (Block((full,), part, ()),) * 9 + (Block((sliding,), part, ()),) * 39
    model = replace(build(blocks, hidden=4096), class_name="MiMoV2FlashForCausalLM")
    own = made(model, tensor=4, page=64)
    assert own.ratio == Fraction(4, 5)
    assert own.stages[0].sliding * 375360 * 4 // 5 / GIB == pytest.approx(13.97, abs=0.01)
    fits = own.tokens([375360 * own.stages[0].full + 375360 * 4 // 5 * own.stages[0].sliding])
    assert fits == 375360


def test_layers_that_read_anothers_keys_have_a_cache_all_the_same() -> None:
    # Gemma 4 E4B, 42 layers, 18 of which share: 997,846 full and 798,276 sliding tokens are logged
    # as 79.94 GB, which is 7 full and 35 sliding layers
    part = FeedForward(10240)
    full = Mixer(MixerKind.FULL, 8, 2, 512, 512)
    sliding = Mixer(MixerKind.SLIDING, 8, 2, 256, 256, window=512)
    own = ((sliding,) * 5 + (full,)) * 4
    shared = tuple(replace(m, shares_kv=True) for m in ((sliding,) * 5 + (full,)) * 3)
    blocks = tuple(Block((m,), part, ()) for m in own + shared)
    model = build(blocks, hidden=2560, max_model_len=131072)
    made_of = made(
        replace(model, class_name="Gemma4ForConditionalGeneration"), version="0.5.20"
    ).stages[0]
    logged = 997846 * made_of.full + 798276 * made_of.sliding
    assert logged / GIB == pytest.approx(79.94, abs=0.02)


def test_states_take_nine_nineteenths_of_the_memory() -> None:
    # Qwen3.5-9B, TP2, 0.8 of 22.93 GiB: 9.49 GiB left give 186 slots and 327,310 tokens
    attention = Mixer(MixerKind.FULL, 16, 4, 256, 256)
    state = Mixer(
        MixerKind.LINEAR, 0, 0, 0, 0, conv_elements=3 * 8192, state_elements=32 * 128 * 128
    )
    part = FeedForward(12288)
    blocks = ((Block((state,), part, ()),) * 3 + (Block((attention,), part, ()),)) * 8
    model = build(blocks, hidden=4096, heads=16, max_model_len=262144)
    own = made(model, tensor=2)
    memory = int(9.494 * GIB)
    assert own.tokens([memory]) == pytest.approx(327310, rel=5e-3)
    assert own._slots(own.stages[0], memory) == pytest.approx(186, abs=1)
    assert own.requests([memory], 327310, 1024) == 62


def test_without_a_radix_cache_a_request_takes_one_slot_of_state() -> None:
    kept, cut = made(hybrid()), made(hybrid(), options=SGLangOptions(disable_radix_cache=True))
    assert (kept.per_request, cut.per_request) == (3, 1)


def test_slots_that_are_said_are_allocated_whatever_is_asked() -> None:
    own = made(hybrid(), options=SGLangOptions(max_mamba_cache_size=40))
    assert own.need(0, 1, 1) >= 40 * own.stages[0].slot


def test_pages_round_tokens_down() -> None:
    own = made(dense(), page=64)
    assert own.tokens([own.stages[0].full * 1000]) == 960


def test_max_total_tokens_ends_the_pool() -> None:
    own = made(dense(), options=SGLangOptions(max_total_tokens=1000))
    assert own.tokens([own.stages[0].full * 100000]) == 1000


def test_a_model_that_is_not_known_to_slide_keeps_every_token_everywhere() -> None:
    model = windows(full=2, sliding=6, window=128, kv_heads=4, head_dim=64)
    assert made(model).stages[0].sliding == 0
    oss = replace(model, class_name="GptOssForCausalLM")
    assert made(oss).stages[0].sliding > 0
    assert made(oss, version="0.5.5").stages[0].sliding == 0
    assert made(oss, options=SGLangOptions(disable_hybrid_swa_memory=True)).stages[0].sliding == 0


CELLS = st.builds(
    StageCells,
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**8),
    st.integers(1, 4096),
)
ANY = st.builds(
    Pools,
    st.lists(CELLS, min_size=1, max_size=3).map(tuple),
    st.sampled_from([1, 16, 64]),
    st.sampled_from([Fraction(4, 5), Fraction(1), Fraction(1, 10)]),
    st.sampled_from([Fraction(9, 10), Fraction(1, 2)]),
    st.sampled_from([0, 0, 7]),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([0, 0, 5000]),
)


@given(ANY, st.lists(st.integers(1, 10**6), min_size=2, max_size=5), st.integers(1, 64))
def test_more_tokens_never_need_less(own: Pools, lengths: list[int], requests: int) -> None:
    for stage in range(len(own.stages)):
        needs = [own.need(stage, requests, n) for n in sorted(lengths)]
        assert all(a <= b for a, b in pairwise(needs))


@given(ANY, st.integers(1, 10**5), st.lists(st.integers(1, 512), min_size=2, max_size=5))
def test_more_requests_never_need_less(own: Pools, tokens: int, counts: list[int]) -> None:
    for stage in range(len(own.stages)):
        needs = [own.need(stage, n, tokens) for n in sorted(counts)]
        assert all(a <= b for a, b in pairwise(needs))


@given(ANY, st.integers(-(10**9), 10**11), st.integers(1, 10**6))
def test_the_longest_request_fits_and_a_page_more_does_not(
    own: Pools, memory: int, most: int
) -> None:
    room = [memory] * len(own.stages)
    longest = own.longest(room, most)
    assert 0 <= longest <= most
    if longest and not own.most:
        assert all(own.tokens(room) >= longest for stage in own.stages if stage.full)


@pytest.mark.parametrize("model", [dense(), latent(), hybrid()])
def test_a_wider_cache_never_holds_more(model: Architecture) -> None:
    room = [8 * GIB]
    held = [made(model, kv=kv).tokens(room) for kv in ("auto", "mxfp8", "fp8_e4m3", "fp4_e2m1")]
    assert all(a <= b for a, b in pairwise(held))


def slots_of_one(version: str, *args: str) -> int:
    """Slots of state that one running request of Qwen3.5-27B holds on an 80 GB GPU."""
    entry, gpu = load().find("Qwen/Qwen3.5-27B"), find("nvidia-h100-80gb")
    assert entry is not None
    assert gpu is not None
    reading = SGLang().read_arguments(args, EngineSettings("sglang", version), NOTHING_ASKED)
    assert not reading.problems
    figures = TABLE.or_newest(version)
    resolved = resolve(entry.architecture, reading.settings, Parallelism(), gpu, figures)
    return pools(entry.architecture, reading.settings, resolved, Parallelism(), figures).per_request


@pytest.mark.parametrize(
    ("version", "args", "slots"),
    [
        ("0.5.13", (), 3),
        ("0.5.14", (), 5),
        ("0.5.23", (), 5),
        ("0.5.23", ("--mamba-radix-cache-strategy", "no_buffer"), 3),
        ("0.5.23", ("--mamba-radix-cache-strategy", "extra_buffer_lazy"), 4),
        ("0.5.23", ("--disable-overlap-schedule",), 3),
        ("0.5.10", ("--mamba-scheduler-strategy", "extra_buffer"), 5),
        ("0.5.23", ("--disable-radix-cache",), 1),
    ],
)
def test_a_request_holds_slots_for_snapshots_of_its_states_from_0_5_14_on(
    version: str, args: tuple[str, ...], slots: int
) -> None:
    """mamba_ratio=5 in the refusal of a start of Qwen3.5-27B on one 24 GB GPU."""
    assert slots_of_one(version, *args) == slots
