"""The raw table: what is written is read; a row that was cut off is lost alone; bad cells are told."""

from pathlib import Path

import pytest

from calibrate.rawpoints import COLUMNS, RawPoint, RawPointsError, append, open_table, pack, read, table_in

POINTS = [
    RawPoint("gemm", "bf16", n=8, k=16, m=1, kernel="cublas", time_s=1.5e-6, min_s=1.4e-6, spread_s=1e-8, repeats=20),
    RawPoint("copy_d2d", bytes=1024, kernel="copy", status="noisy", time_s=2e-6, held_out=True),
    RawPoint("gemm", "fp8", n=8, k=16, m=2, kernel="scaled_mm", status="oom", note="out of\nmemory, as it says"),
]


def test_rows_come_back_packed_or_not(tmp_path: Path) -> None:
    append(tmp_path / "raw.csv", POINTS[:1])
    append(tmp_path / "raw.csv", POINTS[1:])
    expected = [*POINTS[:2], RawPoint("gemm", "fp8", 8, 16, 2, kernel="scaled_mm", status="oom",
                                      note="out of memory, as it says")]  # fmt: skip
    assert read(tmp_path / "raw.csv") == expected
    pack(tmp_path)
    assert table_in(tmp_path) == tmp_path / "raw.csv.gz"
    assert not (tmp_path / "raw.csv").exists()
    assert read(tmp_path / "raw.csv.gz") == expected
    file, points = open_table(tmp_path)
    append(file, POINTS[:1])
    assert points == expected and read(file) == [*expected, POINTS[0]]


def test_a_row_that_was_cut_off_is_lost_alone(tmp_path: Path) -> None:
    file = tmp_path / "raw.csv"
    append(file, POINTS)
    whole = file.read_text()
    file.write_text(whole[: whole.rindex("scaled_mm")])
    assert read(file) == POINTS[:2]
    opened, points = open_table(tmp_path)
    append(opened, points[:1])
    assert read(opened) == [*POINTS[:2], POINTS[0]]
    file.write_text(",".join(COLUMNS)[:20])  # stopped within the head
    assert open_table(tmp_path)[1] == []


@pytest.mark.parametrize(
    ("cell", "value", "complaint"),
    [
        ("m", "1.5", "row 2: column 'm' must be a whole number, not '1.5'"),
        ("time_s", "fast", "row 2: column 'time_s' must be a number, not 'fast'"),
        ("time_s", "inf", "row 2: column 'time_s' must be finite"),
        ("time_s", "", "row 2: was measured, so 'time_s' must hold a time"),
        ("status", "good", "row 2: status 'good' is none of ok, noisy, oom, failed"),
        ("held_out", "yes", "row 2: held_out must be 0 or 1"),
    ],
)
def test_a_bad_cell_names_file_row_and_column(cell: str, value: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "raw.csv"
    append(file, POINTS)
    lines = file.read_text().splitlines()
    cells = dict(zip(COLUMNS, lines[1].split(","), strict=True)) | {cell: value}
    file.write_text("\n".join([lines[0], ",".join(cells.values()), *lines[2:], ""]))
    with pytest.raises(RawPointsError, match=complaint) as error:
        read(file)
    assert str(error.value).startswith(str(file))


def test_files_that_are_no_raw_table(tmp_path: Path) -> None:
    file = tmp_path / "raw.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(RawPointsError, match="does not name the columns of a raw table"):
        read(file)
    file.write_text(",".join(COLUMNS) + "\ngemm,bf16\n")
    with pytest.raises(RawPointsError, match=r"row 2: has 2 cells, not \d+; delete this row"):
        read(file)
    packed = tmp_path / "raw.csv.gz"
    packed.write_bytes(b"no gzip")
    with pytest.raises(RawPointsError, match="not a readable table of raw points"):
        read(packed)
