"""Logs as people have them: any order, any clock, any names, gaps and failures, and the sentence that mends each."""

import datetime
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.choice import build
from sim.errors import OptionError, ScenarioError, TraceError
from sim.insight.traces.readable import readable
from sim.workload.measured.read import read_measured
from sim.workload.naming import PLAIN
from sim.workload.table import RequestTable

HEADER = "arrival_s,prompt_tokens,output_tokens"


def written(folder: Path, text: str, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, kind: str = "csv", **options: Any) -> RequestTable:
    table: RequestTable = build("sim.workload.traces", {kind: {"path": str(path), **options}}).read()
    return table


def columns(table: RequestTable) -> list[tuple[float, int, int]]:
    return list(zip(table.arrival_s.tolist(), table.prompt_tokens.tolist(), table.output_tokens.tolist(), strict=True))


class TestOrder:
    def test_rows_are_sorted_and_the_note_says_so(self, tmp_path: Path) -> None:
        table = read(written(tmp_path, f"{HEADER}\n2,30,3\n0,10,1\n5,50,5\n2,40,4\n"))
        assert columns(table) == [(0, 10, 1), (2, 30, 3), (2, 40, 4), (5, 50, 5)]
        assert table.notes == ("2 rows were earlier than the row before; all were sorted by arrival_s",)

    def test_one_wrong_late_time_takes_nothing_away(self, tmp_path: Path) -> None:
        rows = "\n".join(f"{9000 if i == 3 else i},{i + 1},1" for i in range(500))
        table = read(written(tmp_path, f"{HEADER}\n{rows}\n"), on_bad_row="skip")
        assert len(table) == 500 and table.skipped_rows == 0 and table.prompt_tokens[-1] == 4
        assert "1 row was earlier than the row before" in table.notes[0]
        assert len(read(written(tmp_path, f"{HEADER}\n{rows}\n"), duration=100.0)) == 99

    def test_what_is_bad_does_not_hide_in_disorder(self, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match="line 3: prompt_tokens is '0'"):
            read(written(tmp_path, f"{HEADER}\n2,30,3\n1,0,1\n0,10,1\n"))

    def test_a_slice_is_by_time_not_by_place(self, tmp_path: Path) -> None:
        path = written(tmp_path, f"{HEADER}\n3,4,1\n2,3,1\n1,2,1\n0,1,1\n")
        assert read(path, limit=2).prompt_tokens.tolist() == [1, 2]
        assert read(path, start=1.0, duration=2.0).prompt_tokens.tolist() == [2, 3]

    @pytest.mark.parametrize("late", [40_000, 299_999])
    def test_disorder_far_behind_a_full_slice(self, tmp_path: Path, late: int) -> None:
        """What the block behind the slice shows is mended; the end of a long file in order is never looked at."""
        lines = [f"{i},{i + 1},1" for i in range(300_000)]
        lines[late] = "0,7,7"
        table = read(written(tmp_path, "\n".join([HEADER, *lines])), limit=2)
        assert table.prompt_tokens.tolist() == ([1, 7] if late == 40_000 else [1, 2])

    def test_other_formats(self, tmp_path: Path) -> None:
        vidur = written(tmp_path, "arrived_at,num_prefill_tokens,num_decode_tokens\n2,20,2\n1,10,1\n")
        assert columns(read(vidur, "vidur")) == [(1, 10, 1), (2, 20, 2)]
        azure = written(
            tmp_path, "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-01 00:00:02,20,2\n2024-05-01,10,1\n"
        )
        assert columns(read(azure, "azure")) == [(0, 10, 1), (2, 20, 2)]
        rows = [{"timestamp": t, "input_length": 512, "output_length": 1, "hash_ids": [t]} for t in (9, 0, 9)]
        mooncake = written(tmp_path, "\n".join(map(json.dumps, rows)), "m.jsonl")
        assert read(mooncake, "mooncake").segments == [((0, 512),), ((9, 512),), ((9, 512),)]

    def test_sessions_out_of_order_are_as_in_order(self, tmp_path: Path) -> None:
        rows = [
            {"timestamp": 0, "input_length": 5, "output_length": 1, "session_id": "a"},
            {"timestamp": 4, "input_length": 6, "output_length": 1, "session_id": "b"},
            {"delay": 2, "input_length": 7, "output_length": 1, "session_id": "b"},
        ]

        def table(order: list[int]) -> RequestTable:
            return read(written(tmp_path, "\n".join(json.dumps(rows[i]) for i in order), "m.jsonl"), "mooncake")

        plain, mixed = table([0, 1, 2]), table([1, 2, 0])
        assert columns(plain) == columns(mixed) and plain.turns is not None and mixed.turns is not None
        assert plain.turns.tolist() == mixed.turns.tolist() == [1, 1, 2]

    @given(
        st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 99), st.integers(1, 9)), min_size=2, max_size=40),
        st.randoms(use_true_random=False),
        st.sampled_from(["csv", "jsonl"]),
        st.sampled_from(["plain", "epoch ms", "dates"]),
    )
    def test_any_permutation_is_the_same_trace(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], random: Any, kind: str,
        clock: str,
    ) -> None:  # fmt: skip
        """Up to ties, which keep the file's order: here requests of one time are told apart by nothing else."""
        rows = list({ms: (ms, prompt, output) for ms, prompt, output in rows}.values())
        shuffled = random.sample(rows, len(rows))
        folder = tmp_path_factory.mktemp("logs")
        tables = []
        for number, part in enumerate((sorted(rows), shuffled)):
            told = [(_time(ms, clock), prompt, output) for ms, prompt, output in part]
            name = "arrival_s" if clock == "plain" else "time"
            if kind == "csv":
                text = "\n".join([f"{name},prompt_tokens,output_tokens", *(f"{t},{p},{o}" for t, p, o in told)])
            else:
                keys = (name, "prompt_tokens", "output_tokens")
                text = "\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in told)
            tables.append(read(written(folder, text, f"{number}.log"), kind))
        assert columns(tables[0]) == columns(tables[1])
        first_ms = 0 if clock == "plain" else min(ms for ms, _, _ in rows)
        assert tables[0].arrival_s.tolist() == pytest.approx([(ms - first_ms) / 1e3 for ms, _, _ in sorted(rows)])


