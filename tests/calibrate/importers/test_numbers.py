"""Every imported number, worked out by hand from files in the foreign schemas."""

from pathlib import Path
from typing import Any

import pytest

from calibrate.importers.build import Imported, import_profile
from calibrate.importers.options import ImportOptions
from sim.latency.points import Key, read_points
from tests.calibrate.importers import foreign

Places = dict[tuple[float, ...], float]
MHA, GQA = ("bf16", "32", "32", "128"), ("bf16", "32", "8", "128")


def run(tool: str, folder: Path, out: Path, **options: Any) -> Imported:
    base = options.pop("base", None)
    return import_profile(tool, ImportOptions(folder, **options), out, base=base)


def points(imported: Imported) -> dict[Key, Places]:
    file = imported.profile.points_file
    assert file is not None
    return {key: dict(found) for key, found in read_points(file).items()}


def test_vidur(tmp_path: Path) -> None:
    """Milliseconds; hidden 4096, 32 heads of 128, MLP of 11008, 2 bytes per number."""
    imported = run("vidur", foreign.vidur(tmp_path / "in"), tmp_path / "p")
    found = points(imported)
    assert found == {
        ("gemm", "bf16", "12288", "4096"): {(1,): 5e-5, (64,): 6e-5},  # q, k, v of 4096 each
        ("gemm", "bf16", "4096", "4096"): {(1,): 2e-5, (64,): 3e-5},
        ("gemm", "bf16", "22016", "4096"): {(1,): 1e-4, (64,): 2e-4},  # gate and up
        ("gemm", "bf16", "4096", "11008"): {(1,): 6e-5, (64,): 7e-5},
        # the same over two GPUs
        ("gemm", "bf16", "6144", "4096"): {(1,): 3e-5},
        ("gemm", "bf16", "4096", "2048"): {(1,): 1e-5},
        ("gemm", "bf16", "11008", "4096"): {(1,): 6e-5},
        ("gemm", "bf16", "4096", "5504"): {(1,): 4e-5},
        # one row in, one row out: 2 x 2 x 4096 bytes
        ("embedding",): {(16384,): 2e-6, (64 * 16384,): 3e-6},
        # two rows in, two out; median of (0.003 + 0.001) and (0.005 + 0.001); without `add` there is no time
        ("norm",): {(32768,): pytest.approx(5e-6), (64 * 32768,): pytest.approx(7e-6)},
        # queries and keys, in and out: (4096 + 4096) x 2 x 2, half of it on each of two GPUs
        ("rotary",): {(16384,): 3e-6, (32768,): 4e-6, (64 * 32768,): 5e-6},
        # two rows of 11008 in, one out; 0 ms on two GPUs is no time
        ("activation",): {(66048,): 6e-6, (64 * 66048,): 7e-6},
        ("attention_prefill", *MHA): {(128, 256): 3e-5},
        ("attention_decode", *MHA): {(8, 1024): 4e-5},  # 1023 cached and its own
        ("attention_decode", "bf16", "16", "16", "128"): {(8, 1024): 5e-5},
        ("all_reduce", "2"): {(8192,): 2e-5},
        ("kv_write",): {(1,): 1e-9, (2**40,): 1e-9},  # FlashAttention writes them itself
    }
    skipped = imported.collection.skipped
    assert skipped["attention.csv", "prefill of several requests at once"] == 1
    assert skipped["all_reduce.csv", "over several nodes"] == 1
    assert skipped["mlp.csv", "no time in 'layernorm + add'"] == 2
    assert skipped["mlp.csv", "a time of 0 in 'mlp_act', rounded away by the tool"] == 1
    assert any("p2p" in label for label, _ in skipped)


