"""What becomes of each of vLLM's flags that take no value, or that no scenario has a key for.

Names: vLLM 0.33.0, vllm/engine/arg_utils.py and vllm/entrypoints/common/cli_args.py, and older ones still in use.
"""

SHORT = {
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-dp": "data-parallel-size",
    "-dcp": "decode-context-parallel-size",
    "-pcp": "prefill-context-parallel-size",
    "-ep": "enable-expert-parallel",
    "-q": "quantization",
    "-O": "optimization-level",
    "-n": "nnodes",
    "-r": "node-rank",
    "-sc": "speculative-config",
    "-cc": "compilation-config",
    "-ac": "attention-config",
    "-dc": "diffusion-config",
    "-dpn": "data-parallel-rank",
    "-dpr": "data-parallel-start-rank",
    "-dpl": "data-parallel-size-local",
    "-dpa": "data-parallel-address",
    "-dpp": "data-parallel-rpc-port",
    "-dpb": "data-parallel-backend",
    "-dph": "data-parallel-hybrid-lb",
    "-dpe": "data-parallel-external-lb",
    "-dpm": "data-parallel-multi-port-external-lb",
}

SWITCHES = {
    "enable-prefix-caching": ("engine.enable_prefix_caching", "true", "false"),
    "enable-chunked-prefill": ("engine.enable_chunked_prefill", "true", "false"),
    "async-scheduling": ("engine.async_scheduling", "true", "false"),
    "disable-hybrid-kv-cache-manager": ("engine.disable_hybrid_kv_cache_manager", "true", "false"),
    "scheduler-reserve-full-isl": ("engine.scheduler_reserve_full_isl", "true", "false"),
    "long-prefill-token-threshold-adaptive": ("engine.long_prefill_token_threshold_adaptive", "true", "false"),
    "enable-expert-parallel": ("cluster.enable_expert_parallel", "true", "false"),
    "enforce-eager": ("engine.enforce_eager", "true", ""),
    "enable-lora": ("engine.lora.max_loras", "1", ""),
}
"""Flags that are on, or off with `no-` before them: the key, and its value for each; "" leaves the key alone."""

AS_IT_IS = {
    "nnodes": "1",
    "optimization-level": "2",
    "max-num-partial-prefills": "1",
    "max-long-partial-prefills": "1",
    "num-scheduler-steps": "1",
    "decode-context-parallel-size": "1",
    "prefill-context-parallel-size": "1",
    "prefill-schedule-interval": "1",
    "stream-interval": "1",
    "cpu-offload-gb": "0",
    "kv-offloading-backend": "native",
    "performance-mode": "balanced",
    "expert-placement-strategy": "linear",
    "attention-backend": "auto",
    "moe-backend": "auto",
    "linear-backend": "auto",
}
"""Values of flags that are not modelled that say what holds anyway."""

_KERNELS = "which kernels run is the profile's (`servecast calibrate gpu` measures yours)"
_GRAPHS = "engine.cudagraph_capture_sizes says which sizes have CUDA graphs"
_SPECULATIVE = "write engine.speculative into the scenario: it needs your acceptance rate"
_OFFLOAD = "write engine.kv_offload: {host: 64GiB} into the scenario, the memory for each GPU"
_CONTEXT = "context parallelism is not modelled"
_TWO_BATCHES = "two batches that overlap are not modelled; cluster.overlap_communication is a share that hides"
_EXPERTS = "experts that move between GPUs are not modelled; cluster.expert_load says how uneven they are"
_WEIGHTS = "weights in host memory are not modelled"
_PARTIAL = "a limit on partial prefills is not modelled"
_CONFIG = "write it into a config.json and give its path as the model"
_MAMBA = "layers with a state in place of a KV cache are not modelled"