def _time(ms: int, clock: str) -> Any:
    if clock == "plain":
        return ms / 1e3
    if clock == "epoch ms":
        return 1_714_557_600_000 + ms
    begin = datetime.datetime(2024, 5, 1, 10, tzinfo=datetime.UTC)
    return (begin + datetime.timedelta(milliseconds=ms)).isoformat()


class TestClocks:
    @pytest.mark.parametrize(
        ("name", "times", "expected"),
        [
            ("arrival_s", ["5", "6.5"], [5, 6.5]),  # the plain format: counts from the trace's beginning
            ("time_s", ["523412.5", "523414"], [0, 1.5]),  # a machine's uptime
            ("arrival_ms", ["5000", "6500"], [0, 1.5]),
            ("arrival_us", ["3600000000", "3601500000"], [0, 1.5]),
            ("arrival_s", ["1714557600", "1714557601.5"], [0, 1.5]),
            ("ts", ["1714557600.25", "1714557601.75"], [0, 1.5]),
            ("ts", ["1714557600000", "1714557601500"], [0, 1.5]),
            ("ts", ["1714557600000000", "1714557601500000"], [0, 1.5]),
            ("ts", ["1714557600000000000", "1714557601500000000"], [0, 1.5]),
            ("ts", ["2024-05-01T10:00:00Z", "2024-05-01T12:00:01.5+02:00"], [0, 1.5]),
            ("ts", ["2024-05-01 10:00:00,000", "2024-05-01 10:00:01,500"], [0, 1.5]),
            ("ts", ["01/May/2024:10:00:00 +0000", "01/May/2024:12:00:01 +0200"], [0, 1]),  # an access log
            ("ts", ["2024/05/01 10:00:00", "2024/05/01 10:00:01.5"], [0, 1.5]),
            ("ts", ["2024-05-01 10:00:00 UTC", "2024-05-01 10:00:01.5 UTC"], [0, 1.5]),
        ],
    )  # fmt: skip
    def test_all_become_seconds(self, tmp_path: Path, name: str, times: list[str], expected: list[float]) -> None:
        text = "\n".join([f"{name},prompt_tokens,output_tokens", *(f'"{time}",1,1' for time in times)])
        assert read(written(tmp_path, text)).arrival_s.tolist() == expected

    def test_a_unit_that_nobody_names_is_told(self, tmp_path: Path) -> None:
        table = read(written(tmp_path, "time,prompt_tokens,output_tokens\n10,1,1\n12,1,1\n"))
        assert table.arrival_s.tolist() == [0, 2] and "time names no unit and is taken as seconds" in table.notes
        table = read(written(tmp_path, f"{HEADER}\n1714557600000,1,1\n1714557601000,1,1\n"))
        assert table.arrival_s.tolist() == [0, 1]
        assert table.notes == ("arrival_s is taken to count milliseconds since 1970",)

    @pytest.mark.parametrize(
        ("odd", "words"),
        [
            (
                "2024-05-01T10:00:05",
                "line 4: time is '2024-05-01T10:00:05', without a time zone, which the others have",
            ),
            ("1970-01-01T00:00:00Z", "line 4: time is '1970-01-01T00:00:00Z', over a year from the others"),
            ("May 1st", "line 4: time is 'May 1st', no time: neither a number of seconds nor a date"),
            ("", "line 4: time is '', no time"),
        ],
    )
    def test_odd_ones_out(self, tmp_path: Path, odd: str, words: str) -> None:
        rows = ["2024-05-01T10:00:00Z", "2024-05-01T10:00:02Z", odd, "2024-05-01T10:00:03Z"]
        path = written(tmp_path, "\n".join(["time,prompt_tokens,output_tokens", *(f"{row},1,1" for row in rows)]))
        with pytest.raises(TraceError) as caught:
            read(path)
        assert words in str(caught.value)
        assert read(path, on_bad_row="skip").arrival_s.tolist() == [0, 2, 3]

    def test_numbers_of_two_clocks(self, tmp_path: Path) -> None:
        rows = "\n".join(f"{1714557600 + i},1,1" for i in range(9))
        with pytest.raises(TraceError, match="line 11: ts is '12', over a year from the others"):
            read(written(tmp_path, f"ts,prompt_tokens,output_tokens\n{rows}\n12,1,1\n"))


