"""Real traces against the figures that their readers published or measured with other tools."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.workload.burstiness import gap_cv, mean_rate_per_s
from sim.workload.reuse import Reuse, measure_reuse
from sim.workload.spec import Workload
from sim.workload.table import RequestTable
from sim.workload.traces.azure import Azure


def azure(shared: Path, name: str, **options: object) -> RequestTable:
    return Azure(path=str(shared / "traces" / name), **options).read()  # type: ignore[arg-type]


CONV, CODE = "azure2023/AzureLLMInferenceTrace_conv.csv.gz", "azure2023/AzureLLMInferenceTrace_code.csv"


def numbers(tokens: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    return [round(x) for x in (tokens.mean(), *np.percentile(tokens, [50, 90, 99]), tokens.max())]


def test_azure_2023_conversation(shared: Path) -> None:
    table = azure(shared, CONV)
    assert len(table) == 19_366 and table.skipped_rows == 0 and table.notes == ()
    gaps = np.diff(table.arrival_s)
    assert round(table.arrival_s[-1]) == 3502 and table.arrival_s[0] == 0
    assert round(gaps.std() / gaps.mean(), 2) == 1.09
    assert numbers(table.prompt_tokens) == [1155, 1020, 2734, 4142, 14050]
    assert numbers(table.output_tokens) == [211, 129, 424, 601, 1000]
    assert (table.prompt_tokens[0], table.output_tokens[0]) == (374, 44)
    # 18:15:50.9951690 - 18:15:46.6805900, exact to the 100 ns that the file has
    assert table.arrival_s[1] == 4.314579
    assert table.segments is None and table.closed_loop is None


def test_azure_2023_code(shared: Path) -> None:
    table = azure(shared, CODE)
    gaps = np.diff(table.arrival_s)
    assert len(table) == 8_819 and round(table.arrival_s[-1]) == 3436
    assert round(gaps.std() / gaps.mean(), 2) == 13.15
    assert numbers(table.prompt_tokens) == [2048, 1469, 5188, 7436, 7437]
    assert numbers(table.output_tokens) == [28, 13, 55, 251, 1899]
    assert (gaps > 10).sum() == 45 and round(gaps.max()) == 217
    assert table.arrival_s[1] == 0.052


def test_azure_2024_has_microseconds_and_offsets(shared: Path) -> None:
    table = azure(shared, "formats/azure2024.real_rows.csv")
    assert len(table) == 10 and table.arrival_s[1] == 0.04052
    assert table.arrival_s[-1] == pytest.approx(7 * 86400 - 0.00454 - 0.001163, abs=1e-9)
    assert table.prompt_tokens.tolist()[:3] == [1452, 584, 862]
    assert table.output_tokens.tolist()[-1] == 366


def test_azure_2025_multimodal_is_read_by_name(shared: Path) -> None:
    table = azure(shared, "formats/azure_multimodal2025.real_rows.csv")
    assert table.prompt_tokens.tolist()[:2] == [770, 949]  # not NumImages, the second column
    assert table.output_tokens.tolist()[:2] == [491, 126]
    assert table.arrival_s.tolist()[:3] == [0, 5.55, 6.244]
    assert "images" in table.notes[0]


def test_slices_of_a_real_trace(shared: Path) -> None:
    whole = azure(shared, CONV)
    first = azure(shared, CONV, limit=5000, speedup=2)
    assert np.array_equal(first.arrival_s, np.round(whole.arrival_s[:5000] / 2, 9))
    minute = azure(shared, CONV, start=600.0, duration=60.0)
    inside = (whole.arrival_s >= 600) & (whole.arrival_s < 660)
    assert np.array_equal(minute.prompt_tokens, whole.prompt_tokens[inside])
    assert np.array_equal(minute.arrival_s, np.round(whole.arrival_s[inside] - 600, 9))
    later = azure(shared, CONV, offset=100, limit=50, rate_per_s=20.0)
    assert np.array_equal(later.output_tokens, whole.output_tokens[100:150])
    assert later.arrival_s[0] == 0 and later.arrival_s[-1] == pytest.approx(49 / 20)


def load(shared: Path, kind: str, name: str, **options: object) -> RequestTable:
    trace = {kind: {"path": str(shared / "traces" / name), **options}}
    return Workload.model_validate({"trace": trace}).table(0, Path())


def untimed(shared: Path, kind: str, name: str, **options: object) -> RequestTable:
    trace = {kind: {"path": str(shared / "traces" / name), **options}}
    return Workload.model_validate({"trace": trace, "arrivals": {"poisson": {"rate_per_s": 1}}}).table(0, Path())


def reuse(table: RequestTable) -> Reuse:
    found = measure_reuse(table)
    assert found is not None
    return found


def test_mooncake_conversation(shared: Path) -> None:
    name = "mooncake/conversation_trace.before_2400s.jsonl.gz"
    table = load(shared, "mooncake", name)
    assert len(table) == 7851 and "grid of 3 s" in table.notes[0]
    found = reuse(table)
    assert (found.blocks, found.unique_blocks) == (194_284, 126_103)
    assert round(found.token_hit_rate, 3) == 0.358 and round(found.request_hit_rate, 4) == 0.9999
    spread = load(shared, "mooncake", name, jitter="grid")
    assert gap_cv(table.arrival_s) > 2.9 and gap_cv(spread.arrival_s) == pytest.approx(1, abs=0.05)


def test_mooncake_synthetic(shared: Path) -> None:
    table = load(shared, "mooncake", "mooncake/synthetic_trace.before_511s.jsonl.gz")
    found = reuse(table)
    assert len(table) == 1925 and (found.blocks, found.unique_blocks) == (47_171, 32_348)
    assert round(found.token_hit_rate, 3) == 0.322 and round(found.request_hit_rate, 3) == 0.171


def test_llmservingsim(shared: Path) -> None:
    table = load(shared, "llmservingsim", "llmservingsim/sharegpt-llama-3.1-8b-300-sps10.jsonl.gz")
    assert numbers(table.prompt_tokens) == pytest.approx([858, 732, 1460, 2765, 3998], abs=1)
    assert numbers(table.output_tokens) == pytest.approx([652, 632, 770, 784, 1021], abs=1)
    assert round(mean_rate_per_s(table.arrival_s), 2) == 10.26 and round(gap_cv(table.arrival_s), 2) == 0.94
    found = reuse(table)
    assert round(found.token_hit_rate, 3) == 0.076 and round((found.hit_tokens >= 16).mean(), 3) == 0.107
    assert len(load(shared, "llmservingsim", "llmservingsim/example_trace.jsonl")) == 10


def test_weka(shared: Path) -> None:
    table = untimed(shared, "weka", "weka_agentic/traces_dev.tar.gz", empty_outputs="one")
    assert len(table) == 923 and table.sessions is not None and len(set(table.sessions.tolist())) == 35
    assert round(reuse(table).token_hit_rate, 3) == 0.928


def test_vidur_is_the_azure_code_trace(shared: Path) -> None:
    theirs, ours = load(shared, "vidur", "vidur/splitwise_code.csv.gz"), azure(shared, CODE)
    assert np.array_equal(theirs.prompt_tokens, ours.prompt_tokens)
    assert np.abs(theirs.arrival_s - ours.arrival_s).max() < 1e-3


def test_burstgpt(shared: Path) -> None:
    table = load(shared, "burstgpt", "burstgpt/BurstGPT_1.real_first_rows.csv")
    assert table.arrival_s.tolist() == [5, 45, 118] and table.prompt_tokens.tolist() == [472, 1087, 417]
    for name in ("burstgpt_v1.SYNTHETIC.csv", "burstgpt_v3.SYNTHETIC.csv"):
        whole = load(shared, "burstgpt", f"burstgpt/{name}", empty_outputs="one")
        kept = load(shared, "burstgpt", f"burstgpt/{name}")
        assert (
            0 < len(whole) - len(kept) < 10
            and f"{len(whole) - len(kept)} requests with an output of 0" in kept.notes[0]
        )


def test_sharegpt_lengths_by_characters_are_near_the_tokenizer(shared: Path) -> None:
    """The other file counts tokens (cl100k_base) and characters of every message: 4 characters a token is 13 % high."""
    turns = pd.read_csv(shared / "traces/sharegpt/sharegpt_v3_turn_lengths.conv00000-10999.csv.gz")
    assert turns.chars.sum() / 4 / turns.tokens_cl100k.sum() == pytest.approx(1.13, abs=0.01)
    name = "sharegpt/ShareGPT_V3_unfiltered_cleaned_split.scrubbed_sample.json.gz"
    first = untimed(shared, "sharegpt", name)
    assert 500 < len(first) < 624 and first.prompt_tokens.max() <= 1024
    whole = untimed(shared, "sharegpt", name, turns="all", turn_gap="30s")
    assert whole.output_names is not None and reuse(whole).token_hit_rate > 0.7


@pytest.mark.parametrize(
    ("kind", "name", "rows", "skipped"),
    [
        ("aiperf", "aiperf_template_precise_schedule.jsonl", 8, 0),
        ("aiperf", "aiperf_template_production_trace.jsonl", 9, 1),  # one row has a block too many
        ("bailian", "bailian.SYNTHETIC.jsonl", 28, 0),
        ("mooncake", "mooncake_multiturn.SYNTHETIC.jsonl", 5, 1),  # two turns wait, one row tells no output
    ],
)
def test_sample_files(shared: Path, kind: str, name: str, rows: int, skipped: int) -> None:
    table = load(shared, kind, f"formats/{name}", on_bad_row="skip")
    assert (len(table), table.skipped_rows) == (rows, skipped)


def test_agents_that_wait(shared: Path) -> None:
    """WEKA's calls after the answers before them: the same is sent, and hardly any call has others beside it."""
    recorded, waiting = (
        untimed(shared, "weka", "weka_agentic/traces_dev.tar.gz", wait=wait) for wait in (False, True)
    )  # fmt: skip
    assert sorted(recorded.prompt_tokens.tolist()) == sorted(waiting.prompt_tokens.tolist())
    assert waiting.turns is not None and waiting.sessions is not None
    beside = len(waiting) - len(set(zip(waiting.sessions.tolist(), waiting.turns.tolist(), strict=True)))
    assert beside <= 0.01 * len(waiting)
