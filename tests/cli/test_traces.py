"""A person's own log, from the first command to a run: what each verb says, and that what it says is enough."""

import json
import re
from pathlib import Path

import pytest

import sim
from tests.commands import servecast

LOG = "ts;user;Prompt Tokens;completion_tokens;status\n" + "".join(
    f"2024-05-01T10:00:{59 - i:02}+02:00;u{i % 7};{100 + i}.0;{'' if i == 9 else 0 if i % 10 == 3 else 20 + i};200\n"
    for i in range(60)
)
MEASURED = (
    "start_time,prompt_tokens,output_tokens,ttft_ms,latency_ms\n1714557600000,10,3,40,400\n1714557601500,20,3,50,500\n"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text(LOG)
    Path("clean.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,10,1\n1,20,2\n")
    Path("odd.csv").write_text("when,in,out\n0,10,1\n")
    Path("measured.csv").write_text(MEASURED)
    Path("numbers.csv").write_text("0.0,517,212\n0.3,98,40\n")
    Path("who.json").write_text('[{"who": 1}]')
    bench = {"input_lens": [5], "output_lens": [3], "ttfts": [0.1], "itls": [[0.1, 0.1]], "start_times": [7.0]}
    Path("bench.json").write_text(json.dumps(bench, indent=1))
    Path("folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "trace describe log.csv",
            "log.csv: 7 rows cannot be used: 6 with 0 completion_tokens (first: line 5), 1 with a blank "
            "completion_tokens (first: line 11); mend them, or add --set empty_outputs=drop --set on_bad_row=skip",
        ),
        ("trace describe folder", "folder is a folder, and not one of WEKA sessions; name the file in it"),
        ("trace describe folder --format-name weka", "folder holds no .json or .json.gz files"),
        ("trace describe nodir/x.csv", "there is no file nodir/x.csv, and no folder nodir"),
        ("trace describe lag.csv", "there is no file lag.csv; did you mean 'log.csv'?"),
        (
            "trace fit odd.csv",
            "add --set 'columns={arrival: NAME, prompt_tokens: NAME, output_tokens: NAME}'; or name a",
        ),
        (
            "trace describe numbers.csv",
            "numbers.csv has no header: it begins with 0.0, 517, 212; put a line such as ar",
        ),
        (
            "trace describe who.json",
            "a trace is a list of JSON objects, or has one a line; name a format with --format-name: aiperf,",
        ),
        (
            "trace convert clean.csv odd.csv",
            "odd.csv is there already; name another file, or give --force to replace it",
        ),
        (
            "init my.yaml --trace odd.csv",
            "add --trace-set 'columns={arrival: NAME, prompt_tokens: NAME, output_tokens: N",
        ),
        (
            "init my.yaml --trace who.json",
            "leave --trace out, and write `trace: {FORMAT: {path: who.json}}` into the sc",
        ),
        ("init my.yaml --trace nodir/x.csv", "there is no file nodir/x.csv, and no folder nodir"),
        (
            "init my.yaml --trace log.csv --trace-set where",
            "--trace-set 'where': write KEY=VALUE, such as --trace-set li",
        ),
        (
            "run clean.csv",
            "clean.csv is a trace (csv), not a scenario; `servecast init my.yaml --trace clean.csv` makes",
        ),
        ("validate bare.yaml --measured odd.csv", "add --column arrival=NAME"),
        ("validate bare.yaml --measured clean.csv", "it is a trace: `trace: {csv: {path: clean.csv}}`"),
    ],
)
def test_refusals_name_the_mend(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    Path("bare.yaml").write_text("model: llama-3.1-8b\ncluster: {gpu: h100-sxm}\n")
    assert servecast(monkeypatch, *arguments.split()) == 2
    complained = capsys.readouterr().err
    assert words in complained and complained.count("\n") == 1
    assert not Path("my.yaml").exists() and "relative to the scenario" not in complained


@pytest.mark.parametrize(
    ("trace", "words"),
    [
        ("clean.csv", "workload.trace: a file needs its format, so write trace: {csv: {path: clean.csv}}"),
        ("{path: clean.jsonl.gz, limit: 3}", "so write trace: {jsonl: {path: clean.jsonl.gz, limit: 3}}"),
        ("cvs", "did you mean 'csv'?"),
    ],
)
def test_a_file_without_its_format(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trace: str, words: str
) -> None:
    Path("bare.yaml").write_text(f"model: llama-3.1-8b\nworkload: {{trace: {trace}}}\ncluster: {{gpu: h100-sxm}}\n")
    assert servecast(monkeypatch, "run", "bare.yaml") == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "form", "requests"), [("measured.csv", "csv", 2), ("bench.json", "measured", 1), ("clean.csv", "csv", 2)]
)
def test_formats_are_known(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: str, form: str, requests: int
) -> None:
    assert servecast(monkeypatch, "trace", "describe", file, "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["format"], told["requests"]) == (form, requests)
    assert any("servecast validate" in note for note in told["notes"]) == (file == "measured.csv")


def test_init_writes_what_a_log_needs_and_it_runs(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert servecast(monkeypatch, "init", "my.yaml", "--trace", "log.csv", "--trace-set", "columns={tenant: user}") == 0
    text = Path("my.yaml").read_text()
    said = "columns: {arrival: ts, prompt_tokens: Prompt Tokens, output_tokens: completion_tokens, tenant: user}"
    for words in (said, "# 53 requests", "# left out: 6 with 0 completion_tokens (first: line 5)",
                  "# left out: 1 with a blank completion_tokens (first: line 11)"):  # fmt: skip
        assert words in text
    result = sim.run("my.yaml")
    assert result.summary["completed"] == 53 and set(result.requests["tenant"]) == {f"u{i}" for i in range(7)}


def test_the_tutorial_s_log_is_refused_and_mended_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
    log, said = re.search(r"gateway.csv -->\n```text\n(.*?)```.*?(servecast: .*?\n)```", page, re.DOTALL).groups()  # type: ignore[union-attr]
    monkeypatch.chdir(tmp_path)
    Path("gateway.csv").write_text(log)
    assert servecast(monkeypatch, "trace", "describe", "gateway.csv") == 2
    assert capsys.readouterr().err == said
    assert servecast(monkeypatch, "trace", "describe", "gateway.csv", *said.partition(", or add ")[2].split()) == 0


def test_convert_writes_what_the_file_s_name_says(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("trace", "convert", "log.csv", "plain.csv", "--set", "where={status: 200}", "--set", "on_bad_row=skip")
    assert servecast(monkeypatch, *arguments, "--set", "empty_outputs=one") == 0
    assert Path("plain.csv").read_text().splitlines()[:3] == ["arrival_s,prompt_tokens,output_tokens", "0.0,159,79",
                                                             "1.0,158,78"]  # fmt: skip
    assert servecast(monkeypatch, "trace", "convert", "plain.csv", "clean.csv", "--force") == 0
    assert "in place of what was there" in capsys.readouterr().out
    assert Path("clean.csv").read_text() == Path("plain.csv").read_text()
