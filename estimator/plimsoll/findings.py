"""What was found out about a request, as facts: which rule, at which field, with which figures.

Nothing here is worded: `plimsoll.report.wording` has one sentence for every rule. A finding is a
problem or a warning by where it is kept (`Verdict.problems`, `Verdict.warnings`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from plimsoll.errors import PlimsollError
from plimsoll.paths import Field, Places

if TYPE_CHECKING:
    from plimsoll.errors import Problem

Fact = int | float | str | bool | Field | tuple[str, ...]


class Rule(StrEnum):
    """What a finding says; the key of its sentence. Grouped by who finds it out."""

    # the decision
    SIZE = "size"
    REPLICAS = "replicas"
    SHARE = "share"
    BITS = "bits"
    SEQUENCE_BEYOND_CONTEXT = "sequence-beyond-context"
    SEQUENCE_BEYOND_MODEL = "sequence-beyond-model"
    FEWER_SEQUENCES_THAN_ASKED = "fewer-sequences-than-asked"
    COUNT_IS_NOT_THE_SPLIT = "count-is-not-the-split"
    COUNT_IS_NO_MULTIPLE = "count-is-no-multiple"
    NO_SPLIT_OF_THAT_COUNT = "no-split-of-that-count"
    TENSOR_ACROSS_SLICES = "tensor-across-slices"
    REPLICA_BEYOND_NODE = "replica-beyond-node"
    UNKNOWN_ENGINE = "unknown-engine"
    NO_SUCH_MEMORY = "no-such-memory"
    NO_SUCH_MEMORY_IN_ANY = "no-such-memory-in-any"
    STATED_WITHOUT_MEMORY = "stated-without-memory"
    STATED_FOR_SEVERAL = "stated-for-several"
    SELECTOR_NAMES_ANOTHER = "selector-names-another"
    # and what it doubts
    TENSOR_BEYOND_USUAL_NODE = "tensor-beyond-usual-node"
    TENSOR_OVER_NODES = "tensor-over-nodes"
    REPLICA_BEYOND_USUAL_NODE = "replica-beyond-usual-node"
    UNREAD_FLAGS = "unread-flags"
    HOST_MEMORY = "host-memory"
    TOO_LITTLE_HOST_MEMORY = "too-little-host-memory"
    UNKNOWN_CACHE_DTYPE = "unknown-cache-dtype"
    NOMINAL_MEMORY = "nominal-memory"
    UNKNOWN_ACCELERATOR = "unknown-accelerator"
    UNKNOWN_ACCELERATOR_LIKE = "unknown-accelerator-like"
    SEVERAL_ACCELERATORS = "several-accelerators"
    ACCELERATOR_TAKEN_AS = "accelerator-taken-as"
    STATED_CAPABILITY_ASSUMED = "stated-capability-assumed"
    STATED_ABOVE_TABLE = "stated-above-table"
    MODEL_TYPE_ASSUMED = "model-type-assumed"
    WEIGHTS_UNSIZED = "weights-unsized"
    RULES_UNREAD = "rules-unread"
    IDLE_GPUS = "idle-gpus"
    NO_PRICE = "no-price"
    NOTHING_TO_PLAN_ON = "nothing-to-plan-on"
    RELEASE_DECIDES = "release-decides"
    RULE_OF_THUMB_ALONE = "rule-of-thumb-alone"
    UNKNOWN_MODEL = "unknown-model"
    UNKNOWN_MODEL_LIKE = "unknown-model-like"

    # what a pod has against what its engine is told
    FEWER_GPUS_THAN_RANKS = "fewer-gpus-than-ranks"
    MORE_GPUS_THAN_RANKS = "more-gpus-than-ranks"
    SHARED_MEMORY = "shared-memory"

    # what goes beyond a SizingPolicy
    ACCELERATOR_BEYOND_POLICY = "accelerator-beyond-policy"
    STATED_CARD_UNDER_POLICY = "stated-card-under-policy"
    NO_ACCELERATOR_LEFT = "no-accelerator-left"
    GPUS_BEYOND_POLICY = "gpus-beyond-policy"
    OBJECT_BEYOND_POLICY = "object-beyond-policy"
    ENGINE_OLDER_THAN_POLICY = "engine-older-than-policy"
    ENGINE_VERSION_UNSAID = "engine-version-unsaid"
    ANNOTATIONS_MISSING = "annotations-missing"

    # what is said of the model
    UNKNOWN_BASE = "unknown-base"
    UNKNOWN_BASE_LIKE = "unknown-base-like"
    NOT_THE_MODEL_AT_URI = "not-the-model-at-uri"
    NOT_STORED_SO_AT_URI = "not-stored-so-at-uri"
    NOT_STORED_SO_AT_URI_BUT_AT = "not-stored-so-at-uri-but-at"
    UNSURE_REVISION = "unsure-revision"

    # what every engine's layers refuse
    TOO_MANY_STAGES = "too-many-stages"
    UNKNOWN_DTYPE = "unknown-dtype"
    HEADS_DO_NOT_DIVIDE = "heads-do-not-divide"
    KV_HEADS_DO_NOT_DIVIDE = "kv-heads-do-not-divide"
    VOCABULARY_DOES_NOT_DIVIDE = "vocabulary-does-not-divide"
    TENSOR_DOES_NOT_DIVIDE = "tensor-does-not-divide"
    QUANTIZATION_BLOCK_CUT = "quantization-block-cut"
    KERNEL_OUTPUTS_CUT = "kernel-outputs-cut"
    NO_EXPERTS = "no-experts"
    FP8_WEIGHTS_NEED_AMPERE = "fp8-weights-need-ampere"
    FP8_CACHE_NEEDS_AMPERE = "fp8-cache-needs-ampere"
    NO_BFLOAT16 = "no-bfloat16"
    SLICES_APART = "slices-apart"
    HEADS_NOT_GROUPED = "heads-not-grouped"
    GPU_TOO_OLD_FOR_QUANTIZATION = "gpu-too-old-for-quantization"
    NO_FLOAT16 = "no-float16"
    AUTO_IS_BFLOAT16 = "auto-is-bfloat16"
    GPU_TOO_OLD = "gpu-too-old"
    DTYPE_WITHOUT_KERNELS = "dtype-without-kernels"

    # what an engine refuses
    UNKNOWN_STRUCTURE = "unknown-structure"
    UNREADABLE_VERSION = "unreadable-version"
    CONTEXT_BEYOND_MODEL = "context-beyond-model"
    CONTEXT_BEYOND_FIXED_MODEL = "context-beyond-fixed-model"
    BATCH_BELOW_SEQUENCES = "batch-below-sequences"
    BATCH_BELOW_DEFAULT_SEQUENCES = "batch-below-default-sequences"
    SEQUENCES_BEYOND_BATCH = "sequences-beyond-batch"
    BATCH_BELOW_CONTEXT = "batch-below-context"
    BATCH_IS_NO_MULTIPLE_OF_PAGES = "batch-is-no-multiple-of-pages"
    UNKNOWN_QUANTIZATION = "unknown-quantization"
    QUANTIZATION_NOT_WHILE_LOADING = "quantization-not-while-loading"
    QUANTIZATION_OF_CHECKPOINT_ALONE = "quantization-of-checkpoint-alone"
    QUANTIZATION_OF_LATER_RELEASE = "quantization-of-later-release"
    QUANTIZATION_OF_EARLIER_RELEASE = "quantization-of-earlier-release"
    QUANTIZATION_DEPRECATED = "quantization-deprecated"
    QUANTIZATION_OF_OTHER_CHECKPOINT = "quantization-of-other-checkpoint"
    MODEL_OF_LATER_RELEASE = "model-of-later-release"
    MODEL_OF_EARLIER_RELEASE = "model-of-earlier-release"
    LORA_RANK = "lora-rank"
    SPARSE_ATTENTION_WITHOUT_KERNELS = "sparse-attention-without-kernels"
    LATENT_CACHE_OF_EIGHT_BITS = "latent-cache-of-eight-bits"
    MODEL_WITHOUT_STAGES = "model-without-stages"
    CACHE_DTYPE_BESIDE_WEIGHTS = "cache-dtype-beside-weights"
    BUILDS_WITHOUT_KERNELS = "builds-without-kernels"
    REPORTED_NOT_TO_START = "reported-not-to-start"
    QUANTIZATION_NOBODY_KNOWS = "quantization-nobody-knows"
    MODEL_WITHOUT_ADAPTERS = "model-without-adapters"
    DRAFT_WITHOUT_TOKENS = "draft-without-tokens"
    CONTEXT_SPLIT_DOES_NOT_DIVIDE = "context-split-does-not-divide"
    CONTEXT_SPLIT_WITHOUT_COPIES = "context-split-without-copies"
    SHARE_NEVER_FREE = "share-never-free"
    SHARE_NEVER_FREE_TOGETHER = "share-never-free-together"
    SHARE_HELD_BY_OTHERS = "share-held-by-others"
    SHARE_IS_ALL = "share-is-all"
    SEQUENCES_BEYOND_STATES = "sequences-beyond-states"
    GRAPHS_BEYOND_STATES = "graphs-beyond-states"
    NO_ROOM_AFTER_CACHE = "no-room-after-cache"
    LOADED_BEFORE_QUANTIZED = "loaded-before-quantized"
    STRANDED_BY_SLEEP = "stranded-by-sleep"
    NO_CACHE_SIZE = "no-cache-size"
    CACHE_SIZE_IN_OPTIONS_FILE = "cache-size-in-options-file"
    NO_BLOCK_SIZE = "no-block-size"
    NO_PIPELINE = "no-pipeline"
    NO_DATA_PARALLELISM = "no-data-parallelism"
    DATA_AS_REPLICAS = "data-as-replicas"
    DATA_AS_REPLICAS_OR_ATTENTION = "data-as-replicas-or-attention"
    EXPERTS_ARE_CUT = "experts-are-cut"
    NO_EXPERT_PARALLELISM = "no-expert-parallelism"
    EXPERT_RANKS_DO_NOT_DIVIDE = "expert-ranks-do-not-divide"
    TENSOR_SIZE = "tensor-size"
    TENSOR_AS_PIPELINE = "tensor-as-pipeline"
    STAGES_OF_BUILT_ENGINE = "stages-of-built-engine"
    STAGES_BEYOND_OUTPUT = "stages-beyond-output"
    STAGES_WITHOUT_SPLIT = "stages-without-split"
    NO_NVIDIA_GPU = "no-nvidia-gpu"
    CACHE_NEEDS_NEWER_GPU = "cache-needs-newer-gpu"
    NO_MEMORY_SHARE = "no-memory-share"
    NO_CACHE_BYTES = "no-cache-bytes"
    NO_CACHE_BLOCKS = "no-cache-blocks"
    NO_EAGER_MODE = "no-eager-mode"
    DTYPE_OF_FILE = "dtype-of-file"
    UNKNOWN_FILE_TYPE = "unknown-file-type"
    UNKNOWN_CACHE_TYPE = "unknown-cache-type"
    VALUES_NEED_FLASH_ATTENTION = "values-need-flash-attention"
    SLOTS_BEYOND_MOST = "slots-beyond-most"
    CONTEXT_BEYOND_SLOT = "context-beyond-slot"
    PROMPT_BEYOND_CONTEXT = "prompt-beyond-context"
    BATCH_TOTAL_BELOW_CONTEXT = "batch-total-below-context"
    NO_SUCH_FIELD = "no-such-field"

    # what a command line says wrong
    ANOTHER_MODEL = "another-model"
    TWO_ARGUMENTS_IN_ONE = "two-arguments-in-one"
    FLAG_WITHOUT_VALUE = "flag-without-value"
    FLAG_UNREADABLE = "flag-unreadable"
    FLAG_WITH_EQUALS = "flag-with-equals"
    FLAG_CONTRADICTS_FIELD = "flag-contradicts-field"
    FEATURE_CONTRADICTS_FIELD = "feature-contradicts-field"
    LORA_SWITCHED_OFF = "lora-switched-off"
    FLAG_OF_LATER_RELEASE = "flag-of-later-release"
    FLAG_OF_EARLIER_RELEASE = "flag-of-earlier-release"
    DRAFT_CONFIG = "draft-config"
    ITEM_LIMIT = "item-limit"
    ATTENTION_RANKS_DO_NOT_DIVIDE = "attention-ranks-do-not-divide"
    ATTENTION_RANKS_CONTRADICT = "attention-ranks-contradict"
    ATTENTION_RANKS_BESIDE_COPIES = "attention-ranks-beside-copies"
    NOT_SHARDED = "not-sharded"
    SHARDED_VALUE = "sharded-value"
    FILE_OF_OTHER_TYPE = "file-of-other-type"
    FILE_OF_OTHER_MODEL = "file-of-other-model"
    UNPRINTABLE = "unprintable"
    # and what it says in vain
    STRAY_ARGUMENT = "stray-argument"
    UNKNOWN_FLAG = "unknown-flag"
    FLAG_GIVEN_TWICE = "flag-given-twice"
    LORA_FLAG_IN_VAIN = "lora-flag-in-vain"

    # what an estimate assumes
    ENGINE_ASSUMED = "engine-assumed"
    NEWER_VERSION_ASSUMED = "newer-version-assumed"
    NEWER_BUILD_ASSUMED = "newer-build-assumed"
    MODEL_BY_TRANSFORMERS = "model-by-transformers"
    STORED_BY_NAME = "stored-by-name"
    FILE_BY_NAME = "file-by-name"
    CACHE_DTYPE_ASSUMED = "cache-dtype-assumed"
    CACHE_SIZE_ASSUMED = "cache-size-assumed"
    NOMINAL_MEMORY_ASSUMED = "nominal-memory-assumed"
    FLAGS_NOT_COUNTED = "flags-not-counted"
    SHARE_REDUCED = "share-reduced"
    CONTEXT_MAY_BE_LONGER = "context-may-be-longer"
    SHARED_EXPERTS_WHOLE = "shared-experts-whole"
    CONTEXT_FITTED = "context-fitted"
    STATE_PAGE = "state-page"
    STATE_PAGES = "state-pages"
    IMAGES_NOT_PROFILED = "images-not-profiled"
    TGI_ASSUMED = "tgi-assumed"
    LONGEST_CONTEXT_TAKEN = "longest-context-taken"
    TENSORRT_LLM_ASSUMED = "tensorrt-llm-assumed"
    BUILT_ENGINE = "built-engine"
    CACHE_DTYPE_IN_OPTIONS_FILE = "cache-dtype-in-options-file"
    FILE_TYPE_OF_OTHER_KIND = "file-type-of-other-kind"
    FILE_TYPE_UNSAID = "file-type-unsaid"
    FILE_MIXTURE_ASSUMED = "file-mixture-assumed"
    MAIN_MEMORY_NOT_COUNTED = "main-memory-not-counted"
    TEXT_ONLY = "text-only"
    CALIBRATED = "calibrated"

    # what it could give back
    # what the engine's own start-up said, without a GPU
    ENGINE_REFUSED = "engine-refused"
    ENGINE_WEIGHS_OTHERWISE = "engine-weighs-otherwise"
    ENGINE_HOLDS_FEWER = "engine-holds-fewer"
    FEWER_GPUS_WOULD_DO = "fewer-gpus-would-do"
    SMALLER_GPUS_WOULD_DO = "smaller-gpus-would-do"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about a request that somebody should read.

    field: what it is about; index: which element of it, if it is a list.
    given: the value that was there, as it stood; None if there was none.
    facts: the figures and names of the sentence, by the names that the sentence uses.
    """

    rule: Rule
    field: Field
    given: object = None
    facts: tuple[tuple[str, Fact], ...] = ()
    index: int | None = None


def finding(
    rule: Rule, field: Field, given: object = None, index: int | None = None, **facts: Fact
) -> Finding:
    """A finding with its facts by name."""
    return Finding(rule, field, given, tuple(facts.items()), index)


class Refused(PlimsollError):
    """A request with one or more problems, all of them at once."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = findings
        super().__init__(", ".join(f"{one.field}: {one.rule}" for one in findings))


def path_of(problem: Finding | Problem, places: Places) -> str:
    """Where an object keeps what a problem is about."""
    if isinstance(problem, Finding):
        return places.path(problem.field, problem.index)
    return problem.path
