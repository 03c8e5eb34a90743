"""`servecast trace`: what describe tells, that convert loses nothing, that fit finds what a trace was made of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sim.errors import ServecastError, TraceError
from sim.insight.traces.convert import convert
from sim.insight.traces.describe import describe, rank_correlation
from sim.insight.traces.fit import Fit, fit
from sim.insight.traces.fit_arrivals import fit_arrivals
from sim.insight.traces.fitting import ks_distance
from sim.insight.traces.opened import Opened, open_trace
from sim.insight.traces.picture import picture
from sim.workload.burstiness import gap_cv, index_of_dispersion, window_counts
from sim.workload.grid import coarse_grid_s
from sim.workload.guess import guess_format
from sim.workload.reuse import measure_reuse
from sim.workload.spec import Workload
from sim.workload.table import RequestTable
from tests.commands import servecast

LENGTHS: dict[str, Any] = {
    "prompt_tokens": {"lognormal": {"mean": 800, "p99": 4000}},
    "output_tokens": {"lognormal": {"mean": 200, "p99": 800}},
}


def synthetic(seed: int = 5, **workload: Any) -> RequestTable:
    said = {"arrivals": {"poisson": {"rate_per_s": 10}}, "requests": 4000, **LENGTHS, **workload}
    return Workload.model_validate({k: v for k, v in said.items() if v is not None}).table(seed, Path())


def fitted(table: RequestTable, **options: Any) -> Fit:
    return fit(Opened(Path("made"), "jsonl", table, True, None), **options)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def chat(tmp_path: Path) -> Path:
    """Ten requests every 3 s in blocks of 512, the first block everybody's."""
    rows = [
        {"timestamp": 3000 * (i // 10), "input_length": 700 + i, "output_length": 5 + i % 7, "hash_ids": [0, i + 1]}
        for i in range(300)
    ]
    return write(tmp_path / "chat.jsonl", rows)


class TestNumbers:
    def test_windows_and_dispersion_by_hand(self) -> None:
        times = np.array([2.0, 2.5, 3.5, 5.0, 6.5])
        assert window_counts(times, 1.0).tolist() == [2, 1, 0, 1]
        regular = np.arange(0, 100, 0.5)
        assert gap_cv(regular) == 0 and index_of_dispersion(regular, 1.0) == 0

    def test_rank_correlation_is_spearmans(self) -> None:
        scipy_stats = pytest.importorskip("scipy.stats")
        rng = np.random.default_rng(0)
        first = rng.integers(1, 20, 500)
        second = first + rng.integers(1, 20, 500)
        assert rank_correlation(first, second) == pytest.approx(scipy_stats.spearmanr(first, second).statistic)

    def test_ks_distance_is_scipys(self) -> None:
        scipy_stats = pytest.importorskip("scipy.stats")
        rng = np.random.default_rng(0)
        first, second = rng.normal(size=300), rng.normal(0.3, size=400)
        assert ks_distance(first, second) == pytest.approx(scipy_stats.ks_2samp(first, second).statistic)

    def test_reuse_by_hand(self) -> None:
        segments = [(("a", 10), ("b", 10)), (("a", 10), ("c", 5)), (("a", 4),), (("b", 10),), (("a", 10), ("b", 12))]
        prompts = [sum(n for _, n in pieces) for pieces in segments]
        reuse = measure_reuse(RequestTable.of(range(5), prompts, [1] * 5, segments=segments))
        assert reuse is not None and reuse.hit_tokens.tolist() == [0, 10, 4, 0, 20]

    @pytest.mark.parametrize("rate", [0.5, 5, 50])
    def test_poisson_times_sit_on_no_grid(self, rate: float) -> None:
        times = np.cumsum(np.random.default_rng(1).exponential(1 / rate, 2000))
        assert coarse_grid_s(times) is None
        assert coarse_grid_s(np.round(times, 6)) is None
        assert coarse_grid_s(np.floor(times * rate / 4) * 4 / rate) == pytest.approx(4 / rate)


class TestDescribe:
    def test_what_it_tells(self, tmp_path: Path) -> None:
        told = describe(open_trace(chat(tmp_path)))
        assert (told["format"], told["requests"]) == ("mooncake", 300)
        arrivals = told["arrivals"]
        assert arrivals["duration_s"] == 87 and arrivals["rate_per_s"] == pytest.approx(299 / 87)
        assert arrivals["coarse_grid_s"] == 3 and arrivals["most_in_1_s"] == 10
        assert arrivals["gap_cv"] == pytest.approx(3, abs=0.15)
        assert arrivals["gap_cv_spread_in_grid"] == pytest.approx(1, abs=0.15)
        assert told["prefix"]["token_hit_rate"] == pytest.approx(299 * 512 / sum(700 + i for i in range(300)))
        assert told["prefix"]["request_hit_rate"] == pytest.approx(299 / 300)
        assert told["prompt_tokens"]["max"] == 999 and told["sessions"] is None

    def test_on_the_terminal(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        plot = tmp_path / "p.png"
        assert servecast(monkeypatch, "trace", "describe", str(chat(tmp_path)), "--plot", str(plot)) == 0
        printed = capsys.readouterr().out
        for words in ("300", "mooncake", "warning: the times sit on a grid of 3.00 s", "jitter: grid", "written to"):
            assert words in printed
        assert plot.read_bytes().startswith(b"\x89PNG")
        assert (
            servecast(monkeypatch, "trace", "describe", str(chat(tmp_path)), "--format", "json", "--set", "limit=20")
            == 0
        )
        assert json.loads(capsys.readouterr().out)["requests"] == 20

    def test_what_is_not_known_is_said(self, tmp_path: Path) -> None:
        path = write(tmp_path / "c.jsonl", [{"prompt": "x" * 40, "output_tokens": 5}])
        opened = open_trace(path)
        told = describe(opened)
        assert told["format"] == "vllm_custom" and told["arrivals"] is None and told["length_correlation"] is None
        assert picture(opened, told).axes
        assert describe(open_trace(path, arrivals="{constant: {rate_per_s: 2}}"))["arrivals"]["duration_s"] == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nothing.csv"], "there is no file nothing.csv"),
            (["{chat}", "--format-name", "moncake"], "did you mean 'mooncake'"),
            (["{chat}", "--set", "limits=3"], "did you mean 'limit'"),
            (["{chat}", "--set", "limit"], "write KEY=VALUE"),
            (["{chat}", "--arrivals", "poisson"], "brings its own arrival times"),
            (
                ["{odd}"],
                "odd.csv is in no known format (found a, b); add --set 'columns={arrival: NAME, prompt_tokens: NAME, "
                "output_tokens: NAME}'; or name a format with --format-name: aiperf, ",
            ),
        ],
    )
    def test_errors_are_one_sentence(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        message: str,
    ) -> None:
        odd = tmp_path / "odd.csv"
        odd.write_text("a,b\n1,2\n")
        filled = [a.format(chat=chat(tmp_path), odd=odd) for a in arguments]
        assert servecast(monkeypatch, "trace", "describe", *filled) == 2
        complained = capsys.readouterr().err
        assert message in complained and complained.count("\n") == 1


class TestGuess:
    @pytest.mark.parametrize(
        ("text", "format_name"),
        [
            ("arrival_s,prompt_tokens,output_tokens\n0,1,1\n", "csv"),
            ("\ufeffTIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n", "azure"),
            (
                "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n",
                "burstgpt",
            ),
            ("arrived_at,num_prefill_tokens,num_decode_tokens\n", "vidur"),
            ('{"arrival_s": 0, "prompt_tokens": 1, "output_tokens": 1, "block_hashes": []}\n', "jsonl"),
            ('{"timestamp": 0, "input_length": 1}\n{"timestamp"', "mooncake"),
            ('{"timestamp": 0, "text_input": "x"}', "aiperf"),
            ('{"chat_id": 0, "parent_chat_id": -1, "timestamp": 0.4, "input_length": 6, "hash_ids": []}', "bailian"),
            ('{"input_toks": 1, "output_toks": 1, "arrival_time_ns": 4}', "llmservingsim"),
            ('{"prompt": "x"}', "vllm_custom"),
            ('[\n {"id": "a", "conversations": []}]', "sharegpt"),
            ('{"id": "a",\n "block_size": 64, "hash_id_scope": "local", "requests": []}', "weka"),
        ],
    )
    def test_by_content(self, tmp_path: Path, text: str, format_name: str) -> None:
        path = tmp_path / "file"
        path.write_text(text)
        assert guess_format(path) == format_name

    def test_nothing_fits(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text('{"who": 1}')
        with pytest.raises(TraceError, match=r"is in no known format \(found who\)"):
            guess_format(path)


def renamed(table: RequestTable) -> list[Any]:
    """What prompts and answers hold, with names numbered as they come, own parts of one use left out."""
    segments, answers = table.segments or [None] * len(table), table.output_names or [None] * len(table)
    uses: dict[Any, int] = {}
    for name in [*(n for pieces in segments for n, _ in pieces or ()), *answers]:
        uses[name] = uses.get(name, 0) + 1
    numbers: dict[Any, int] = {}
    rows = []
    for pieces, answer in zip(segments, answers, strict=True):
        shared = [(numbers.setdefault(n, len(numbers)), length) for n, length in pieces or () if uses[n] > 1]
        rows.append((shared, numbers.setdefault(answer, len(numbers)) if answer and uses[answer] > 1 else None))
    return rows


class TestConvert:
    def same(self, first: RequestTable, second: RequestTable) -> None:
        for name in ("arrival_s", "prompt_tokens", "output_tokens", "priority"):
            assert np.array_equal(getattr(first, name), getattr(second, name))
        assert renamed(first) == renamed(second)
        assert (first.sessions is None) == (second.sessions is None)
        if first.sessions is not None and second.sessions is not None:
            assert np.array_equal(np.unique(first.sessions, return_inverse=True)[1],
                                  np.unique(second.sessions, return_inverse=True)[1])  # fmt: skip

    def test_block_hashes_stay_as_they_are(self, tmp_path: Path) -> None:
        table = open_trace(chat(tmp_path)).table
        out = tmp_path / "plain.jsonl.gz"
        convert(table, "jsonl", out)
        back = open_trace(out)
        assert back.format == "jsonl" and back.table.segments == table.segments
        self.same(back.table, table)

    @pytest.mark.parametrize(
        "prefix",
        [
            None,
            {"shared_prefix": {"groups": 3, "shared_tokens": 100}},
            {"repeated_prompts": {"prompts": 7}},
        ],
    )
    @pytest.mark.parametrize("to", ["jsonl", "csv"])
    def test_synthetic_tables(self, tmp_path: Path, prefix: Any, to: Any) -> None:
        table = synthetic(requests=300, prefix=prefix, priorities={0: 1, 3: 2})
        convert(table, to, tmp_path / "out")
        self.same(open_trace(tmp_path / "out").table, table)

    @pytest.mark.parametrize("to", ["jsonl", "csv"])
    def test_clients_are_kept(self, tmp_path: Path, to: Any) -> None:
        path = tmp_path / "in.csv"
        path.write_text(
            "arrival_s,prompt_tokens,output_tokens,tenant,predicted_tokens,cancel_after_s,cancel_after_tokens\n"
            "0,10,5,anna,7,2.5,\n1,10,5,,,,3\n"
        )
        table = open_trace(path).table
        convert(table, to, tmp_path / "out")
        back = open_trace(tmp_path / "out").table
        for name in ("tenant", "predicted_tokens", "cancel_after_s", "cancel_after_tokens"):
            assert getattr(back, name).tolist() == getattr(table, name).tolist()
        assert back.tenants == table.tenants == ("anna", "default")

    def test_conversations_keep_sessions_and_answers(self, tmp_path: Path) -> None:
        said = [{"from": ("human", "gpt")[i % 2], "value": "x" * (40 + 10 * i)} for i in range(6)]
        talks = tmp_path / "t.json"
        talks.write_text(json.dumps([{"id": str(i), "conversations": said} for i in range(5)]))
        options = ["turns=all", "turn_gap=7s"]
        table = open_trace(talks, None, options, "{poisson: {rate_per_s: 1}}").table
        convert(table, "jsonl", tmp_path / "plain.jsonl")
        back = open_trace(tmp_path / "plain.jsonl").table
        self.same(back, table)
        first, second = measure_reuse(back), measure_reuse(table)
        assert first is not None and second is not None and first.token_hit_rate == second.token_hit_rate > 0.5
        with pytest.raises(ServecastError, match=r"which CSV cannot hold; write --to jsonl, or .* --drop-content"):
            convert(table, "csv", tmp_path / "plain.csv")
        assert not (tmp_path / "plain.csv").exists() and not list(tmp_path.glob(".*"))

    def test_the_verb(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "o.csv"
        assert servecast(monkeypatch, "trace", "convert", str(chat(tmp_path)), "--to", "csv", str(out)) == 2
        assert "--drop-content" in capsys.readouterr().err and not out.exists()
        arguments = ("trace", "convert", str(chat(tmp_path)), "--to", "csv", str(out), "--drop-content")
        assert servecast(monkeypatch, *arguments) == 0
        assert out.read_text().splitlines()[:2] == ["arrival_s,prompt_tokens,output_tokens", "0.0,700,5"]
        untimed = write(tmp_path / "c.jsonl", [{"prompt": "x" * 40, "output_tokens": 5}])
        assert servecast(monkeypatch, "trace", "convert", str(untimed), str(tmp_path / "p.csv")) == 2
        assert "has no arrival times, which a plain trace needs; give --arrivals" in capsys.readouterr().err
        assert servecast(monkeypatch, "trace", "convert", str(untimed), str(untimed)) == 2
        assert "is the trace itself" in capsys.readouterr().err


class TestFitRecovers:
    """What a workload was drawn from is found again, within what so many requests can tell."""

    def process(self, arrivals: dict[str, Any], **end: Any) -> dict[str, Any]:
        table = synthetic(arrivals=arrivals, **{"requests": None, **end})
        (chosen,) = fit_arrivals(table.arrival_s)[0].process.items()
        assert chosen[0] == next(iter(arrivals))
        return chosen[1]

    def test_constant(self) -> None:
        assert self.process({"constant": {"rate_per_s": 5}}, requests=1000) == {"rate_per_s": 5}

    def test_poisson(self) -> None:
        assert self.process({"poisson": {"rate_per_s": 10}}, requests=8000)["rate_per_s"] == pytest.approx(10, rel=0.04)

    @pytest.mark.parametrize("cv", [0.4, 3.0])
    def test_gamma(self, cv: float) -> None:
        found = self.process({"gamma": {"rate_per_s": 10, "cv": cv}}, requests=8000)
        assert found["rate_per_s"] == pytest.approx(10, rel=0.1) and found["cv"] == pytest.approx(cv, rel=0.08)

    def test_on_off(self) -> None:
        said = {"burst_rate_per_s": 20, "burst_s": 30, "idle_s": 60, "idle_rate_per_s": 2}
        found = self.process({"on_off": said}, duration=5400)
        assert found["burst_rate_per_s"] == pytest.approx(20, rel=0.08)
        assert found["idle_rate_per_s"] == pytest.approx(2, rel=0.15)
        assert found["burst_s"] == pytest.approx(30, rel=0.35) and found["idle_s"] == pytest.approx(60, rel=0.35)

    def test_diurnal(self) -> None:
        said = {"mean_rate_per_s": 0.1, "amplitude": 0.7, "phase_s": 20_000}
        found = self.process({"diurnal": said}, duration=2 * 86400)
        assert found["mean_rate_per_s"] == pytest.approx(0.1, rel=0.03)
        assert found["amplitude"] == pytest.approx(0.7, abs=0.03) and found["phase_s"] == pytest.approx(20_000, abs=800)

    def test_piecewise(self) -> None:
        rates = [[0, 2], [600, 10], [1200, 20], [1800, 5]]
        found = self.process({"piecewise": {"rates": rates}}, duration=2400)["rates"]
        for start_s, rate in rates:
            near = min(found, key=lambda point: abs(point[0] - start_s))
            assert near[1] == pytest.approx(rate, rel=0.12)

    def test_lengths_and_their_correlation(self) -> None:
        said = {"prompt_mean": 600, "prompt_p99": 3000, "output_mean": 200, "output_p99": 800, "correlation": 0.5}
        table = synthetic(lengths={"lognormal": said}, prompt_tokens=None, output_tokens=None)
        found = fitted(table).workload["lengths"]["lognormal"]
        for name, value in said.items():
            assert found[name] == pytest.approx(value, rel=0.06)

    def test_plain_lengths(self) -> None:
        said = {"prompt_tokens": {"uniform": {"low": 100, "high": 200}}, "output_tokens": {"fixed": {"tokens": 64}}}
        found = fitted(synthetic(**said))
        assert {name: found.workload[name] for name in said} == said
        assert found.match["ks"]["prompt_tokens"] < 0.03 and found.remarks == []

    @pytest.mark.parametrize(
        ("prefix", "tolerance"),
        [
            ({"shared_prefix": {"groups": 8, "shared_tokens": 512}}, 0),
            ({"shared_prefix": {"groups": 20, "shared_tokens": 1000, "skew": 1.0}}, 0.05),
            ({"repeated_prompts": {"prompts": 50, "skew": 0.8}}, 0.05),
        ],
    )
    def test_prefixes(self, prefix: dict[str, dict[str, Any]], tolerance: float) -> None:
        found = fitted(synthetic(seed=1, prefix=prefix))
        ((kind, said),) = prefix.items()
        assert found.workload["prefix"][kind] == pytest.approx(said, abs=tolerance)
        sides = found.match["values"]["prefix token hit rate"]
        assert sides["fit"] == pytest.approx(sides["trace"], abs=0.03)

    def test_what_has_no_synthetic_form_is_said(self, tmp_path: Path) -> None:
        """Conversations that grow: turn k repeats all before it."""
        rows = [
            {"timestamp": 100 * i, "input_length": 512 * (i % 10 + 1), "output_length": 5,
             "hash_ids": [100 * (i // 10) + k for k in range(i % 10 + 1)]}
            for i in range(400)
        ]  # fmt: skip
        found = fit(open_trace(write(tmp_path / "grow.jsonl", rows)))
        assert "prefix" not in found.workload and "has no synthetic form" in found.remarks[0]
        assert found.match["values"]["prefix token hit rate"]["fit"] == 0

    def test_what_is_printed_runs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lengths = tmp_path / "lengths.csv"
        assert servecast(monkeypatch, "trace", "fit", str(chat(tmp_path)), "--lengths", str(lengths)) == 0
        printed = capsys.readouterr().out
        assert "# arrivals were spread within their 3 s grid first" in printed and "# gap_cv" in printed
        workload = Workload.model_validate(yaml.safe_load(printed)["workload"])
        table = workload.table(3, Path())
        assert len(table) == 300 and table.segments is not None and 700 <= table.prompt_tokens.min() <= 1000
        assert servecast(monkeypatch, "trace", "fit", str(chat(tmp_path)), "--format", "json") == 0
        assert json.loads(capsys.readouterr().out)["arrivals_tried"][0]["process"]


def test_real_traces_as_described(shared: Path) -> None:
    """The published complete files, with figures measured by other tools."""
    folder = shared / "traces" / "azure2023"
    conv = describe(open_trace(folder / "AzureLLMInferenceTrace_conv.csv.gz"))["arrivals"]
    code = describe(open_trace(folder / "AzureLLMInferenceTrace_code.csv"))["arrivals"]
    assert [round(conv["rate_per_s"], 2), round(code["rate_per_s"], 2)] == [5.53, 2.57]
    assert [round(conv["gap_cv"], 2), round(code["gap_cv"], 2)] == [1.09, 13.15]
    assert list(conv["index_of_dispersion"].values()) == pytest.approx([1.4, 3.9, 16], rel=0.02)
    assert list(code["index_of_dispersion"].values()) == pytest.approx([13, 72, 164], rel=0.02)
    found = fit(open_trace(folder / "AzureLLMInferenceTrace_conv.csv.gz"))
    sides = found.match["values"]["IDC in 60s"]
    assert found.match["ks"]["gaps"] < 0.03 and sides["fit"] == pytest.approx(sides["trace"], rel=0.25)


def test_growing_conversations_are_fitted(tmp_path: Path) -> None:
    """A chat drawn, written and read again is found to be what it was drawn from."""
    chat = {
        "turns": {"uniform": {"low": 2, "high": 8}}, "think_time": {"exponential": {"mean": 20}},
        "opening_tokens": {"fixed": {"tokens": 2000}},
    }  # fmt: skip
    drawn = Workload.model_validate(
        {
            "arrivals": {"poisson": {"rate_per_s": 0.5}}, "sessions": 2000, "multi_turn": {"chat": chat},
            "prompt_tokens": {"lognormal": {"mean": 150, "p99": 900}},
            "output_tokens": {"lognormal": {"mean": 200, "p99": 800}},
            "prefix": {"shared_prefix": {"groups": 1, "shared_tokens": 512}},
        }
    ).table(3, Path())  # fmt: skip
    out = tmp_path / "talks.jsonl"
    convert(drawn, "jsonl", out)
    found = fit(open_trace(out, "jsonl"))
    talk = found.workload["multi_turn"]["chat"]
    assert talk["turns"] == {"uniform": {"low": 2, "high": 8}}
    assert talk["think_time"]["exponential"]["mean"] == pytest.approx(20, rel=0.03)
    assert found.workload["prefix"] == {"shared_prefix": {"groups": 1, "shared_tokens": 512}}
    assert found.workload["prompt_tokens"]["lognormal"]["mean"] == pytest.approx(150, rel=0.05)
    assert found.workload["arrivals"]["poisson"]["rate_per_s"] == pytest.approx(0.5, rel=0.1)
    assert found.workload["sessions"] == 2000
    values = found.match["values"]
    for name in ("prompt_tokens mean", "output_tokens mean", "prefix token hit rate"):
        assert values[name]["fit"] == pytest.approx(values[name]["trace"], rel=0.03)