def test_aiconfigurator(tmp_path: Path) -> None:
    """Milliseconds; messages count elements of two bytes; decodes have isl + step keys."""
    imported = run("aiconfigurator", foreign.aiconfigurator(tmp_path / "in"), tmp_path / "p")
    found = points(imported)
    mixture = ("8", "2")
    # 2 and 4 tokens that draw 2 of 8 experts touch 3.5 and 5.46875 of them; dealt out, 1, 2 and 4 tokens touch 2, 4, 8.
    block = {1: 0.15, 2: 0.15 + 0.15 * 0.75, 4: 0.3 + 0.3 * 1.46875 / 4, 64: 0.9}
    for n, k, share in (("14336", "4096", 2 / 3), ("4096", "7168", 1 / 3)):  # 14336 wide, over two GPUs
        assert found.pop(("grouped_gemm", "bf16", n, k, *mixture)) == {
            (tokens,): pytest.approx(time_ms * 1e-3 * share) for tokens, time_ms in block.items()
        }
    assert found == {
        ("gemm", "bf16", "6144", "4096"): {(1,): 2e-5, (64,): 3e-5},
        ("gemm", "fp8", "6144", "4096"): {(64,): 2.4e-5},  # the faster of two kernels
        ("attention_prefill", *GQA): {(128, 0): 1e-5, (4096, 0): 5e-4},
        ("attention_decode", *GQA): {(4, 1024): 1.2e-5},
        ("attention_decode", "fp8", "32", "8", "128"): {(4, 1024): 1.1e-5},
        ("all_reduce", "2"): {(2048,): 4e-6},  # the faster: in a CUDA graph
        ("all_gather", "4"): {(2048,): 6e-6},  # 8192 bytes are gathered, a quarter from each
        ("experts_activation",): {(1,): 1e-9, (2**40,): 1e-9},
        ("experts_sum",): {(1,): 1e-9, (2**40,): 1e-9},
    }
    skipped = imported.collection.skipped
    assert skipped["gemm_perf.txt", "gemm_dtype 'fp8_block': no format of ours"] == 1
    assert skipped["context_attention_perf.txt", "computed in fp8"] == 1
    assert skipped["context_attention_perf.txt", "several prompts at once"] == 1
    assert skipped["moe_perf.txt", "experts under uneven load"] == 1
    assert imported.collection.engine == "vllm 0.14.0"


@pytest.mark.parametrize("attention", [foreign.LSS_ATTENTION, foreign.LSS_OLDER_ATTENTION])
def test_llmservingsim(attention: str, tmp_path: Path) -> None:
    """Microseconds; Llama 3.1 8B: hidden 4096, 32 heads and 8 KV heads of 128, MLP of 14336, vocabulary 128256."""
    folder = foreign.llmservingsim(tmp_path / "in", attention=attention)
    found = points(run("llmservingsim", folder, tmp_path / "p"))
    assert found == {
        ("gemm", "bf16", "6144", "4096"): {(1,): 2e-5, (64,): 2.5e-5},
        ("gemm", "bf16", "28672", "4096"): {(1,): 8e-5},
        ("gemm", "bf16", "128256", "4096"): {(1,): 3e-4},
        ("embedding",): {(16384,): 2.5e-6},
        ("norm",): {(32768,): 5e-6},  # final_layernorm, which adds the residual, as ours do
        ("rotary",): {(20480,): 3e-6},  # (32 + 8) x 128 x 2 bytes, in and out
        ("sampling",): {(2308608,): 1.5e-5},  # 18 bytes per logit
        ("attention_prefill", *GQA): {(512, 2048): 4e-5},  # 2304 = 2048 before + 512 / 2
        ("attention_decode", *GQA): {(4, 128): 9e-6},
        ("kv_write",): {(1,): 1e-9, (2**40,): 1e-9},
    }


def test_llmservingsim_mixture(tmp_path: Path) -> None:
    """Mixtral on one GPU: 4 tokens touch 8 (1 - 0.75^4) = 5.46875 of 8 experts."""
    folder = foreign.llmservingsim(tmp_path / "in", "mistralai/Mixtral-8x7B-v0.1", moe=foreign.LSS_MOE)
    imported = run("llmservingsim", folder, tmp_path / "p")
    found = points(imported)
    four = 600e-6 + 400e-6 * 1.46875 / 4
    for n, k, share in (("28672", "4096", 2 / 3), ("4096", "14336", 1 / 3)):
        expected = {(1,): pytest.approx(300e-6 * share), (4,): pytest.approx(four * share)}
        assert found["grouped_gemm", "bf16", n, k, "8", "2"] == expected
    assert imported.collection.skipped["moe.csv", "experts spread over GPUs (ep > 1)"] == 1


