"""Real Azure traces against the figures that their readers published or measured with other tools."""

from pathlib import Path

import numpy as np
import pytest

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
