"""What engines and their command lines refuse, and what an estimate assumes: a text for every rule.

See `plimsoll.report.wording` for what a text may name.
"""

from __future__ import annotations

from typing import Final

from plimsoll.findings import Rule

_SMALLER: Final = "take a smaller size, more pipeline stages, or an unquantized checkpoint"
_ONE_PLACE: Final = "say it in one place only"
_LONGEST: Final = "at most {longest}, the longest context of the model's config"

REFUSALS: Final[dict[Rule, tuple[str, str]]] = {
    # what every engine's layers refuse
    Rule.TOO_MANY_STAGES: ("at most {layers}, the number of layers", ""),
    Rule.UNKNOWN_DTYPE: ("one of {known}", ""),
    Rule.HEADS_DO_NOT_DIVIDE: (
        "a divisor of the model's {heads} attention heads",
        "{near:or} would do",
    ),
    Rule.KV_HEADS_DO_NOT_DIVIDE: (
        "a divisor or a multiple of the model's {heads} key/value heads",
        "{near:or} would do",
    ),
    Rule.VOCABULARY_DOES_NOT_DIVIDE: (
        "a divisor of the vocabulary padded to {padded}",
        "a power of two up to 64 always is",
    ),
    Rule.TENSOR_DOES_NOT_DIVIDE: ("a divisor of {tensor}'s {size} (split {ways} ways)", _SMALLER),
    Rule.QUANTIZATION_BLOCK_CUT: (
        "a size that leaves {tensor} a multiple of {step}, its quantization block "
        "(it would be {size} per GPU)",
        _SMALLER,
    ),
    Rule.KERNEL_OUTPUTS_CUT: (
        "a size that leaves {tensor} a multiple of {step} outputs per GPU for 4-bit kernels "
        "(it would be {size})",
        _SMALLER,
    ),
    Rule.NO_EXPERTS: ("must be false: the model has no experts", ""),
    Rule.FP8_WEIGHTS_NEED_AMPERE: (
        "another quantization: fp8 weights need compute capability 8.0, {gpu} has {compute}",
        "take a 4-bit or 16-bit checkpoint, or a newer GPU",
    ),
    Rule.FP8_CACHE_NEEDS_AMPERE: (
        "auto: an fp8 cache needs compute capability 8.0, {gpu} has {compute}",
        "",
    ),
    Rule.NO_BFLOAT16: ("float16: {gpu} has no bfloat16", ""),
    Rule.SLICES_APART: (
        "must be 1 on {gpu}: MIG slices cannot work together on one model",
        "take a larger slice or whole GPUs",
    ),
    Rule.HEADS_NOT_GROUPED: (
        "a divisor of the model's {heads} attention heads as its number of key/value heads",
        "check num_key_value_heads in its config",
    ),
    Rule.GPU_TOO_OLD_FOR_QUANTIZATION: (
        "another quantization: {method} weights need compute capability {needs}, "
        "{gpu} has {compute}",
        "take another checkpoint, or a newer GPU",
    ),
    Rule.NO_FLOAT16: (
        "float32 on {gpu}: this model's numbers are too large for float16, and it has no bfloat16",
        "leave it out, or take a newer GPU",
    ),
    Rule.AUTO_IS_BFLOAT16: (
        "float16: vLLM {version} starts this model in bfloat16, which {gpu} does not have",
        "set {name_of.dtype} to float16, or take vLLM 0.9 or later",
    ),
    Rule.GPU_TOO_OLD: (
        "a GPU of compute capability {needs} or more: {gpu} has {compute}, "
        "for which {engine} has no kernels",
        "",
    ),
    Rule.DTYPE_WITHOUT_KERNELS: (
        "{known:or}: {method} weights have no kernels for {dtype} on {gpu}",
        "set {name_of.dtype}, or take another checkpoint",
    ),
    # what an engine refuses
    Rule.UNKNOWN_STRUCTURE: (
        "a model whose structure is known",
        "name a catalogue model with {name_of.base_model}, or give its config.json",
    ),
    Rule.UNREADABLE_VERSION: ("{wanted}", "or leave it out for the newest known"),
    Rule.CONTEXT_BEYOND_MODEL: (
        _LONGEST,
        "lower it, or lengthen the context with {flag} in {at.extra_args}",
    ),
    Rule.CONTEXT_BEYOND_FIXED_MODEL: (_LONGEST, ""),
    Rule.BATCH_BELOW_SEQUENCES: ("at least {name_of.max_num_seqs} ({sequences})", ""),
    Rule.BATCH_BELOW_DEFAULT_SEQUENCES: (
        "at least {sequences}, the sequences with which vLLM {version} starts on {gpu} "
        "if none are said",
        "raise it, or set {name_of.max_num_seqs} to {given} or less",
    ),
    Rule.SEQUENCES_BEYOND_BATCH: (
        "at most {tokens}, the batched tokens with which vLLM starts on {gpu} if none are said",
        "lower it, or set {name_of.max_num_batched_tokens} to {given} or more",
    ),
    Rule.BATCH_BELOW_CONTEXT: (
        "at least max_model_len ({length}) where chunked prefill is off",
        "",
    ),
    Rule.BATCH_IS_NO_MULTIPLE_OF_PAGES: ("a multiple of the page size ({page})", ""),
    Rule.UNKNOWN_QUANTIZATION: ("a quantization that {engine} knows", "{engine} has {near}"),
    Rule.QUANTIZATION_NOT_WHILE_LOADING: (
        "a quantization that {engine} applies while it loads: {known}",
        "if the checkpoint is stored as {given}, say so in {at.stored}",
    ),
    Rule.QUANTIZATION_OF_CHECKPOINT_ALONE: (
        "unset: {engine} takes a quantization from the checkpoint alone",
        "name a checkpoint that is stored so, or say it in {at.stored}",
    ),
    Rule.QUANTIZATION_OF_LATER_RELEASE: (
        "a quantization that {engine} {version} knows",
        "take {engine} {release} or later, or {near:or}",
    ),
    Rule.QUANTIZATION_OF_EARLIER_RELEASE: (
        "a quantization that {engine} {version} knows",
        "take {engine} before {release}, or {near:or}",
    ),
    Rule.QUANTIZATION_DEPRECATED: (
        "a quantization that vLLM {version} still takes",
        "add {flag} to {at.extra_args}, or take another",
    ),
    Rule.QUANTIZATION_OF_OTHER_CHECKPOINT: (
        "unset: the checkpoint is stored as {method}",
        "leave it out: vLLM reads it from the checkpoint",
    ),
    Rule.MODEL_OF_LATER_RELEASE: (
        "{engine} {release} or later: {name} is not in {version}",
        "",
    ),
    Rule.MODEL_OF_EARLIER_RELEASE: (
        "a vLLM before {release}: {name} was removed from it",
        "",
    ),
    Rule.SPARSE_ATTENTION_WITHOUT_KERNELS: (
        "a GPU of compute capability 9.0 or 10.0: vLLM {version} has no kernels of sparse attention"
        " for {compute}",
        "take Hopper or Blackwell",
    ),
    Rule.LATENT_CACHE_OF_EIGHT_BITS: (
        "auto: on {gpu} ({compute}) vLLM {version} attends to latents by Triton, which takes no"
        " cache of 8 bits there",
        "leave it out, or take Hopper",
    ),
    Rule.MODEL_WITHOUT_STAGES: (
        "1: vLLM {version} has no pipeline stages for {name}",
        "split it by tensor parallelism alone",
    ),
    Rule.MODEL_WITHOUT_ADAPTERS: (
        "none: vLLM {version} loads no LoRA adapters on {name}",
        "merge the adapter into the weights, or take a release that can",
    ),
    Rule.LORA_RANK: ("one of {known}", "take {near}: adapters of a smaller rank go into it"),
    Rule.DRAFT_WITHOUT_TOKENS: (
        "the number of tokens that {method} guesses in one step",
        "say it, e.g. 3",
    ),
    Rule.CONTEXT_SPLIT_DOES_NOT_DIVIDE: (
        "a multiple of --decode-context-parallel-size {ways}",
        "{ways} would do",
    ),
    Rule.CONTEXT_SPLIT_WITHOUT_COPIES: (
        "at least {least}: {heads} key/value heads leave no copies to split {ways} ways",
        "lower --decode-context-parallel-size",
    ),
    Rule.SHARE_NEVER_FREE: (
        "at most {most} on {gpu}: vLLM starts only where that share is free, "
        "and the CUDA context takes about {context} first",
        "",
    ),
    Rule.SHARE_NEVER_FREE_TOGETHER: (
        "at most {most} on {gpu}: vLLM starts only where that share is free, "
        "and the CUDA context and NCCL take about {context} first",
        "",
    ),
    Rule.SHARE_HELD_BY_OTHERS: (
        "at most {most} on {gpu}: vLLM starts only where that share is free; others hold {held}, "
        "and the CUDA context takes about {context}",
        "lower it, or {at.reserved} if less is held",
    ),
    Rule.SHARE_IS_ALL: ("below 1", ""),
    Rule.SEQUENCES_BEYOND_STATES: (
        "at most {most} on {gpu} (by the estimate, {low} to {high}): each sequence of this model "
        "takes a block of the cache for its state, and vLLM refuses to start with more sequences "
        "than blocks",
        "lower it, or leave the cache more memory",
    ),
    Rule.GRAPHS_BEYOND_STATES: (
        "at most {most} on {gpu} (by the estimate, {low} to {high}): each sequence of this model "
        "takes a block of the cache for its state, and this vLLM dies capturing a CUDA graph of "
        "more sequences than blocks",
        "lower it, leave the cache more memory, or take vLLM 0.18 or later",
    ),
    Rule.LOADED_BEFORE_QUANTIZED: (
        "weights that fit in 16 bits first: this vLLM loads all of them and quantizes then, which "
        "takes {needed} of {left} on {gpu}",
        "name a checkpoint that is stored so, or take vLLM 0.16 or later",
    ),
    Rule.STRANDED_BY_SLEEP: (
        "less held while loading: in sleep mode vLLM gives back nothing of what it converts "
        "experts from, which takes some {needed} of {left} on {gpu}",
        "leave it out, or cut the model over more GPUs",
    ),
    Rule.NO_ROOM_AFTER_CACHE: (
        "less: once the cache is taken, {needed} are still needed on {gpu} and {left} are left "
        "({basis})",
        "lower it, lower {name_of.max_num_seqs}, or set {name_of.enforce_eager}",
    ),
    Rule.NO_CACHE_SIZE: (
        "nothing: {engine} has no size of the cache in bytes",
        "set {name_of.utilization}, or {flag} in {at.extra_args}",
    ),
    Rule.CACHE_SIZE_IN_OPTIONS_FILE: (
        "unset: TensorRT-LLM takes bytes of cache only from its options file",
        "set {name_of.utilization} (the share of free memory), or max_gpu_total_bytes there",
    ),
    Rule.NO_BLOCK_SIZE: ("nothing: TGI takes the block size from its attention kernels", ""),
    Rule.NO_PIPELINE: (
        "must be 1: {engine} has no pipeline parallelism",
        "take tensor parallelism",
    ),
    Rule.NO_DATA_PARALLELISM: ("must be 1: {engine} has no data parallelism", "run more replicas"),
    Rule.DATA_AS_REPLICAS: ("must be 1", "run more replicas"),
    Rule.DATA_AS_REPLICAS_OR_ATTENTION: (
        "must be 1",
        "run more replicas, or add --enable_attention_dp to {at.extra_args}",
    ),
    Rule.EXPERTS_ARE_CUT: ("must be false: {engine} cuts experts over its GPUs", ""),
    Rule.NO_EXPERT_PARALLELISM: ("must be false: {engine} has no expert parallelism", ""),
    Rule.EXPERT_RANKS_DO_NOT_DIVIDE: (
        "an expert-parallel size that divides {experts} experts and {ranks} ranks",
        "",
    ),
    Rule.TENSOR_SIZE: (
        "a size that divides the model's heads, vocabulary and quantization blocks",
        "up to it {sizes} would do",
    ),
    Rule.TENSOR_AS_PIPELINE: (
        "must be 1: llama.cpp shares a model among GPUs layer by layer",
        "set {at.pipeline} to {given}",
    ),
    Rule.STAGES_OF_BUILT_ENGINE: (
        "a divisor of the model's {layers} layers for a built engine",
        "",
    ),
    Rule.STAGES_BEYOND_OUTPUT: ("at most {most}, layers and output", ""),
    Rule.STAGES_WITHOUT_SPLIT: ("must be 1 with --split-mode none", ""),
    Rule.NO_NVIDIA_GPU: ("another engine: {gpu} is no NVIDIA GPU", ""),
    Rule.CACHE_NEEDS_NEWER_GPU: (
        "auto: that cache needs compute capability {needs}, {gpu} has {compute}",
        "",
    ),
    Rule.NO_MEMORY_SHARE: ("unset for llama.cpp", "it takes what it needs and no share"),
    Rule.NO_CACHE_BYTES: (
        "unset for llama.cpp",
        "say {name_of.max_model_len}, or --ctx-size in {name_of.extra_args}",
    ),
    Rule.NO_CACHE_BLOCKS: ("unset for llama.cpp", "its cache has no blocks"),
    Rule.NO_EAGER_MODE: ("unset for llama.cpp", "it has no such mode"),
    Rule.DTYPE_OF_FILE: ("unset for llama.cpp", "the GGUF file says it; say {at.quantization}"),
    Rule.UNKNOWN_FILE_TYPE: (
        "a GGUF file type such as q4_k_m, q5_k_m, q6_k, q8_0 or f16",
        "known here: {known}",
    ),
    Rule.UNKNOWN_CACHE_TYPE: ("a cache type: {known}", ""),
    Rule.CACHE_DTYPE_BESIDE_WEIGHTS: (
        "auto: the model starts in {dtype}, and its cache must be of the same 16 bits",
        "leave it out",
    ),
    Rule.VALUES_NEED_FLASH_ATTENTION: (
        "f16 values: a quantized cache of values needs flash attention",
        "add --flash-attn on to {at.extra_args}",
    ),
    Rule.SLOTS_BEYOND_MOST: ("at most {most}: llama.cpp keeps no more slots", ""),
    Rule.CONTEXT_BEYOND_SLOT: (
        "at most {most}, what --ctx-size {context} leaves each of {slots} slots",
        "raise --ctx-size, or leave it out",
    ),
    Rule.PROMPT_BEYOND_CONTEXT: ("below {name_of.max_model_len} ({length})", ""),
    Rule.BATCH_TOTAL_BELOW_CONTEXT: ("at least {name_of.max_model_len} ({length})", ""),
    Rule.NO_SUCH_FIELD: (
        "no such field beside engine {engine}",
        "leave it out; flags of the engine go into {at.extra_args}",
    ),
    # what a command line says wrong
    Rule.ANOTHER_MODEL: (
        "no flag that names a model: the engine would serve that one",
        "say the model in {at.model} alone",
    ),
    Rule.TWO_ARGUMENTS_IN_ONE: (
        "one argument per entry",
        "write --flag=value, or the flag and its value as two entries",
    ),
    Rule.FLAG_WITHOUT_VALUE: ("a flag with a value", ""),
    Rule.FLAG_UNREADABLE: ("{flag} as {wanted}", ""),
    Rule.FLAG_WITH_EQUALS: (
        "the flag and its value as two entries: {engine} does not read --flag=value",
        "write {flag} and {shown.value}",
    ),
    Rule.FLAG_CONTRADICTS_FIELD: ("the same as {typed} ({value})", _ONE_PLACE),
    Rule.FEATURE_CONTRADICTS_FIELD: ("the same as {typed} ({value})", _ONE_PLACE),
    Rule.LORA_SWITCHED_OFF: (
        "no flag beside {at.lora} that switches it off",
        "remove one of the two",
    ),
    Rule.FLAG_OF_LATER_RELEASE: (
        "no {flag}: vLLM {version} does not have it yet",
        "take vLLM {release} or later, or leave it out",
    ),
    Rule.FLAG_OF_EARLIER_RELEASE: (
        "no {flag}: vLLM {version} no longer has it",
        "leave it out, or take a vLLM before {release}",
    ),
    Rule.DRAFT_CONFIG: ("{key} as {wanted}", ""),
    Rule.ITEM_LIMIT: ("a whole number of items", ""),
    Rule.ATTENTION_RANKS_DO_NOT_DIVIDE: (
        "a multiple of --dp-size ({data}), which lies inside it with --enable-dp-attention",
        "",
    ),
    Rule.ATTENTION_RANKS_CONTRADICT: ("{at.tensor} ({tensor})", _ONE_PLACE),
    Rule.ATTENTION_RANKS_BESIDE_COPIES: (
        "no --dp-size ({data}) beside it: SGLang refuses copies of a model whose attention is data "
        "parallel",
        "say one of the two",
    ),
    Rule.NOT_SHARDED: ("true, or no --sharded: {gpus} GPUs are asked for", ""),
    Rule.SHARDED_VALUE: ("true or false", ""),
    Rule.FILE_OF_OTHER_MODEL: (
        "a file of the model in {at.model}: by its name this is {other}",
        "name the same model in both places",
    ),
    Rule.UNPRINTABLE: ("characters that can be printed", "type the argument anew"),
    Rule.FILE_OF_OTHER_TYPE: (
        "a file of the type in {at.quantization} ({quantization})",
        _ONE_PLACE,
    ),
}
"""What would have been right, and the next step (empty if the first says it all)."""