def test_llmservingsim_before_1_0(tmp_path: Path) -> None:
    """Nanoseconds of single modules, milliseconds of attention; keys are those of the whole batch, own included."""
    found = points(run("llmservingsim", foreign.llmservingsim_old(tmp_path / "in"), tmp_path / "p"))
    assert found == {
        ("gemm", "bf16", "6144", "4096"): {(1,): pytest.approx(1.9e-5)},  # q + k + v
        ("gemm", "bf16", "4096", "4096"): {(1,): pytest.approx(1.1e-5)},
        ("rotary",): {(20480,): pytest.approx(6e-6)},
        ("norm",): {(32768,): pytest.approx(8e-6)},
        ("attention_prefill", *GQA): {(128, 256): pytest.approx(3e-5)},
        ("attention_decode", *GQA): {(4, 1024): pytest.approx(2e-5)},
    }


def test_only_the_models_asked_for(tmp_path: Path) -> None:
    folder = foreign.aiconfigurator(tmp_path / "in")
    found = points(run("aiconfigurator", folder, tmp_path / "p", models=("llama-2-7b",)))
    assert {key[0] for key in found} == {"gemm", "all_reduce", "all_gather"}  # neither its attention nor a mixture
    mine = points(run("vidur", foreign.vidur(tmp_path / "v"), tmp_path / "q", models=("llama-2-7b",)))
    assert ("attention_decode", *MHA) in mine


def test_the_newest_version_counts_unless_one_is_asked_for(tmp_path: Path) -> None:
    folder = foreign.aiconfigurator(tmp_path / "in")
    for version, time_ms in (("0.9.0", "0.07"), ("0.14.0rc2", "0.08")):
        text = foreign.AIC_GEMM.replace("0.14.0", version).replace("4096,0.02\n", f"4096,{time_ms}\n")
        foreign.write(folder, {f"{foreign.AIC_SYSTEM}/vllm/{version}/gemm_perf.txt": text})
    key = ("gemm", "bf16", "6144", "4096")
    assert points(run("aiconfigurator", folder, tmp_path / "new"))[key][(1,)] == 2e-5
    asked = run("aiconfigurator", folder, tmp_path / "old", engine="vllm:0.9.0")
    assert points(asked)[key][(1,)] == 7e-5
    assert {op for op, *_ in points(asked)} == {"gemm", "all_gather", "all_reduce"}  # NCCL belongs to no engine
    assert points(asked)["all_reduce", "4"] == {(8192,): 9e-6}


def test_times_that_no_such_gpu_reaches_are_left_out(tmp_path: Path) -> None:
    """4096 x 6144 x 4096 products are 2.06e11 FLOPs: 208 us at 989 TFLOP/s."""
    rows = "VLLM,0.14.0,NVIDIA H100,gemm,linear,bfloat16,4096,6144,4096,0.15\n"
    folder = foreign.aiconfigurator(tmp_path / "in", gemm=foreign.AIC_GEMM + rows)
    imported = run("aiconfigurator", folder, tmp_path / "p")
    assert (4096,) not in points(imported)["gemm", "bf16", "6144", "4096"]
    assert imported.collection.skipped["gemm", "faster than h100-sxm can be: not a time of the whole operation"] == 1


def test_parquet_is_read_as_text_is(tmp_path: Path) -> None:
    import pandas as pd

    folder = foreign.aiconfigurator(tmp_path / "in")
    as_text = points(run("aiconfigurator", folder, tmp_path / "p"))
    for file in folder.rglob("*.txt"):
        pd.read_csv(file).to_parquet(file.with_suffix(".parquet"))
        file.unlink()
    assert points(run("aiconfigurator", folder, tmp_path / "q")) == as_text
