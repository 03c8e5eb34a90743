"""What cannot be imported is one sentence that names the file and the mend, and nothing is written."""

from pathlib import Path
from typing import Any

import pytest

from calibrate.importers.bases import base_for
from calibrate.importers.build import import_profile
from calibrate.importers.options import ImportOptions
from sim.errors import ServecastError
from tests.calibrate.importers import foreign

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def without(table: str, column: str) -> str:
    """The table under another name for one of its columns."""
    head, rest = table.split("\n", 1)
    assert column in head
    return head.replace(column, "renamed") + "\n" + rest


@pytest.mark.parametrize(
    ("tool", "changed", "file", "words"),
    [
        ("vidur", {"mlp": without(foreign.VIDUR_MLP, "num_tokens")}, "mlp.csv", "column 'num_tokens' is missing"),
        (
            "vidur",
            {"mlp": foreign.VIDUR_MLP.replace("0.05,", "fast,")},
            "mlp.csv",
            "line 2: column 'time_stats.attn_pre",
        ),
        ("vidur", {"mlp": foreign.VIDUR_MLP.replace("0.06,0.005", "-1,0.005")}, "mlp.csv", "at least 0, not"),
        ("vidur", {"mlp": foreign.VIDUR_MLP.replace("True,64", "True,6.5")}, "mlp.csv", "line 3: column 'num_tokens'"),
        ("vidur", {"mlp": foreign.VIDUR_MLP.replace("True,64", "maybe,64")}, "mlp.csv", "must be True or False"),
        ("vidur", {"mlp": POINTER}, "mlp.csv", "Git LFS pointer"),
        ("vidur", {"attention": foreign.VIDUR_ATTENTION.partition("\n")[0]}, "attention.csv", "holds no rows"),
        ("vidur", {"attention": without(foreign.VIDUR_ATTENTION, "block_size")}, "attention.csv", "llmservingsim"),
        ("vidur", {"attention": ""}, "attention.csv", "not a readable table of Vidur"),
        (
            "vidur",
            {"attention": foreign.VIDUR_ATTENTION + ",0.1,4096,32,32,16,1,8,0,9,False,AttentionBackend.FLASHINFER\n"},
            "attention.csv",
            "several attention backends (FLASHINFER, FLASH_ATTENTION); choose one with --engine",
        ),
        (
            "aiconfigurator",
            {"gemm": without(foreign.AIC_GEMM, "dtype,m")},
            "gemm_perf.txt",
            "more cells than",
        ),
        (
            "aiconfigurator",
            {"gemm": without(foreign.AIC_GEMM, "gemm_dtype")},
            "gemm_perf.txt",
            "_dtype' is missing",
        ),
        (
            "aiconfigurator",
            {"gemm": foreign.AIC_GEMM.replace("0.03", "?")},
            "gemm_perf.txt",
            "line 3: column 'latency'",
        ),
        ("aiconfigurator", {"gemm": foreign.AIC_GEMM.replace(",64,", ",6x,")}, "gemm_perf.txt", "column 'm'"),
        ("aiconfigurator", {"moe": POINTER}, "moe_perf.txt", "Git LFS pointer"),
        ("llmservingsim", {"dense": without(foreign.LSS_DENSE, "time_us")}, "dense.csv", "'time_us' is missing"),
        (
            "llmservingsim",
            {"dense": foreign.LSS_DENSE.replace(",25", ",soon")},
            "dense.csv",
            "line 4: column 'time_us'",
        ),
        ("llmservingsim", {"attention": POINTER}, "attention.csv", "Git LFS pointer"),
        ("llmservingsim", {"moe": foreign.LSS_MOE}, "moe.csv", "no mixture of experts"),
        (
            "llmservingsim",
            {"attention": without(foreign.LSS_ATTENTION, "prefill_key")},
            "attention.csv",
            "column 'kv_prefill' (or, in newer tables, 'prefill_key') is missing",
        ),
    ],
)
def test_a_bad_table_names_file_and_place(
    tool: str, changed: dict[str, str], file: str, words: str, tmp_path: Path
) -> None:
    folder = foreign.ALL[tool](tmp_path / "in", **changed)
    refused(tool, tmp_path, words, folder, starts=str(next(folder.rglob(file))))


