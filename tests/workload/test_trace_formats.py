"""Formats of other projects, on a few rows of our own: what is read, what is refused, in which words."""

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from sim.errors import ScenarioError, TraceError
from sim.workload.spec import Workload
from sim.workload.table import RequestTable

STARTS = {"constant": {"rate_per_s": 1}}


def load(kind: str, path: Path, seed: int = 0, workload: dict[str, Any] | None = None, **options: Any) -> RequestTable:
    trace = {kind: {"path": str(path), **options}}
    return Workload.model_validate({"trace": trace, **(workload or {})}).table(seed, Path())


def jsonl(tmp_path: Path, rows: list[Any]) -> Path:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def text(tmp_path: Path, content: str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_text(content)
    return path


def mooncake_row(timestamp: Any, tokens: Any, output: Any, ids: Any = None, **more: Any) -> dict[str, Any]:
    return {"timestamp": timestamp, "input_length": tokens, "output_length": output, "hash_ids": ids, **more}


class TestMooncake:
    def test_milliseconds_and_chained_blocks(self, tmp_path: Path) -> None:
        rows = [mooncake_row(0, 1024, 5, [7, 8]), mooncake_row(1500, 1100, 6, [7, 8, 9]), mooncake_row(1500.5, 10, 7)]
        table = load("mooncake", jsonl(tmp_path, rows))
        assert table.arrival_s.tolist() == [0, 1.5, 1.5005] and table.output_tokens.tolist() == [5, 6, 7]
        assert table.segments == [((7, 512), (8, 512)), ((7, 512), (8, 512), (9, 76)), None]

    def test_unit_block_size_and_default_output(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path, [mooncake_row(2, 20, None, [1, 2])])
        table = load("mooncake", path, timestamp_unit="s", block_size=16, output_tokens=9)
        assert table.arrival_s.tolist() == [2] and table.output_tokens.tolist() == [9]
        assert table.segments == [((1, 16), (2, 4))]
        with pytest.raises(TraceError, match="line 1: output_length is None, not a whole number"):
            load("mooncake", path, block_size=16)

    def test_more_blocks_than_the_prompt_fills(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path, [mooncake_row(0, 1024, 5, [1, 2, 3])])
        with pytest.raises(TraceError, match=r"t\.jsonl, line 1: hash_ids is \[1, 2, 3\], more blocks than"):
            load("mooncake", path)

    def test_a_delay_needs_a_session_that_has_begun(self, tmp_path: Path) -> None:
        for more in ({}, {"session_id": "a"}):
            path = jsonl(tmp_path, [{"delay": 5, "input_length": 9, "output_length": 1, **more}])
            with pytest.raises(TraceError, match=r"line 1: timestamp is missing .* may have a `delay` in its place"):
                load("mooncake", path)

    def test_sessions_are_numbered(self, tmp_path: Path) -> None:
        names = ["x", None, "y", "x"]
        rows = [mooncake_row(i, 9, 1, session_id=name) for i, name in enumerate(names)]
        sessions = load("mooncake", jsonl(tmp_path, rows)).sessions
        assert sessions is not None and sessions.tolist() == [0, -1, 1, 0]


class TestGrid:
    def rows(self) -> list[Any]:
        """Ten requests every three seconds, give or take a millisecond."""
        return [mooncake_row(3000 * (i // 10) + (i // 10) % 2, 100, 1) for i in range(400)]

    def test_without_jitter_the_grid_is_told(self, tmp_path: Path) -> None:
        table = load("mooncake", jsonl(tmp_path, self.rows()))
        assert table.notes[-1].startswith("arrivals were recorded on a grid of 3") and "jitter: grid" in table.notes[-1]

    @pytest.mark.parametrize("jitter", ["grid", "3s"])
    def test_jitter_stays_within_the_grid(self, tmp_path: Path, jitter: str) -> None:
        path = jsonl(tmp_path, self.rows())
        table = load("mooncake", path, jitter=jitter)
        assert "stream workload.jitter" in table.notes[-1]
        cells = np.bincount((table.arrival_s // 3).astype(int))
        assert cells[:-1].tolist() == pytest.approx([10] * 39, abs=1) and (np.diff(table.arrival_s) > 0).all()
        again, other = load("mooncake", path, jitter=jitter), load("mooncake", path, seed=1, jitter=jitter)
        assert np.array_equal(table.arrival_s, again.arrival_s) and not np.array_equal(table.arrival_s, other.arrival_s)

    def test_a_session_keeps_its_order(self, tmp_path: Path) -> None:
        rows = [mooncake_row(3000 * (i // 10), i + 1, 1, session_id="one") for i in range(400)]
        table = load("mooncake", jsonl(tmp_path, rows), jitter="grid")
        assert table.prompt_tokens.tolist() == list(range(1, 401))

    def test_speed_shrinks_the_grid(self, tmp_path: Path) -> None:
        table = load("mooncake", jsonl(tmp_path, self.rows()), jitter="grid", speedup=3)
        assert "within 1 s" in table.notes[-1] and table.arrival_s[-1] < 40

    def test_no_grid_to_spread(self, tmp_path: Path) -> None:
        rows = [mooncake_row(37 * i * i, 10, 1) for i in range(50)]
        assert load("mooncake", jsonl(tmp_path, rows)).notes == ()
        with pytest.raises(TraceError, match="sit on no coarse grid; leave jitter out"):
            load("mooncake", jsonl(tmp_path, rows), jitter="grid")


class TestWhatDoesNotFit:
    CSV = "arrival_s,prompt_tokens,output_tokens\n0,10,0\n1,500,3\n2,20,4\n"

    def test_empty_outputs(self, tmp_path: Path) -> None:
        path = text(tmp_path, self.CSV)
        with pytest.raises(TraceError, match=r"line 2: output_tokens is '0', .* path: empty_outputs: drop"):
            load("csv", path)
        dropped = load("csv", path, empty_outputs="drop")
        assert dropped.output_tokens.tolist() == [3, 4] and dropped.skipped_rows == 0
        assert dropped.notes == ("1 request with an output of 0 tokens left out (empty_outputs)",)
        assert load("csv", path, empty_outputs="one").output_tokens.tolist() == [1, 3, 4]

    def test_long_prompts(self, tmp_path: Path) -> None:
        path = text(tmp_path, self.CSV)
        dropped = load("csv", path, empty_outputs="one", max_prompt_tokens=100)
        assert (
            dropped.prompt_tokens.tolist() == [10, 20] and "1 request with prompts of more than 100" in dropped.notes[1]
        )
        cut = load("csv", path, empty_outputs="one", max_prompt_tokens=100, long_prompts="cut_left", limit=2)
        assert cut.prompt_tokens.tolist() == [10, 100] and "cut at their beginning" in cut.notes[1]

    def test_cut_prompts_keep_what_they_share(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path, [mooncake_row(0, 1536, 1, [1, 2, 3]), mooncake_row(0, 600, 1, [1, 2])])
        right = load("mooncake", path, max_prompt_tokens=700, long_prompts="cut_right")
        assert right.segments == [((1, 512), (2, 188)), ((1, 512), (2, 88))]
        left = load("mooncake", path, max_prompt_tokens=700, long_prompts="cut_left")
        assert left.segments == [((("rest", 2, 324), 188), (3, 512)), ((1, 512), (2, 88))]


class TestBurstgpt:
    V1 = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    ROWS = "5,ChatGPT,472,18,490,Conversation log\n5,GPT-4,9,0,9,API log\n45.5,GPT-4,1087,230,1317,API log\n"

    def test_failures_are_left_out(self, tmp_path: Path) -> None:
        table = load("burstgpt", text(tmp_path, self.V1 + self.ROWS))
        assert table.arrival_s.tolist() == [5, 45.5] and table.prompt_tokens.tolist() == [472, 1087]
        assert table.notes == ("1 request with an output of 0 tokens left out (empty_outputs)",)

    def test_one_model_or_log(self, tmp_path: Path) -> None:
        path = text(tmp_path, self.V1 + self.ROWS)
        assert load("burstgpt", path, model="GPT-4").prompt_tokens.tolist() == [1087]
        assert load("burstgpt", path, log_type="Conversation log").prompt_tokens.tolist() == [472]

    def test_the_third_version_has_sessions(self, tmp_path: Path) -> None:
        head = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        rows = "0,,4.0,GPT-4,8,1,9,API log\n1,5,0,ChatGPT,9,2,11,Conversation log\n2,5,0,ChatGPT,20,3,23,\n"
        table = load("burstgpt", text(tmp_path, head + rows))
        assert table.sessions is not None and table.sessions.tolist() == [-1, 0, 0]
        assert table.prompt_tokens.tolist() == [8, 9, 20]

    def test_a_bad_row(self, tmp_path: Path) -> None:
        with pytest.raises(TraceError, match="line 2: Request tokens is '0', not a whole number of tokens"):
            load("burstgpt", text(tmp_path, self.V1 + "5,ChatGPT,0,18,18,API log\n"))


class TestTokenIds:
    def test_shared_beginnings_share_blocks(self, tmp_path: Path) -> None:
        ids = list(range(40))
        rows = [
            {"arrival_time_ns": 0, "input_toks": 40, "output_toks": 1, "input_tok_ids": ids},
            {
                "arrival_time_ns": 1_500_000_000,
                "input_toks": 40,
                "output_toks": 1,
                "input_tok_ids": [*ids[:20], *ids[:20]],
            },
            {"arrival_time_ns": 2_000_000_000, "input_toks": 7, "output_toks": 1},
        ]
        table = load("llmservingsim", jsonl(tmp_path, rows))
        assert table.arrival_s.tolist() == [0, 1.5, 2] and table.segments is not None
        first, second, third = table.segments
        assert first is not None and second is not None and third is None
        assert first[0] == second[0] and first[1] != second[1] and [n for _, n in first] == [16, 16, 8]

    def test_equal_blocks_after_other_beginnings_differ(self, tmp_path: Path) -> None:
        rows = [
            {"arrival_time_ns": 0, "input_toks": 4, "output_toks": 1, "input_tok_ids": ids}
            for ids in ([1, 2, 9, 9], [3, 4, 9, 9])
        ]
        table = load("llmservingsim", jsonl(tmp_path, rows), block_size=2)
        assert table.segments is not None and table.segments[0] is not None and table.segments[1] is not None
        assert table.segments[0][1] != table.segments[1][1]

    def test_what_is_refused(self, tmp_path: Path) -> None:
        odd = [{"arrival_time_ns": 0, "input_toks": 3, "output_toks": 1, "input_tok_ids": [1, 2]}]
        with pytest.raises(TraceError, match="line 1: input_toks is 3, not the number of input_tok_ids"):
            load("llmservingsim", jsonl(tmp_path, odd))


class TestOtherTimed:
    def test_bailian_sessions_follow_parents(self, tmp_path: Path) -> None:
        chats = [(0, -1, "text"), (3, -1, "file"), (1, 0, "text"), (2, 1, "text"), (9, 77, "text")]
        rows = [
            {"chat_id": chat, "parent_chat_id": parent, "timestamp": i, "input_length": 20, "output_length": 2,
             "type": kind, "turn": 1, "hash_ids": [i, 50]}
            for i, (chat, parent, kind) in enumerate(chats)
        ]  # fmt: skip
        table = load("bailian", jsonl(tmp_path, rows))
        assert table.sessions is not None and table.sessions.tolist() == [0, 1, 0, 0, 2]
        assert table.segments is not None and table.segments[0] == ((0, 16), (50, 4))
        assert load("bailian", jsonl(tmp_path, rows), type="file").arrival_s.tolist() == [1]

    def test_vidur(self, tmp_path: Path) -> None:
        table = load("vidur", text(tmp_path, "arrived_at,num_prefill_tokens,num_decode_tokens\n0.25,7,2\n"))
        assert (table.arrival_s[0], table.prompt_tokens[0], table.output_tokens[0]) == (0.25, 7, 2)

    def test_aiperf_texts(self, tmp_path: Path) -> None:
        rows = [
            {"timestamp": 0, "text_input": "x" * 9, "output_length": 3},
            {"timestamp": 5, "messages": [{"role": "user", "content": "y" * 400}], "output_length": 3},
            mooncake_row(10, 30, 4, [1]),
        ]
        table = load("aiperf", jsonl(tmp_path, rows))
        assert table.prompt_tokens.tolist() == [3, 100, 30]
        assert "one token for 4 characters" in table.notes[0] and "share no prefix" in table.notes[1]


def conversation(*said: tuple[str, str]) -> dict[str, Any]:
    return {"id": "c", "conversations": [{"from": role, "value": value} for role, value in said]}


class TestSharegpt:
    TALK = conversation(("human", "a" * 40), ("gpt", "b" * 80), ("human", "c" * 20), ("gpt", "d" * 120))
    PIECE = conversation(("gpt", "e" * 40), ("human", "f" * 80), ("gpt", "g" * 16))
    SHORT = conversation(("human", "hi"), ("gpt", "h" * 40))

    def file(self, tmp_path: Path, *conversations: Any) -> Path:
        return text(tmp_path, json.dumps(conversations, indent=1), "s.json")

    def test_first_turns_as_vllm_takes_them(self, tmp_path: Path) -> None:
        long = conversation(("human", "a" * 4100), ("gpt", "b" * 40))
        wide = conversation(("human", "a" * 4000), ("gpt", "b" * 4200))
        path = self.file(tmp_path, self.TALK, self.PIECE, self.SHORT, long, wide, conversation(("human", "x" * 40)))
        table = load("sharegpt", path, workload={"arrivals": STARTS})
        assert table.prompt_tokens.tolist() == [10, 10] and table.output_tokens.tolist() == [20, 20]
        assert table.arrival_s.tolist() == [0, 1] and table.sessions is None
        assert "4 conversations passed over" in table.notes[1] and "4 characters" in table.notes[0]

    def test_whole_conversations_grow_and_repeat_answers(self, tmp_path: Path) -> None:
        path = self.file(tmp_path, self.TALK, self.PIECE)
        table = load("sharegpt", path, workload={"arrivals": STARTS}, turns="all", turn_gap="2.5s")
        assert table.arrival_s.tolist() == [0, 1, 2.5]
        assert table.prompt_tokens.tolist() == [10, 30, 35] and table.output_tokens.tolist() == [20, 4, 30]
        assert table.segments is not None and table.output_names is not None and table.sessions is not None
        assert table.segments[2] == (*(table.segments[0] or ()), (table.output_names[0], 20), ((0, 2), 5))
        assert table.sessions.tolist() == [0, 1, 0]

    def test_the_end(self, tmp_path: Path) -> None:
        path = self.file(tmp_path, self.TALK, self.PIECE)
        options = {"turns": "all", "turn_gap": "2.5s"}
        assert len(load("sharegpt", path, workload={"arrivals": STARTS, "requests": 2}, **options)) == 2
        assert len(load("sharegpt", path, workload={"arrivals": STARTS, "duration": "1s"}, **options)) == 1
        assert len(load("sharegpt", path, workload={"arrivals": STARTS}, limit=1, **options)) == 2
        with pytest.raises(ScenarioError, match=r"s\.json has 3 requests, not 4; lower requests:"):
            load("sharegpt", path, workload={"arrivals": STARTS, "requests": 4}, **options)

    def test_own_tokenizer(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text(tmp_path, "def count(text):\n    return list(text)\n", "my_tokens.py")
        monkeypatch.syspath_prepend(str(tmp_path))
        path = self.file(tmp_path, self.TALK)
        table = load("sharegpt", path, workload={"arrivals": STARTS}, tokenizer="my_tokens:count")
        assert table.prompt_tokens.tolist() == [40] and "of my_tokens:count" in table.notes[0]
        with pytest.raises(TraceError, match="tokenizer 'my_tokens:nothing' cannot be had"):
            load("sharegpt", path, workload={"arrivals": STARTS}, tokenizer="my_tokens:nothing")

    def test_it_needs_arrivals_and_only_those(self, tmp_path: Path) -> None:
        path = self.file(tmp_path, self.TALK)
        for workload, message in [
            ({}, "has no arrival times; give arrivals"),
            ({"arrivals": STARTS, "prompt_tokens": {"fixed": {"tokens": 3}}}, "so prompt_tokens cannot be given"),
            ({"arrivals": {"closed_loop": {"users": 2}}, "requests": 1}, "cannot be sent by a closed loop"),
        ]:
            with pytest.raises(ValidationError, match=message):
                load("sharegpt", path, workload=workload)
        with pytest.raises(ValidationError, match="turns: all needs turn_gap"):
            load("sharegpt", path, workload={"arrivals": STARTS}, turns="all")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{"id": 3}', "is not a JSON array"),
            ('[{"id": 3}]', "conversation 0: no list `conversations`"),
            ('[{"conversations": [{"from": "human"}]}]', "conversation 0: message 0 is no object of"),
            ('[{"conversations": []}, {"conv', "element 1 of the array is cut off or no JSON"),
            ("[]", "no usable request is left of 0"),
        ],
    )
    def test_bad_files(self, tmp_path: Path, content: str, message: str) -> None:
        with pytest.raises(TraceError, match=message) as caught:
            load("sharegpt", text(tmp_path, content, "s.json"), workload={"arrivals": STARTS})
        assert str(tmp_path / "s.json") in str(caught.value)

    def test_a_large_array_is_read_in_pieces(self, tmp_path: Path) -> None:
        path = tmp_path / "s.json.gz"
        path.write_bytes(gzip.compress(json.dumps([self.TALK] * 20_000).encode()))  # 8 MB, many chunks
        assert len(load("sharegpt", path, workload={"arrivals": STARTS})) == 20_000


class TestOtherUntimed:
    def test_vllm_custom(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path, [{"prompt": "x" * 8, "output_tokens": 3}, {"prompt": "y" * 9}, {"prompt": "x" * 8}])
        table = load("vllm_custom", path, workload={"arrivals": STARTS}, output_tokens=7)
        assert table.prompt_tokens.tolist() == [2, 3, 2] and table.output_tokens.tolist() == [3, 7, 7]
        assert table.segments is not None and table.segments[0] == table.segments[2] != table.segments[1]
        bad = jsonl(tmp_path, [{"prompt": "x"}, {"prompt": 5}, {"prompt": ""}])
        with pytest.raises(TraceError, match=r"t\.jsonl, line 2: prompt is 5, not a text; mend it"):
            load("vllm_custom", bad, workload={"arrivals": STARTS})
        assert load("vllm_custom", bad, workload={"arrivals": STARTS}, on_bad_row="skip").skipped_rows == 2

    SESSION: dict[str, Any] = {  # noqa: RUF012
        "id": "a", "block_size": 64, "hash_id_scope": "local",
        "requests": [
            {"t": 0.0, "type": "n", "in": 130, "out": 5, "hash_ids": [1, 2]},
            {"t": 10.0, "type": "subagent", "requests": [{"t": 1.5, "type": "n", "in": 64, "out": 6, "hash_ids": [9]}]},
            {"t": 11.0, "type": "s", "in": 192, "out": 0, "hash_ids": [1, 2, 3]},
            {"t": 30.0, "type": "s", "in": 200, "out": 7, "hash_ids": [1, 2, 3]},
        ],
    }  # fmt: skip

    def test_weka(self, tmp_path: Path) -> None:
        path = text(tmp_path, json.dumps(self.SESSION), "a.json")
        table = load("weka", path, workload={"arrivals": STARTS})
        assert table.arrival_s.tolist() == [0, 11.5, 30] and table.output_tokens.tolist() == [5, 6, 7]
        assert table.segments is not None and table.segments[1] == (((0, 9), 64),)
        first, last = table.segments[0], table.segments[2]
        assert first is not None and last is not None and first[:2] == last[:2] and first[2] != last[3]
        assert "1 request with an output of 0 tokens left out" in table.notes[1]

    def test_weka_ids_mean_nothing_across_files(self, tmp_path: Path) -> None:
        for name in ("a.json", "b.json"):
            text(tmp_path, json.dumps(self.SESSION), name)
        folder = load("weka", tmp_path, workload={"arrivals": STARTS})
        archive = tmp_path / "all.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for name in ("b.json", "a.json"):
                data = json.dumps(self.SESSION).encode()
                member = tarfile.TarInfo(f"traces/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        for table in (folder, load("weka", archive, workload={"arrivals": STARTS})):
            assert len(table) == 6 and table.segments is not None and table.sessions is not None
            names = [{name for name, _ in pieces or ()} for pieces in table.segments]
            mine = set().union(*(n for n, s in zip(names, table.sessions, strict=True) if s == 0))
            assert not mine & set().union(*(n for n, s in zip(names, table.sessions, strict=True) if s == 1))

    def test_weka_bad_call(self, tmp_path: Path) -> None:
        broken = {**self.SESSION, "requests": [{"t": 0.0, "in": 10, "out": 5, "hash_ids": [1]}]}
        path = text(tmp_path, json.dumps(broken), "a.json")
        with pytest.raises(TraceError, match=r"a call without usable t, in, .*1 blocks of 64 in a prompt"):
            load("weka", path, workload={"arrivals": STARTS})