GIVEN: Final[dict[Rule, str]] = {
    Rule.FEATURE_CONTRADICTS_FIELD: "{written}",
    Rule.LORA_SWITCHED_OFF: "--no-enable-lora",
    Rule.DRAFT_CONFIG: "{key}: {shown.value}",
    Rule.ITEM_LIMIT: "{shown.kind}: {shown.limit}",
    Rule.NOT_SHARDED: "--sharded=false",
    Rule.NO_NVIDIA_GPU: "{engine}",
    Rule.PROMPT_BEYOND_CONTEXT: "--max-input-tokens={tokens}",
    Rule.BATCH_TOTAL_BELOW_CONTEXT: "--max-batch-total-tokens={tokens}",
}
"""What was there, for the rules that name a part of it."""

VAIN: Final[dict[Rule, str]] = {
    Rule.STRAY_ARGUMENT: "{path}: {given} belongs to no flag",
    Rule.UNKNOWN_FLAG: (
        "{path}: {given} is no flag of {engine} known here; it is passed on and counted as nothing"
    ),
    Rule.FLAG_GIVEN_TWICE: "{path}: {flag} is given twice; the last one holds",
    Rule.LORA_FLAG_IN_VAIN: "{path}: {flag} changes nothing without --enable-lora",
}
"""What a command line says without effect."""