NOT_MODELLED = {
    **dict.fromkeys(
        ("speculative-config", "spec-method", "spec-model", "spec-tokens", "speculative-model"), _SPECULATIVE
    ),
    "num-speculative-tokens": _SPECULATIVE,
    "kv-transfer-config": "write the cluster's pools or engine.kv_offload into the scenario",
    **dict.fromkeys(("kv-offloading-size", "kv-offloading-backend"), _OFFLOAD),
    "kv-cache-memory-bytes": "set engine.num_gpu_blocks_override to the number of blocks that the server logs",
    "kv-cache-dtype-skip-layers": "layers with KV in different formats are not modelled",
    "kv-sharing-fast-prefill": "layers that share KV are not modelled",
    "num-lookahead-slots": _SPECULATIVE,
    **dict.fromkeys(("optimization-level", "compilation-config", "max-seq-len-to-capture"), _GRAPHS),
    "performance-mode": "set engine.max_num_seqs, engine.max_num_batched_tokens and engine.cudagraph_capture_sizes",
    **dict.fromkeys(("hf-overrides", "rope-scaling", "rope-theta", "model-class-overrides"), _CONFIG),
    "disable-sliding-window": "set engine.max_model_len to the window",
    **dict.fromkeys(("cpu-offload-gb", "cpu-offload-params", "offload-backend", "offload-group-size"), _WEIGHTS),
    **dict.fromkeys(("offload-num-in-group", "offload-params", "offload-prefetch-step"), _WEIGHTS),
    "num-scheduler-steps": "several steps for one decision are not modelled",
    **dict.fromkeys(("max-num-partial-prefills", "max-long-partial-prefills"), _PARTIAL),
    "prefill-schedule-interval": "steps that keep prompts out are not modelled",
    "max-num-active-seqs": "more requests under way than in a step are not modelled; set engine.max_num_seqs",
    "max-num-queued-reqs": "write cluster.admission: [{queue_limit: {outstanding: 500}}] into the scenario",
    "max-num-queued-tokens": "write a rule of cluster.admission into the scenario, such as predicted_ttft",
    "scheduler-cls": "write engine.batching: my_pkg.mine:Mine into the scenario",
    "stream-interval": "clients that get several tokens at once are not modelled",
    **dict.fromkeys(("enable-dbo", "ubatch-size", "dbo-decode-token-threshold"), _TWO_BATCHES),
    "dbo-prefill-token-threshold": _TWO_BATCHES,
    **dict.fromkeys(("enable-eplb", "eplb-config", "enable-elastic-ep", "elastic-ep-max-dp-size"), _EXPERTS),
    "expert-placement-strategy": _EXPERTS,
    **dict.fromkeys(("decode-context-parallel-size", "prefill-context-parallel-size"), _CONTEXT),
    **dict.fromkeys(("cp-kv-cache-interleave-size", "dcp-kv-cache-interleave-size", "dcp-comm-backend"), _CONTEXT),
    "dcp-q-replicate": _CONTEXT,
    "nnodes": "set cluster.gpus_per_node to the GPUs of one machine",
    "disable-custom-all-reduce": "all-reduces are vLLM's own; without them is not modelled",
    **dict.fromkeys(
        ("attention-backend", "attention-config", "moe-backend", "linear-backend", "kernel-config"), _KERNELS
    ),
    **dict.fromkeys(("monokernel", "ir-op-priority", "sparse-indexer-topk-backend", "gdn-prefill-backend"), _KERNELS),
    **dict.fromkeys(("kda-decode-backend", "kda-prefill-backend"), _KERNELS),
    **dict.fromkeys(
        ("fully-sharded-loras", "specialize-active-lora", "enable-moe-shared-loras"), "LoRA is cut as by default"
    ),
    **dict.fromkeys(("enable-mixed-moe-lora-format", "enable-tower-connector-lora"), "LoRA is as by default"),
    "default-mm-loras": "LoRA is as by default",
    "quantization-config": "set engine.quantization to the format of the weights: fp8, int8 or int4",
    "enable-batch-sharded-sampling": "sampling is as by default",
    "enable-hc-sp": "sequence parallelism is not modelled",
    "swa-bounded-replay": "windows that are computed again are not modelled",
    "prefix-cache-retention-interval": "which windows a prefix keeps is as by default",
    "prefix-match-unit": "prefixes are found in whole blocks, as by default",
    **dict.fromkeys(("mamba-backend", "mamba-block-size", "mamba-cache-dtype", "mamba-cache-mode"), _MAMBA),
    **dict.fromkeys(("mamba-ssm-cache-dtype", "mamba-ssu-algorithm", "mamba-cache-philox-rounds"), _MAMBA),
    **dict.fromkeys(("enable-mamba-cache-stochastic-rounding", "enable-mamba-shared-prefix-checkpoint"), _MAMBA),
    **dict.fromkeys(("replayssm-buffer-len", "use-replayssm"), _MAMBA),
    **dict.fromkeys(
        ("diffusion-config", "ec-transfer-config", "ec-manager-config"), "only answers token by token are modelled"
    ),
    **dict.fromkeys(("pooler-config", "engram-config"), "only answers token by token are modelled"),
    "weight-transfer-config": "weights that change while it serves are not modelled",
    "additional-config": "what it says is not known here",
}
"""Flags that change how long things take, and what to do instead."""