class TestNames:
    @pytest.mark.parametrize(
        "header",
        [
            "Timestamp,Input_Tokens,Output_Tokens",
            "startTime,promptTokens,completionTokens",
            "created_at,prompt_toks,completion_toks",
            "@timestamp,usage.prompt_tokens,usage.completion_tokens",
            "request_time,ContextTokens,GeneratedTokens",
            "ts (s),num_prompt_tokens,num_generated_tokens",
            "time,tokens_in,tokens_out",
            '"TS","Prompt Token Count","Candidates Token Count"',
        ],
    )  # fmt: skip
    def test_usual_ones(self, tmp_path: Path, header: str) -> None:
        path = written(tmp_path, f"{header}\n10,100,5\n11,200,6\n")
        table = read(path)
        assert columns(table) == [(0, 100, 5), (1, 200, 6)]
        assert any(note.startswith("read arrival from ") for note in table.notes)
        assert readable(path).format == "csv"

    def test_the_guide_names_them_all(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "howto" / "traffic.md").read_text(encoding="utf-8")
        for role, groups in PLAIN.items():
            line = next(line for line in page.splitlines() if line.startswith(f"| {role} |"))
            assert [re.findall(r"`(\w+)`", group) for group in line.split(";")] == [list(group) for group in groups]

    def test_columns_says_which(self, tmp_path: Path) -> None:
        path = written(tmp_path, "id,when_ms,in,out,customer\n7,1500,10,1,acme\n8,1000,20,2,bell\n")
        said = {"arrival": "when_ms", "prompt_tokens": "in", "output_tokens": "out", "tenant": "customer"}
        table = read(path, columns=said)
        assert columns(table) == [(0, 20, 2), (0.5, 10, 1)] and table.tenants == ("bell", "acme")
        assert table.notes == ("1 row was earlier than the row before; all were sorted by when_ms",)

    def test_objects_inside_objects(self, tmp_path: Path) -> None:
        rows = [
            {"created": 1714557600 + i, "usage": {"prompt_tokens": 10 + i, "completion_tokens": 3}} for i in range(2)
        ]
        path = written(tmp_path, "\n".join(map(json.dumps, rows)), "log.jsonl")
        assert readable(path).format == "jsonl" and columns(read(path, "jsonl")) == [(0, 10, 3), (1, 11, 3)]
        rows[1]["usage"]["prompt_tokens"] = 0  # type: ignore[index]
        with pytest.raises(TraceError, match=r"line 2: usage\.prompt_tokens is 0, not a whole number"):
            read(written(tmp_path, "\n".join(map(json.dumps, rows)), "log.jsonl"), "jsonl")

    @pytest.mark.parametrize("indent", [None, 1])
    def test_a_json_list(self, tmp_path: Path, indent: int | None) -> None:
        rows: list[Any] = [{"ts": 5 - i, "prompt_tokens": 10 + i, "completion_tokens": 3} for i in range(3)]
        path = written(tmp_path, json.dumps(rows, indent=indent), "log.json")
        assert readable(path).format == "jsonl" and columns(read(path, "jsonl")) == [(0, 12, 3), (1, 11, 3), (2, 10, 3)]
        path = written(tmp_path, json.dumps([*rows, {"ts": 1}, 7], indent=indent), "log.json")
        with pytest.raises(TraceError, match=r"2 rows cannot be used: .*first: entry 4"):
            read(path, "jsonl")

    @pytest.mark.parametrize(
        ("header", "options", "words"),
        [
            (
                "start_time,sent_at,prompt_tokens,output_tokens", {},
                "the columns 'start_time' and 'sent_at' may both be the arrival; remove or rename one, or write beside "
                "the trace's path: columns: {arrival: start_time}",
            ),
            (
                "when,prompt,output_tokens,x", {},
                "no column is known to be the arrival or the prompt_tokens (found when, prompt, output_tokens, x); "
                "write beside the trace's path: columns: {arrival: NAME, prompt_tokens: NAME}",
            ),
            (f"{HEADER},x", {"columns": {"tenant": "y"}}, "columns: tenant: there is no column 'y'"),
            (f"{HEADER},status", {"where": {"state": 1}}, "where: there is no column 'state'; did you mean 'status'?"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, tmp_path: Path, header: str, options: dict[str, Any], words: str) -> None:
        with pytest.raises(TraceError) as caught:
            read(written(tmp_path, f"{header}\n0,1,1,1\n"), **options)
        assert words in str(caught.value)

    def test_a_role_that_no_trace_has(self) -> None:
        with pytest.raises(ScenarioError, match="'promt_tokens' is nothing that a trace tells; did you mean 'prompt_t"):
            build("sim.workload.traces", {"csv": {"path": "x", "columns": {"promt_tokens": "p"}}})


class TestSpellings:
    ROWS = [("2024-05-01T10:00:00Z", "1200.0", "7"), ("2024-05-01T10:00:01Z", "30", "8.0")]  # noqa: RUF012

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_delimiters_ends_and_marks(self, tmp_path: Path, delimiter: str, end: str, mark: str) -> None:
        lines = [("ts", "prompt,or so", "tokens_in", "tokens_out")]
        lines += [(time, "a;b\tc|d", prompt, output) for time, prompt, output in self.ROWS]
        text = mark + end.join(delimiter.join(f'"{cell}"' for cell in line) for line in lines)
        path = tmp_path / "log.csv.gz"
        path.write_bytes(gzip.compress(text.encode()))
        assert columns(read(path)) == [(0, 1200, 7), (1, 30, 8)]

    def test_a_decimal_comma(self, tmp_path: Path) -> None:
        assert columns(read(written(tmp_path, "arrival_s;prompt_tokens;output_tokens\n0,5;10;1\n1,25;20;2\n"))) == [
            (0.5, 10, 1), (1.25, 20, 2),
        ]  # fmt: skip

    def test_numbers_as_texts_in_json(self, tmp_path: Path) -> None:
        row = {"arrival_s": "0.5", "prompt_tokens": "10", "output_tokens": "1.0"}
        assert columns(read(written(tmp_path, json.dumps(row), "t.jsonl"), "jsonl")) == [(0.5, 10, 1)]


LOG = (
    "ts,model,prompt_toks,completion_toks,status\n"
    "2024-05-01T10:00:00Z,a,10.0,1,200\n"
    "2024-05-01T10:00:02Z,a,20.0,0.0,500\n"
    "2024-05-01T10:00:01Z,b,30.0,,200\n"
    "2024-05-01T10:00:03Z,b,40.0,0.0,429\n"
    "2024-05-01T10:00:04Z,b\n"
    "soon,b,50.0,5,200\n"
    "2024-05-01T10:00:05Z,b,60.0,6,200\n"
)


class TestAllAtOnce:
    def test_every_kind_with_its_count_its_first_line_and_the_mend(self, tmp_path: Path) -> None:
        with pytest.raises(OptionError) as caught:
            read(written(tmp_path, LOG))
        assert str(caught.value) == (
            f"{tmp_path / 'log.csv'}: 5 rows cannot be used: 2 with 0 completion_toks (first: line 3), 1 with a blank "
            "completion_toks (first: line 4), 1 misshapen (first: line 6, 2 fields where the header has 5), 1 whose ts "
            "is no time: neither a number of seconds nor a date such as 2024-05-01T12:00:00Z (first: line 7, 'soon'); "
            "mend them, or write beside the trace's path: empty_outputs: drop, on_bad_row: skip"
        )
        assert str(caught.value.for_command()).endswith("add --set empty_outputs=drop --set on_bad_row=skip")

    def test_no_option_mends_a_file_without_a_good_row(self, tmp_path: Path) -> None:
        path = written(tmp_path, "ts,prompt_tokens,output_tokens\n05/01/2024 10:00,1,1\n05/01/2024 10:01,1,1\n")
        with pytest.raises(TraceError) as caught:
            read(path)
        assert not isinstance(caught.value, OptionError)
        assert str(caught.value) == (
            f"{path}: 2 rows cannot be used: 2 whose ts is no time: neither a number of seconds nor a date such as "
            "2024-05-01T12:00:00Z (first: line 2, '05/01/2024 10:00'); no other row is there, so mend the file"
        )

    def test_what_the_sentence_says_is_enough(self, tmp_path: Path) -> None:
        table = read(written(tmp_path, LOG), empty_outputs="drop", on_bad_row="skip")
        assert columns(table) == [(0, 10, 1), (5, 60, 6)] and table.skipped_rows == 3
        assert table.notes[0].startswith("3 unusable rows of the trace skipped: 1 with a blank completion_toks (first")

    def test_rows_that_are_not_asked_for_may_be_bad(self, tmp_path: Path) -> None:
        table = read(written(tmp_path, LOG), where={"status": 200, "model": ["a", "c"]}, on_bad_row="skip")
        assert columns(table) == [(0, 10, 1)]
        assert table.skipped_rows == 1 and table.notes[-2].endswith("rows left out by status, model (where)")

    def test_where_that_fits_nothing_says_what_there_is(self, tmp_path: Path) -> None:
        with pytest.raises(
            TraceError, match=r"where leaves none of the 6 rows: status is 200 \(4\), 500 \(1\), 429 \(1\)"
        ):
            read(written(tmp_path, LOG), where={"status": 404}, on_bad_row="skip")

    def test_lines_that_are_not_json(self, tmp_path: Path) -> None:
        text = '{"ts": 0, "input_tokens": 1, "output_tokens": 1}\nTraceback\n{"ts": 1}\n[1]\n'
        with pytest.raises(TraceError, match=r"2 that are not JSON objects \(first: line 2\)|3 that are not JSON"):
            read(written(tmp_path, text, "log.jsonl"), "jsonl")

    def test_what_it_needs_is_found_with_the_reason(self, tmp_path: Path) -> None:
        found = readable(written(tmp_path, LOG))
        assert (found.format, found.requests) == ("csv", 2)
        assert dict(found.options) == {
            "columns": "{arrival: ts, prompt_tokens: prompt_toks, output_tokens: completion_toks}",
            "empty_outputs": "drop",
            "on_bad_row": "skip",
        }
        assert found.why["empty_outputs"] == "left out: 2 with 0 completion_toks (first: line 3)"
        assert "1 misshapen" in found.why["on_bad_row"] and "1 with a blank" in found.why["on_bad_row"]
        assert readable(written(tmp_path, LOG), {"where": {"status": 500}, "empty_outputs": "one"}).requests == 1


class TestMeasured:
    ROWS = "started_at,ended_at,first_token_at,input_tokens,completion_tokens\n" + "".join(
        f"2024-05-01T10:00:0{i}+02:00,2024-05-01T10:00:0{i + 2}+02:00,2024-05-01T10:00:0{i}.25+02:00,100,{9 - i}\n"
        for i in (1, 0)
    )

    def test_dates(self, tmp_path: Path) -> None:
        run = read_measured(written(tmp_path, self.ROWS))
        assert run.table.arrival_s.tolist() == [0, 1] and run.table.output_tokens.tolist() == [9, 8]
        assert run.ttft_s == pytest.approx([0.25, 0.25]) and run.e2e_s == pytest.approx([2, 2])
        assert run.notes[0].startswith("the file names no prompts")  # and nothing of units

    def test_milliseconds_since_1970_and_own_names(self, tmp_path: Path) -> None:
        text = "when,in,out,first_ms,all_ms\n1714557600000,10,3,40,400\n1714557601500,20,3,50,500\n"
        said = {"arrival": "when", "prompt_tokens": "in", "output_tokens": "out", "ttft": "first_ms", "e2e": "all_ms"}
        run = read_measured(written(tmp_path, text), said)
        assert run.table.arrival_s.tolist() == [0, 1.5] and run.ttft_s == pytest.approx([0.04, 0.05])
        assert np.allclose(run.e2e_s, [0.4, 0.5])

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (
                "ts,prompt_tokens,output_tokens\n0,1,1\n",
                "no column tells the time to the first token; name one ttft_s, ttft_ms or ttft_us (found: ts, "
                "prompt_tokens, output_tokens); as traffic alone, without latencies, it is a trace: "
                "`trace: {csv: {path: log.csv}}`",
            ),
            ("ts,input,output_tokens\n0,1,1\n", "write beside the trace's path: columns: {prompt_tokens: NAME}"),
            (
                "start_time,prompt_tokens,output_tokens,ttft_s,e2e_s\n2024-05-01T10:00:00,1,1,1,1\n2024-05-01T10:00:00Z,1,1,1,1\n",
                "some dates in start_time name a time zone, and others none",
            ),
            (
                "arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\n0,5,3,,\n",
                "as traffic alone it is a trace: `trace:",
            ),
        ],
    )
    def test_what_is_refused(self, tmp_path: Path, text: str, words: str) -> None:
        with pytest.raises(TraceError) as caught:
            read_measured(written(tmp_path, text))
        assert words in str(caught.value)