ASSUMED: Final[dict[Rule, str]] = {
    Rule.ENGINE_ASSUMED: ("this engine's memory is not known here: all but the weights is assumed"),
    Rule.NEWER_VERSION_ASSUMED: (
        "{engine} {version} is newer than the constants known here; "
        "those of the newest version are assumed"
    ),
    Rule.NEWER_BUILD_ASSUMED: (
        "{engine} {version} is newer than the builds known here; "
        "the figures of the newest of them are assumed"
    ),
    Rule.BUILDS_WITHOUT_KERNELS: (
        "the wheels and images of {engine} {version} are built without kernels for {gpu} "
        "(compute capability {compute}): it may start only from a build of your own"
    ),
    Rule.REPORTED_NOT_TO_START: (
        "{engine} {version} is reported not to start with {name}, and nobody found why: {sources}"
    ),
    Rule.QUANTIZATION_NOBODY_KNOWS: (
        "no engine that is known here has a quantization {word}: {near:or} may be meant"
    ),
    Rule.MODEL_BY_TRANSFORMERS: (
        "{engine} {version} has no {name} of its own, which changed with {release}: it starts it "
        "only if the transformers beside it knows the model and can run it"
    ),
    Rule.CACHE_DTYPE_ASSUMED: "KV cache dtype {dtype} is not known here; 16 bits are assumed",
    Rule.CACHE_SIZE_ASSUMED: "KV cache dtype {dtype} is not known here; its size is assumed",
    Rule.NOMINAL_MEMORY_ASSUMED: "the memory of {gpu} is nominal, not measured",
    Rule.FLAGS_NOT_COUNTED: "not counted: {flags}",
    Rule.CALIBRATED: (
        "the ranges of {terms} are narrowed by what start-ups of yours like this one measured "
        "({count})"
    ),
    Rule.FEWER_GPUS_WOULD_DO: (
        "{path}: {gpus} x {accelerator} a replica would do, it has {asked}: they hold {held} "
        "requests of {context:,} at once"
    ),
    Rule.SMALLER_GPUS_WOULD_DO: (
        "{path}: smaller GPUs would do, {gpus} x {accelerator} a replica: they hold {held} "
        "requests of {context:,} at once"
    ),
    Rule.SHARE_REDUCED: (
        "utilization {share} leaves no room for what vLLM does not count "
        "(CUDA context, NCCL, what others hold); usable memory is reduced by it"
    ),
    Rule.CONTEXT_MAY_BE_LONGER: (
        "vLLM starts this LongRoPE model with {length:,} tokens; "
        "{name_of.max_model_len} may be up to {most}"
    ),
    Rule.SHARED_EXPERTS_WHOLE: (
        "shared experts are counted whole, as with --moe-a2a-backend: without it SGLang cuts them "
        "{ranks} ways, which their quantization blocks do not let it"
    ),
    Rule.STATE_PAGE: "recurrent layers keep 1 page of state a sequence",
    Rule.STATE_PAGES: "recurrent layers keep {pages:,} pages of state a sequence",
    Rule.IMAGES_NOT_PROFILED: (
        "images take memory beside this estimate: --skip-mm-profiling measures none"
    ),
    Rule.TGI_ASSUMED: (
        "TGI is in maintenance mode; its activation and context are assumed, not measured"
    ),
    Rule.LONGEST_CONTEXT_TAKEN: (
        "without --max-total-tokens TGI takes the longest context that fits"
    ),
    Rule.TENSORRT_LLM_ASSUMED: (
        "activation, buffers and CUDA graphs of TensorRT-LLM are assumed: few start-ups are public"
    ),
    Rule.BUILT_ENGINE: (
        "a built engine: max_batch_size, max_num_tokens and max_seq_len are those it was built with"
    ),
    Rule.CACHE_DTYPE_IN_OPTIONS_FILE: (
        "TensorRT-LLM {version} takes the cache dtype from its options file: "
        "kv_cache_config: {{dtype: {dtype}}}"
    ),
    Rule.FILE_TYPE_OF_OTHER_KIND: (
        "the checkpoint is stored as {method}, no GGUF file type: its weights are counted as "
        "{file}; say {at.quantization} (q4_k_m, q8_0 ...)"
    ),
    Rule.FILE_TYPE_UNSAID: (
        "nothing says which GGUF file is served: its weights are counted as "
        "{file}; say {at.quantization} (q4_k_m, q8_0 ...)"
    ),
    Rule.FILE_MIXTURE_ASSUMED: (
        "the mixture of {file} is taken to be llama-quantize's own; "
        "files of other makers differ by some per cent"
    ),
    Rule.STORED_BY_NAME: (
        "only a word says how this checkpoint is stored ({method}), not which layers it leaves in "
        "16 bits: the weights are a range; a profile of its headers (--from-hub) is exact"
    ),
    Rule.FILE_BY_NAME: (
        "a repository of GGUF files: its weights are as large as the file that is served, of 2 to "
        "16 bits"
    ),
    Rule.CONTEXT_FITTED: (
        "it starts with a context of {length:,} tokens or a little more, not {most:,}: "
        "--max-model-len auto takes what fits"
    ),
    Rule.MAIN_MEMORY_NOT_COUNTED: (
        "what stays in main memory is not counted: the node must have room for it"
    ),
    Rule.TEXT_ONLY: "text only: --mmproj would load the image or audio tower as well",
}
"""What an estimate assumed, as its notes tell it."""