NO_MATTER = frozenset(
    """
    host port uds api-key served-model-name trust-remote-code download-dir load-format model-loader-extra-config
    tokenizer tokenizer-mode tokenizer-revision revision code-revision hf-token hf-config-path config-format
    chat-template chat-template-content-format trust-request-chat-template default-chat-template-kwargs
    trust-request-mm-kwargs response-role seed generation-config override-generation-config reasoning-effort-map
    exclude-tools-when-tool-choice-none tool-strict-level cohere-is-reasoning-model cohere-format
    anthropic-disabled-thinking-effort log-error-stack tokens-only enable-scale-out fingerprint-mode fingerprint-value
    uvicorn-log-level disable-uvicorn-access-log disable-log-stats disable-log-requests enable-log-requests
    enable-log-outputs enable-log-deltas max-log-len enable-auto-tool-choice tool-call-parser tool-parser-plugin
    tool-server reasoning-parser reasoning-parser-plugin reasoning-config enable-reasoning ssl-keyfile ssl-certfile
    ssl-ca-certs ssl-cert-reqs ssl-ciphers enable-ssl-refresh allow-credentials allowed-origins allowed-methods
    allowed-headers root-path middleware h11-max-incomplete-event-size h11-max-header-count
    return-tokens-as-token-ids enable-request-id-headers disable-fastapi-docs enable-offline-docs
    enable-prompt-tokens-details enable-per-request-metrics enable-server-load-tracking enable-force-include-usage
    sse-keep-alive-interval enable-flash-late-interaction log-config-file logging-config log-level max-logprobs
    logprobs-mode grpc grpc-port distributed-executor-backend worker-cls worker-extension-cls
    max-parallel-loading-workers ray-workers-use-nsight api-server-count headless disable-frontend-multiprocessing
    renderer-num-workers data-parallel-address data-parallel-rpc-port data-parallel-backend data-parallel-size-local
    data-parallel-rank data-parallel-start-rank data-parallel-hybrid-lb data-parallel-external-lb
    data-parallel-multi-port-external-lb data-parallel-supervisor-port dp-supervisor-probe-interval-s
    dp-supervisor-probe-timeout-s dp-supervisor-probe-failure-threshold dp-sync-interval
    disable-nccl-for-dp-synchronization node-rank master-addr master-port distributed-timeout-seconds
    cpu-distributed-timeout-seconds numa-bind numa-bind-nodes numa-bind-cpus device-ids otlp-traces-endpoint
    collect-detailed-traces show-hidden-metrics-for-version kv-cache-metrics kv-cache-metrics-sample cudagraph-metrics
    custom-histogram-buckets enable-mfu-metrics enable-logging-iteration-details enable-layerwise-nvtx-tracing
    aggregate-engine-logging per-request-spec-decode-metrics profiler-config watchdog-config shutdown-timeout
    jit-monitor-mode jit-monitor-verbose kv-events-config model-impl runner convert task device
    use-v2-block-manager disable-mm-preprocessor-cache limit-mm-per-prompt mm-processor-kwargs mm-processor-cache-gb
    mm-processor-cache-type mm-processor-device mm-shm-cache-max-object-size-mb mm-encoder-only mm-encoder-tp-mode
    mm-encoder-attn-backend mm-encoder-attn-dtype mm-encoder-fp8-scale-path mm-encoder-fp8-scale-save-path
    mm-encoder-fp8-scale-save-margin mm-hasher-algorithm mm-ipc-gpu-memory-gb mm-tensor-ipc mm-device-do-normalize
    media-io-kwargs interleave-mm-strings enable-mm-embeds language-model-only skip-mm-profiling
    disable-chunked-mm-input video-pruning-method video-pruning-rate io-processor-plugin allowed-local-media-path
    allowed-media-domains guided-decoding-backend guided-decoding-disable-fallback structured-outputs-config
    logits-processors logits-processor-pattern lora-modules lora-dtype lora-target-modules max-lora-cls-labels
    lora-extra-vocab-size skip-tokenizer-init enable-prompt-embeds enable-sleep-mode sleep-mode-backend
    sleep-mode-offload-cudagraph sleep-preserve-parameter-names enable-nccl-comm-suspend enable-cumem-allocator
    enable-shm-tensor-arena calculate-kv-scales prefix-caching-hash-algo ignore-patterns safetensors-load-strategy
    safetensors-prefetch-block-size safetensors-prefetch-num-threads use-tqdm-on-load pt-load-map-location
    enable-ep-weight-filter allow-deprecated-quantization enable-flashinfer-autotune fail-on-environ-validation
    fault-tolerance-config enable-fault-tolerance disable-cascade-attn enable-tokenizer-info-endpoint
    disable-access-log-for-endpoints disable-async-output-proc enable-return-routed-experts aux-output-config
    return-sampling-mask use-fp64-gumbel enable-trace-replay watermark-config preemption-notice
    """.split()  # noqa: SIM905
)
"""Flags that say where a server listens, what it logs, how it loads, what text looks like: nothing about time.

`disable-cascade-attn` has no effect any more; `seed` is that of sampling; of images and sound nothing is modelled.
"""
