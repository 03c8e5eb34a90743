"""CSV, JSONL and Azure files: what is read, and every kind of bad row, one by one."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.choice import build
from sim.errors import ScenarioError, TraceError
from sim.workload.table import RequestTable
from sim.workload.traces.azure import Azure
from sim.workload.traces.csv import Csv
from sim.workload.traces.jsonl import Jsonl

HEADER = "arrival_s,prompt_tokens,output_tokens"
GOOD = f"{HEADER}\n0,10,1\n0.5,20,2\n0.5,30,3\n2,40,4\n"


def read_csv(tmp_path: Path, text: str | bytes, **options: Any) -> RequestTable:
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Csv(path=str(path), **options).read()


def read_jsonl(tmp_path: Path, rows: list[Any], **options: Any) -> RequestTable:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return Jsonl(path=str(path), **options).read()


def row(arrival_s: Any = 0, prompt_tokens: Any = 10, output_tokens: Any = 1, **more: Any) -> dict[str, Any]:
    return {"arrival_s": arrival_s, "prompt_tokens": prompt_tokens, "output_tokens": output_tokens, **more}


class TestReading:
    def test_columns_and_types(self, tmp_path: Path) -> None:
        table = read_csv(tmp_path, GOOD)
        assert table.arrival_s.tolist() == [0, 0.5, 0.5, 2]
        assert table.prompt_tokens.tolist() == [10, 20, 30, 40]
        assert table.output_tokens.tolist() == [1, 2, 3, 4]
        assert table.priority.tolist() == [0, 0, 0, 0]
        assert table.segments is None and table.source == "t.csv"

    @pytest.mark.parametrize(
        "text",
        [
            GOOD.replace("\n", "\r\n"),
            GOOD.rstrip("\n"),
            "\ufeff" + GOOD,
            GOOD.replace("\n", "\n\n"),
            GOOD.replace("0.5,20", '"0.5"," 20"'),
            "output_tokens,note,arrival_s,prompt_tokens\n1,,0,10\n2,é,.5,20\n3,,5e-1,30\n4,,2.0,40.0\n",
        ],
        ids=["crlf", "no last newline", "byte order mark", "blank lines", "quoted", "other order"],
    )
    def test_spellings(self, tmp_path: Path, text: str) -> None:
        table, plain = read_csv(tmp_path, text), read_csv(tmp_path, GOOD)
        for name in ("arrival_s", "prompt_tokens", "output_tokens"):
            assert np.array_equal(getattr(table, name), getattr(plain, name))

    def test_gzip_by_content_not_by_name(self, tmp_path: Path) -> None:
        assert len(read_csv(tmp_path, gzip.compress(GOOD.encode()))) == 4

    def test_jsonl(self, tmp_path: Path) -> None:
        rows = [row(0, 10, 1, priority=2), "", row(1.5, 20, 2, other="x")]
        table = read_jsonl(tmp_path, rows)
        assert table.arrival_s.tolist() == [0, 1.5] and table.priority.tolist() == [2, 0]
        assert table.prompt_tokens.tolist() == [10, 20]

    def test_priority_blank_is_zero(self, tmp_path: Path) -> None:
        table = read_csv(tmp_path, f"{HEADER},priority\n0,1,1,-5\n0,1,1,\n0,1,1,3\n")
        assert table.priority.tolist() == [-5, 0, 3]

    def test_azure_naive_and_offset_times_and_seven_digits(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n"
            "2023-11-16 18:15:46.6805900,1,1\n2023-11-16 18:15:46.6805901,2,2\n2023-11-16 18:15:47,3,3\n"
            "2023-11-16T19:15:48,4,4\n2023-11-16 20:15:48,5,5"
        )
        assert Azure(path=str(path)).read().arrival_s.tolist() == [0, 1e-7, 0.31941, 3601.31941, 7201.31941]
        path.write_text(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n"
            "2023-11-16 18:15:46.6805900+00:00,1,1\n2023-11-16T19:15:48Z,4,4\n2023-11-16 20:15:48.5+01:00,5,5"
        )
        assert Azure(path=str(path)).read().arrival_s.tolist() == [0, 3601.31941, 3601.81941]

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 10**7), st.integers(1, 10**7)), min_size=1))
    def test_what_is_written_is_read(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]]
    ) -> None:
        rows.sort(key=lambda r: r[0])
        folder = tmp_path_factory.mktemp("trace")
        text = HEADER + "".join(f"\n{us / 1e6!r},{prompt},{output}" for us, prompt, output in rows)
        table = read_csv(folder, text)
        other = read_jsonl(folder, [row(us / 1e6, prompt, output) for us, prompt, output in rows])
        assert table.arrival_s.tolist() == other.arrival_s.tolist() == [us / 1e6 for us, _, _ in rows]
        assert table.prompt_tokens.tolist() == other.prompt_tokens.tolist() == [r[1] for r in rows]
        assert table.output_tokens.tolist() == other.output_tokens.tolist() == [r[2] for r in rows]


class TestSlices:
    def arrivals(self, tmp_path: Path, **options: Any) -> list[float]:
        return read_csv(tmp_path, GOOD, **options).arrival_s.tolist()

    def test_limit_and_offset(self, tmp_path: Path) -> None:
        assert self.arrivals(tmp_path, limit=2) == [0, 0.5]
        assert self.arrivals(tmp_path, offset=1, limit=3) == [0, 0, 1.5]

    def test_time_window_is_half_open(self, tmp_path: Path) -> None:
        assert self.arrivals(tmp_path, start=0.5) == [0, 0, 1.5]
        assert self.arrivals(tmp_path, start=0.25, duration=1.75) == [0.25, 0.25]
        assert self.arrivals(tmp_path, duration=0.5) == [0]

    def test_window_then_rows(self, tmp_path: Path) -> None:
        assert read_csv(tmp_path, GOOD, start=0.5, offset=1, limit=1).prompt_tokens.tolist() == [30]

    def test_speed_and_rate(self, tmp_path: Path) -> None:
        assert self.arrivals(tmp_path, speedup=4) == [0, 0.125, 0.125, 0.5]
        assert self.arrivals(tmp_path, rate_per_s=3) == [0, 0.25, 0.25, 1]

    def test_the_rest_of_the_file_is_not_looked_at(self, tmp_path: Path) -> None:
        bad_end = GOOD + "x\n3,0,0\n4,1,1\n"
        assert len(read_csv(tmp_path, bad_end, limit=4)) == 4
        assert len(read_csv(tmp_path, bad_end, duration=2.0)) == 3
        with pytest.raises(TraceError, match="line 6"):
            read_csv(tmp_path, bad_end, limit=5)
        assert read_csv(tmp_path, bad_end, limit=4, on_bad_row="skip").skipped_rows == 0
        assert read_csv(tmp_path, bad_end, limit=5, on_bad_row="skip").skipped_rows == 2

    def test_a_slice_outside_says_where_the_trace_ends(self, tmp_path: Path) -> None:
        with pytest.raises(TraceError, match=r"leave no request of the 4 rows.*arrives at 2 s"):
            read_csv(tmp_path, GOOD, start=100.0)
        with pytest.raises(TraceError, match="leave no request"):
            read_csv(tmp_path, GOOD, offset=4)

    def test_a_rate_needs_a_span(self, tmp_path: Path) -> None:
        with pytest.raises(TraceError, match="rate_per_s cannot be reached"):
            read_csv(tmp_path, GOOD, limit=1, rate_per_s=2.0)

    def test_blocks_do_not_show(self, tmp_path: Path) -> None:
        """Rows over many read blocks: same rows, right line numbers, disorder across a boundary seen."""
        n = 120_000
        lines = [f"{i * 0.01:.2f},{i % 500 + 1},{i % 7 + 1}" for i in range(n)]
        table = read_csv(tmp_path, "\n".join([HEADER, *lines]))
        assert table.prompt_tokens.tolist() == [i % 500 + 1 for i in range(n)]
        assert read_csv(tmp_path, "\n".join([HEADER, *lines]), offset=100_000, limit=1).prompt_tokens == [1]
        lines[100_000] = "3,500,5"
        with pytest.raises(TraceError, match="line 100003: prompt_tokens is '0'"):
            read_csv(tmp_path, "\n".join([HEADER, *lines[:100_001], "1000,0,1", *lines[100_001:]]))
        table = read_csv(tmp_path, "\n".join([HEADER, *lines]))
        assert table.arrival_s[300:302].tolist() == [3, 3] and table.prompt_tokens[301] == 500
        assert table.notes == ("1 row was earlier than the row before; all were sorted by arrival_s",)
        rows = [row(i, i + 1, 1) for i in range(40_000)]
        rows[16_384]["arrival_s"] = 16_382  # the first row of the second block
        table = read_jsonl(tmp_path, rows)
        assert table.prompt_tokens[16_382:16_386].tolist() == [16_383, 16_385, 16_384, 16_386]


BAD_CSV_ROWS = [
    ("-1,10,1", "arrival_s is '-1', negative; times start at 0"),
    ("soon,10,1", "arrival_s is 'soon', no time: neither a number of seconds nor a date"),
    ("nan,10,1", "arrival_s is 'nan', no time: neither a number of seconds nor a date"),
    ("inf,10,1", "arrival_s is 'inf', no time: neither a number of seconds nor a date"),
    (",10,1", "arrival_s is '', no time: neither a number of seconds nor a date"),
    ("1700000000,10,1", "arrival_s is '1700000000', over a year after 0; give seconds since"),
    ("1,0,1", "prompt_tokens is '0', not a whole number of tokens from 1 to 10,000,000"),
    ("1,-5,1", "prompt_tokens is '-5', not a whole"),
    ("1,12.5,1", "prompt_tokens is '12.5', not a whole"),
    ("1,,1", "prompt_tokens is '', not a whole"),
    ("1,ten,1", "prompt_tokens is 'ten', not a whole"),
    ("1,20000000,1", "prompt_tokens is '20000000', not a whole"),
    ("1,10,0", "output_tokens is '0', not a whole"),
    ("1,10,NaN", "output_tokens is 'NaN', not a whole"),
    ("1,10,inf", "output_tokens is 'inf', not a whole"),
    ("1,10,99999999999999999999", "output_tokens is '99999999999999999999', not a whole"),
    ("1,10", "2 fields where the header has 3"),
    ("1,10,1,9", "4 fields where the header has 3"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_CSV_ROWS, ids=[bad for bad, _ in BAD_CSV_ROWS])
class TestBadCsvRows:
    def test_is_named_with_its_line(self, tmp_path: Path, bad: str, message: str) -> None:
        with pytest.raises(TraceError) as caught:
            read_csv(tmp_path, f"{HEADER}\n0,10,1\n\n0.5,20,2\n{bad}\n2,40,4\n")
        told = str(caught.value)
        assert told.startswith(f"{tmp_path / 't.csv'}, line 5: {message}")
        option = "empty_outputs: drop" if bad == "1,10,0" else "on_bad_row: skip"
        assert told.endswith(f"; mend the row, or write beside the trace's path: {option}")

    def test_is_skipped_and_counted(self, tmp_path: Path, bad: str, message: str) -> None:
        table = read_csv(tmp_path, f"{HEADER}\n0,10,1\n0.5,20,2\n{bad}\n2,40,4\n", on_bad_row="skip")
        assert table.prompt_tokens.tolist() == [10, 20, 40] and table.skipped_rows == 1
        assert table.notes[0].startswith("1 unusable row of the trace skipped; the first: ")
        assert "line 4" in table.notes[0] and message.split(",")[0] in table.notes[0]


BAD_JSON_ROWS: list[tuple[Any, str]] = [
    ('{"arrival_s": 1, ', "'{\"arrival_s\": 1,' is not a JSON object"),
    ("[1, 2, 3]", "'[1, 2, 3]' is not a JSON object"),
    ({"arrival_s": 1, "prompt_tokens": 3}, "output_tokens is missing (the row has arrival_s, prompt_tokens)"),
    (row(arrival_s=None), "arrival_s is None, no time: neither"),
    (row(arrival_s="one"), "arrival_s is 'one', no time: neither"),
    (row(arrival_s=True), "arrival_s is True, no time"),
    (row(1, float("nan")), "prompt_tokens is nan, not a whole"),
    (row(1, 10**400), "prompt_tokens is 1000"),
    (row(1, [3]), "prompt_tokens is [3], not a whole"),
    (row(1, 2.5), "prompt_tokens is 2.5, not a whole"),
    (row(1, priority="high"), "priority is 'high', not a whole number"),
    (row(1, prompt_id=1.5), "prompt_id is 1.5, neither a whole number nor text"),
    (
        row(1, 99, prompt_id="a"),
        "prompt_tokens is 99, not the length of an earlier row with the same prompt_id",
    ),
    (row(1, prefix_group="g"), "prefix_tokens is missing"),
    (row(1, prefix_group="g", prefix_tokens=11), "prefix_tokens is 11, not a whole number from 0 to prompt"),
    (row(1, prefix_tokens=5), "prefix_tokens is 5, given without a prefix_group"),
    (row(1, prompt_id="b", block_hashes=[1]), "prompt_tokens is 10, named twice"),
    (row(1, block_hashes=[1, 2, 3, 4]), "block_hashes is [1, 2, 3, 4], more blocks than prompt_tokens fill"),
    (row(1, block_hashes=[1, None]), "block_hashes is [1, None], not a list of whole numbers or texts"),
    (row(1, block_hashes="1 2"), "block_hashes is '1 2', not a list"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_JSON_ROWS, ids=[m for _, m in BAD_JSON_ROWS])
class TestBadJsonRows:
    def rows(self, bad: Any) -> list[Any]:
        return [row(0, 10, 1, prompt_id="a"), "", row(0.5, 20), bad, row(2, 40, block_hashes=[1, 2])]

    def test_is_named_with_its_line(self, tmp_path: Path, bad: Any, message: str) -> None:
        with pytest.raises(TraceError) as caught:
            read_jsonl(tmp_path, self.rows(bad), block_size=4)
        assert str(caught.value).startswith(f"{tmp_path / 't.jsonl'}, line 4: {message}")

    def test_is_skipped_and_counted(self, tmp_path: Path, bad: Any, message: str) -> None:
        table = read_jsonl(tmp_path, self.rows(bad), block_size=4, on_bad_row="skip")
        assert table.prompt_tokens.tolist() == [10, 20, 40] and table.skipped_rows == 1


class TestBadFiles:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is empty"),
            (b"\n \n", "is empty"),
            (HEADER.encode(), "has no rows of requests"),
            (
                b"arrival_s,prompt_tokens\n1,1\n",
                r"no column is known to be the output_tokens \(found arrival_s, prompt_tokens\); write",
            ),
            (b"TIMESTAMP,prompt,GeneratedTokens\n", r"write beside the trace's path: columns: {prompt_tokens: NAME}"),
            (f"{HEADER},arrival_s\n0,1,1,0\n".encode(), "column 'arrival_s' stands there twice"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not text"),
            (f"{HEADER}\n0,1,\xff\n".encode("latin-1"), "is not UTF-8 text|not a whole|cannot be read"),
            (gzip.compress(GOOD.encode() * 500)[:-40], "damaged gzip"),
            (f"{HEADER},block_hashes\n0,1,1,3\n".encode(), "need a JSONL trace"),
            (f'{HEADER}\n0,1,"1\n2,2,2\n'.encode(), "t.csv"),
        ],
        ids=[
            "empty",
            "blank",
            "header",
            "column",
            "azure",
            "twice",
            "png",
            "latin",
            "gzip",
            "hashes",
            "quote",
        ],
    )
    def test_is_told_in_one_sentence(self, tmp_path: Path, content: bytes, message: str) -> None:
        with pytest.raises(TraceError, match=message) as caught:
            read_csv(tmp_path, content)
        assert str(tmp_path / "t.csv") in str(caught.value) and len(str(caught.value)) < 400

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(TraceError, match=r"there is no file .*nothing\.csv; a path is relative"):
            Csv(path=str(tmp_path / "nothing.csv")).read()
        with pytest.raises(TraceError, match="is a folder; name the file in it"):
            Jsonl(path=str(tmp_path)).read()

    def test_nothing_usable(self, tmp_path: Path) -> None:
        with pytest.raises(TraceError, match=r"no usable row is left \(2 unusable rows .*line 2.*line 3"):
            read_csv(tmp_path, f"{HEADER}\n0,0,1\n1,1,0\n", on_bad_row="skip")

    def test_jsonl_given_a_csv(self, tmp_path: Path) -> None:
        with pytest.raises(TraceError, match=r"2 that are not JSON objects \(first: line 1\)"):
            read_jsonl(tmp_path, [HEADER, "0,1,1"])

    def test_bad_azure_time(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1,1\nyesterday,1,1\n")
        with pytest.raises(TraceError, match=r"line 3: TIMESTAMP is 'yesterday', no time"):
            Azure(path=str(path)).read()
        rows = "2023-11-16 18:15:46,1,1\n2022-01-01,1,1\n2023-11-16 18:15:46,1,1\n"
        path.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}")
        with pytest.raises(TraceError, match=r"line 3: TIMESTAMP is '2022-01-01', over a year from the others"):
            Azure(path=str(path)).read()

    def test_a_quoted_newline_does_not_shift_the_line(self, tmp_path: Path) -> None:
        with pytest.raises(TraceError, match="line 4: prompt_tokens is '0'"):
            read_csv(tmp_path, f'{HEADER},text\n0,1,1,"two\nlines"\n1,0,1,x\n')


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"azure": {"path": "x", "speedup": 2, "rate_per_s": 3}}, "both scale the arrival times"),
        ({"azure": {"path": "x", "speedup": 0}}, "greater than 0"),
        ({"azure": {"path": "x", "limit": 0}}, "limit"),
        ({"azure": {"path": "x", "offset": -1}}, "offset"),
        ({"azure": {"path": "x", "on_bad_row": "ignore"}}, "'error' or 'skip'"),
        ({"azure": {}}, "path"),
        ({"csv": {"path": "x", "limits": 3}}, "did you mean 'limit'"),
        ({"jsonl": {"path": "x", "block_size": 0}}, "block_size"),
        ("cvs", "did you mean 'csv'"),
    ],
    ids=repr,
)
def test_bad_options_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        build("sim.workload.traces", value)


class TestContent:
    def test_block_hashes(self, tmp_path: Path) -> None:
        rows = [
            row(0, 12, block_hashes=[1, 2, 3]),  # full blocks
            row(0, 10, block_hashes=[1, 2, "x"]),  # the last one cut, as Mooncake writes them
            row(0, 10, block_hashes=[1, 2]),  # a tail without a hash, as WEKA writes them
            row(0, 10, block_hashes=[]),
            row(0, 10),
        ]
        table = read_jsonl(tmp_path, rows, block_size=4)
        assert table.segments == [
            ((1, 4), (2, 4), (3, 4)),
            ((1, 4), (2, 4), ("x", 2)),
            ((1, 4), (2, 4), (("own", 2), 2)),
            None,
            None,
        ]
        assert table.segments[0][0] is table.segments[1][0]  # type: ignore[index]  # interned

    def test_block_size_of_the_row(self, tmp_path: Path) -> None:
        table = read_jsonl(tmp_path, [row(0, 6, block_hashes=["a", "b"], block_size=5)])
        assert table.segments == [(("a", 5), ("b", 1))]
        with pytest.raises(TraceError, match="block_size is missing"):
            read_jsonl(tmp_path, [row(0, 6, block_hashes=["a", "b"])])

    def test_prompt_ids_and_groups_in_csv(self, tmp_path: Path) -> None:
        text = (
            f"{HEADER},prompt_id,prefix_group,prefix_tokens\n"
            "0,10,1,p,,\n0,10,1,,sys,8\n0,9,1,,sys,8\n0,8,1,,sys,8\n0,8,1,,sys,0\n0,10,2,p,,\n0,7,7,,,\n"
        )
        table = read_csv(tmp_path, text)
        shared = (("group", "sys"), 8)
        assert table.segments == [
            ((("prompt", "p"), 10),),
            (shared, (("own", 1), 2)),
            (shared, (("own", 2), 1)),
            (shared,),
            None,
            ((("prompt", "p"), 10),),
            None,
        ]
        assert table.segments[0] is table.segments[5]

    def test_own_parts_stay_apart_across_blocks(self, tmp_path: Path) -> None:
        rows = [row(i, 10, prefix_group=0, prefix_tokens=4) for i in range(20_000)]
        table = read_jsonl(tmp_path, rows)
        assert table.segments is not None
        assert len({pieces[1][0] for pieces in table.segments if pieces}) == 20_000

    def test_a_skipped_row_does_not_fix_a_prompts_length(self, tmp_path: Path) -> None:
        rows = [row(0, None, prompt_id="a"), row(1, 9, prompt_id="a")]
        assert read_jsonl(tmp_path, rows, on_bad_row="skip").skipped_rows == 1