def refused(tool: str, tmp_path: Path, words: str, folder: Path, starts: str = "", **options: Any) -> None:
    """The import is one sentence, and leaves nothing behind."""
    base = options.pop("base", None)
    with pytest.raises(ServecastError) as error:
        import_profile(tool, ImportOptions(folder, **options), tmp_path / "out" / "p", base=base)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(starts)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_the_tools(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused("vidur", tmp_path, "holds no mlp.csv", tmp_path / "empty")
    refused("llmservingsim", tmp_path, "holds no profile of LLMServingSim", tmp_path / "empty")
    refused("aiconfigurator", tmp_path, "holds no table of AIConfigurator", tmp_path / "empty")
    refused("vidur", tmp_path, "no such folder", tmp_path / "nowhere")
    refused("vidor", tmp_path, "did you mean 'vidur'?", tmp_path / "empty")


def test_several_gpus_or_engines_must_be_chosen_from(tmp_path: Path) -> None:
    for tool, what in (
        ("vidur", "a100, h100"),
        ("llmservingsim", "A100, H100"),
        ("aiconfigurator", "a100_sxm, h100_sxm"),
    ):
        folder = foreign.ALL[tool](tmp_path / tool)
        for file in sorted(file for file in folder.rglob("*.*") if file.is_file()):
            other = Path(*(part.replace("h100", "a100").replace("H100", "A100") for part in file.parts))
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(file.read_bytes())
        refused(tool, tmp_path, f"several GPUs ({what}); choose one with --gpu", folder)
        refused(tool, tmp_path, f"there is no GPU 'b200'; it holds {what}", folder, gpu="b200")
    folder = foreign.aiconfigurator(tmp_path / "engines")
    text = foreign.AIC_GEMM.replace("VLLM", "SGLang").replace("0.14.0", "0.5.9")
    foreign.write(folder, {f"{foreign.AIC_SYSTEM}/sglang/0.5.9/gemm_perf.txt": text})
    refused("aiconfigurator", tmp_path, "several engines (sglang, vllm); choose one with --engine", folder)
    refused("aiconfigurator", tmp_path, "there is no vllm '0.1'; it holds vllm 0.14.0", folder, engine="vllm:0.1")


def test_an_unknown_model_or_gpu(tmp_path: Path) -> None:
    folder = foreign.llmservingsim(tmp_path / "in", "acme/Unheard-1B")
    refused("llmservingsim", tmp_path, "name one with --model path/to/config.json", folder)
    refused("llmservingsim", tmp_path, "no built-in model", folder, models=("unheard",))
    a40 = foreign.write(tmp_path / "a40", {"compute/a40/x/y/mlp.csv": foreign.VIDUR_MLP,
                                           "compute/a40/x/y/attention.csv": foreign.VIDUR_ATTENTION})  # fmt: skip
    refused("vidur", tmp_path, "no shipped profile has the facts of GPU 'a40'; name one with --base", a40)
    refused("vidur", tmp_path, "there is no GPU profile 'h10'", a40, base="h10")
    flat = foreign.write(tmp_path / "flat", {"mlp.csv": foreign.VIDUR_MLP, "attention.csv": foreign.VIDUR_ATTENTION})
    refused("vidur", tmp_path, "does not say which GPU it measured", flat)


def test_nothing_that_could_be_used(tmp_path: Path) -> None:
    folder = foreign.write(
        tmp_path / "in",
        {f"{foreign.AIC}/gemm_perf.txt": foreign.AIC_GEMM.replace("bfloat16", "nvfp4").replace(",fp8,", ",x,")},
    )
    refused("aiconfigurator", tmp_path, "none of its rows could be used", folder)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    folder, out = foreign.vidur(tmp_path / "in"), tmp_path / "p"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    with pytest.raises(ServecastError, match="is there already; choose another folder"):
        import_profile("vidur", ImportOptions(folder), out)
    assert [file.name for file in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").unlink()
    import_profile("vidur", ImportOptions(folder), out)  # an empty folder is as good as none
    assert sorted(file.name for file in out.iterdir()) == ["device.yaml", "import_report.md", "points.csv.gz"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = foreign.vidur(tmp_path / "in")
    (tmp_path / "file").write_text("")
    with pytest.raises(ServecastError, match="cannot write the profile to"):
        import_profile("vidur", ImportOptions(folder), tmp_path / "file" / "p")


@pytest.mark.parametrize(
    ("label", "base"),
    [
        ("h100", "h100-sxm"),
        ("H100", "h100-sxm"),
        ("h100_dgx", "h100-sxm"),
        ("h100_sxm", "h100-sxm"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H200", "h200-sxm"),
        ("NVIDIA A100-SXM4-40GB", "a100-40g"),
        ("NVIDIA A100-SXM4-80GB", "a100-80g"),
        ("b200_sxm", "b200"),
        ("RTX4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("l40s", "l40s"),
        ("NVIDIA L4", "l4"),
    ],
)
def test_the_base_is_found_by_the_gpus_name(label: str, base: str) -> None:
    assert base_for(label, None).name == base


@pytest.mark.parametrize(
    "label", ["NVIDIA H100 PCIe", "NVIDIA A100-PCIE-40GB", "a40", "l40", "RTX3090", "TPU-v6e-1", "gh200"]
)
def test_another_gpu_is_not_taken_for_a_known_one(label: str) -> None:
    with pytest.raises(ServecastError, match="no shipped profile has the facts"):
        base_for(label, None)


@pytest.mark.parametrize("label", ["a100", "a100_sxm"])
def test_a_name_that_fits_two_gpus_is_asked_about(label: str) -> None:
    """Their memories differ by a factor of two, and with them the KV cache: nothing may be guessed."""
    with pytest.raises(ServecastError, match="may be a100-40g or a100-80g; say which one with --base"):
        base_for(label, None)
    assert base_for(label, "a100-80g").name == "a100-80g"