CELLS = st.sampled_from(
    ["", " ", "0", "1", "12.0", "-3", "1e400", "nan", "NULL", "soon", "2024-05-01T10:00:00Z", "2024-05-01 10:00:00",
     "1714557600", "1714557600000", "99999-01-01", '"', "é", "5,5", "[1]", "{}", "true"]
)  # fmt: skip


@given(
    st.sampled_from(["ts,input_tokens,output_tokens", "time;prompt_toks;tokens_out", "a,b,c", HEADER, ""]),
    st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=8),
    st.sampled_from([",", ";"]),
)
def test_any_table_is_read_or_refused_in_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, header: str, rows: list[list[str]], delimiter: str
) -> None:
    text = "\n".join([header, *(delimiter.join(row) for row in rows)])
    _read_or_refused(written(tmp_path_factory.mktemp("any"), text))


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["ts", "prompt_tokens", "completion_tokens", "usage", "conversations", "input_lens"]),
            st.one_of(CELLS, st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.integers(), max_size=2),
                      st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens"]), st.integers(0, 9))),
        ),
        max_size=6,
    ),
    st.sampled_from(["lines", "list", "one"]),
)  # fmt: skip
def test_any_json_is_read_or_refused_in_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], shape: str
) -> None:
    text = json.dumps(rows[0] if shape == "one" and rows else rows)
    _read_or_refused(
        written(tmp_path_factory.mktemp("any"), "\n".join(map(json.dumps, rows)) if shape == "lines" else text)
    )


def _read_or_refused(path: Path) -> None:
    try:
        found = readable(path)
    except TraceError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        assert found.requests > 0
