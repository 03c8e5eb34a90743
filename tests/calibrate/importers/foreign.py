"""Small folders in the foreign schemas, written for these tests: all numbers are made up."""

from pathlib import Path
from typing import Any

AIC_SYSTEM = "systems/data/h100_sxm"
AIC = f"{AIC_SYSTEM}/vllm/0.14.0"
_WHO = "VLLM,0.14.0,NVIDIA H100 80GB HBM3"


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files, making folders; returns the folder."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


_VIDUR_OPS = ("emb", "input_layernorm", "attn_pre_proj", "attn_rope", "attn_post_proj", "post_attention_layernorm",
              "mlp_up_proj", "mlp_act", "mlp_down_proj", "add")  # fmt: skip
_VIDUR_SHAPE = "n_head,n_kv_head,n_embd,n_expanded_embd,vocab_size,use_gated_mlp,num_tokens,num_tensor_parallel_workers"


def _stats(ops: tuple[str, ...]) -> str:
    return ",".join(f"time_stats.{op}.median" for op in ops)


VIDUR_MLP = f"""{_VIDUR_SHAPE},{_stats(_VIDUR_OPS)}
32,32,4096,11008,32768,True,1,1,0.002,0.003,0.05,0.004,0.02,0.005,0.1,0.006,0.06,0.001
32,32,4096,11008,32768,True,64,1,0.003,0.004,0.06,0.005,0.03,0.006,0.2,0.007,0.07,0.002
32,32,4096,11008,32768,True,1,2,0.002,0.003,0.03,0.003,0.01,0.005,0.06,0,0.04,
"""
VIDUR_ATTENTION = """time_stats.attn_prefill.median,time_stats.attn_decode.median,n_embd,n_q_head,n_kv_head,block_size,\
num_tensor_parallel_workers,batch_size,prefill_chunk_size,kv_cache_size,is_prefill,attention_backend
0.03,,4096,32,32,16,1,1,128,256,True,AttentionBackend.FLASH_ATTENTION
,0.04,4096,32,32,16,1,8,0,1023,False,AttentionBackend.FLASH_ATTENTION
,0.05,4096,32,32,16,2,8,0,1023,False,AttentionBackend.FLASH_ATTENTION
0.09,,4096,32,32,16,1,2,128,0,True,AttentionBackend.FLASH_ATTENTION
"""
VIDUR_ALL_REDUCE = """,time_stats.all_reduce.median,rank,num_workers,size,collective,devices_per_node
0,0.02,0,2,8192,all_reduce,2
1,0.07,0,2,8192,all_reduce,1
"""
_COMPUTE = "data/profiling/compute/h100/meta-llama/Llama-2-7b-hf"


def vidur(folder: Path, **changed: str) -> Path:
    """Vidur's data folder: one model on an H100."""
    texts = {"mlp": VIDUR_MLP, "attention": VIDUR_ATTENTION, "all_reduce": VIDUR_ALL_REDUCE} | changed
    return write(
        folder,
        {
            f"{_COMPUTE}/mlp.csv": texts["mlp"],
            f"{_COMPUTE}/attention.csv": texts["attention"],
            "data/profiling/network/h100_dgx/all_reduce.csv": texts["all_reduce"],
            "data/profiling/network/h100_dgx/p2p_inter_node.csv": "anything\n1\n",
        },
    )


def _rows(head: str, *rows: str) -> str:
    return "\n".join(["framework,version,device,op_name,kernel_source," + head, *rows, ""])


AIC_GEMM = _rows(
    "gemm_dtype,m,n,k,latency",
    f"{_WHO},gemm,linear,bfloat16,1,6144,4096,0.02",
    f"{_WHO},gemm,linear,bfloat16,64,6144,4096,0.03",
    f"{_WHO},gemm,cutlass,fp8,64,6144,4096,0.025",
    f"{_WHO},gemm,other,fp8,64,6144,4096,0.024",
    f"{_WHO},gemm,deepgemm,fp8_block,64,6144,4096,0.027",
)
_ATTENTION = "batch_size,isl,num_heads,num_key_value_heads,head_dim,beam_width,attn_dtype,kv_cache_dtype,step,latency"
AIC_CONTEXT = _rows(
    _ATTENTION,
    f"{_WHO},context_attention,fa3,1,128,32,8,128,1,bfloat16,bfloat16,0,0.01",
    f"{_WHO},context_attention,fa3,1,4096,32,8,128,1,bfloat16,bfloat16,0,0.5",
    f"{_WHO},context_attention,fa3,2,128,32,8,128,1,bfloat16,bfloat16,0,0.02",
    f"{_WHO},context_attention,fa3,1,128,32,8,128,1,fp8,fp8,0,0.008",
)
AIC_GENERATION = _rows(
    _ATTENTION,
    f"{_WHO},generation_attention,fa3,4,1,32,8,128,1,bfloat16,bfloat16,1023,0.012",
    f"{_WHO},generation_attention,fa3,4,1,32,8,128,1,bfloat16,fp8,1023,0.011",
)
AIC_MOE = _rows(
    "moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,distribution,latency",
    *(f"{_WHO},moe,triton,bfloat16,{tokens},4096,14336,2,8,2,1,balanced,{latency}"
      for tokens, latency in ((1, 0.15), (2, 0.3), (4, 0.6), (64, 0.9))),
    f"{_WHO},moe,triton,bfloat16,1,4096,14336,2,8,2,1,power_law_1.2,0.14",
    f"{_WHO},moe,triton,bfloat16,1,4096,14336,2,8,1,2,balanced,0.13",
)  # fmt: skip
AIC_ALL_REDUCE = _rows(
    "allreduce_dtype,num_gpus,message_size,latency",
    f"{_WHO},all_reduce,graph,bfloat16,2,1024,0.004",
    f"{_WHO},all_reduce,eager,bfloat16,2,1024,0.02",
)
AIC_NCCL = _rows(
    "nccl_dtype,num_gpus,message_size,latency",
    "TRTLLM,2.27.3,NVIDIA H100 80GB HBM3,all_gather,NCCL,half,4,4096,0.006",
    "TRTLLM,2.27.3,NVIDIA H100 80GB HBM3,all_reduce,NCCL,half,4,4096,0.009",
    "TRTLLM,2.27.3,NVIDIA H100 80GB HBM3,all_gather,NCCL,int8,4,4096,0.005",
)


def aiconfigurator(folder: Path, **changed: str) -> Path:
    """AIConfigurator's tables of one engine on an H100."""
    tables = {
        "gemm": AIC_GEMM,
        "context_attention": AIC_CONTEXT,
        "generation_attention": AIC_GENERATION,
        "moe": AIC_MOE,
        "custom_allreduce": AIC_ALL_REDUCE,
    } | changed
    files = {f"{AIC}/{name}_perf.txt": text for name, text in tables.items()}
    return write(folder, {**files, f"{AIC_SYSTEM}/nccl/2.27.3/nccl_perf.txt": AIC_NCCL})


LSS_DENSE = """layer,tokens,time_us
embedding,1,2.5
qkv_proj,1,20
qkv_proj,64,25
rotary_emb,1,3
layernorm,1,4
final_layernorm,1,5
gate_up_proj,1,80
"""
LSS_SEQUENCE = "layer,sequences,time_us\nlm_head,1,300\nsampler,1,15\n"
LSS_ATTENTION = """layer,prefill_chunk,prefill_key,n_decode,kv_decode,decode_q_len,time_us
attention,512,2304,0,0,1,40
attention,0,0,4,127,1,9
attention,0,0,4,127,2,12
attention,512,2304,4,127,1,50
attention,512,100,0,0,1,41
"""
LSS_OLDER_ATTENTION = "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n512,2048,0,0,40\n0,0,4,127,9\n"
LSS_MOE = "ep,tokens,activated_experts,time_us\n1,1,2,300\n1,4,4,600\n1,4,8,1000\n2,1,1,150\n"


def llmservingsim(folder: Path, model: str = "meta-llama/Llama-3.1-8B", **changed: str) -> Path:
    """LLMServingSim's folder: one model on an H100, one GPU."""
    tables = {"dense": LSS_DENSE, "per_sequence": LSS_SEQUENCE, "attention": LSS_ATTENTION} | changed
    return write(folder, {f"perf/H100/{model}/bf16/tp1/{name}.csv": text for name, text in tables.items()})


LSS_OLD_LAYERS = """layer_name,input,kv_cache,tp_size,latency(ns)
q_proj,1,0,1,10000
k_proj,1,0,1,4000
v_proj,1,0,1,5000
o_proj,1,0,1,11000
rope,1,0,1,6000
input_layernorm,1,0,1,7000
post_layernorm,1,0,1,9000
q_proj,1,16,1,99999
attn,1,0,1,5310
"""
LSS_OLD_ATTENTION = """n_q_head,n_kv_head,n_embd,num_tensor_parallel_workers,batch_size,prefill_chunk_size,\
kv_cache_size,is_prefill,time_stats.attn_prefill.median,time_stats.attn_decode.median
32,8,4096,1,1,128,384,True,0.03,
32,8,4096,1,4,0,4096,False,,0.02
"""


def llmservingsim_old(folder: Path) -> Path:
    """The layout before LLMServingSim 1.0."""
    place = "perf_models/H100/meta-llama/Llama-3.1-8B/tp1"
    return write(folder, {f"{place}/layers.csv": LSS_OLD_LAYERS, f"{place}/attention.csv": LSS_OLD_ATTENTION})


ALL: dict[str, Any] = {"vidur": vidur, "llmservingsim": llmservingsim, "aiconfigurator": aiconfigurator}
