"""One command makes every picture and every result of the documentation anew."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = """# A page

<!-- file: lines.txt -->
```yaml
first   1 of 10
second  2.5 of 10
```

<!-- run: cat lines.txt -->
```text
first   7 of 9
...
```

<!-- table: printf '## One\\n\\n| a |\\n\\n## Two\\n\\n| b |\\n' # Two -->
| old |
<!-- end -->

<!-- picture: printf new > drawn.png; drawn.png -->

![A picture](shown.png)

<!-- run: cat $SHARED/trace.csv -->
```text
total  5
```

<!-- run: cat $SHARED/trace.csv -->
```text
total  5
```
"""


@pytest.fixture(scope="module")
def regenerate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regenerate", ROOT / "docs" / "regenerate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_page_is_made_anew(regenerate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, work, shared = tmp_path / "page.md", tmp_path / "work", tmp_path / "shared"
    work.mkdir()
    path.write_text(PAGE)
    without = regenerate.Page(path, work, None)
    without.regenerate()
    assert without.problems == []
    found = path.read_text()
    assert found == PAGE.replace("7 of 9", "1 of 10").replace("| old |", "| b |")
    assert (tmp_path / "shown.png").read_bytes() == b"new"
    told = "skipped: cat $SHARED/trace.csv: there is no trace.csv here: give --shared FOLDER"
    assert capsys.readouterr().out.count(told) == 1
    shared.mkdir()
    (shared / "trace.csv").write_text("total  6\n")
    regenerate.Page(path, work, shared).regenerate()
    assert path.read_text().count("total  6") == 2


def test_what_is_not_printed_any_more_is_told(regenerate: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE.replace("first   7", "third   7").replace("printf new", "false"))
    page = regenerate.Page(path, tmp_path, None)
    page.regenerate()
    assert len(page.problems) == 2
    assert "third   7 of 9" in page.problems[0] and page.problems[1].startswith("page.md: false > drawn.png")
    assert "third   7 of 9" in path.read_text()


@pytest.mark.parametrize(
    ("line", "begins"),
    [
        (" as written          38.9         98.5%", "as written"),
        ("three GPUs beats the rest on TPOT p99 with 99.7%", "three GPUs beats the rest on TPOT p99 with #"),
        ("= 28,125 blocks x 16 = 450,000 tokens", "= #"),
        (" l40s       1        10", "l40s"),
        (" ──────────", "─"),
    ],
)
def test_lines_are_known_by_how_they_begin(regenerate: ModuleType, line: str, begins: str) -> None:
    assert regenerate.beginning(line) == begins


def test_every_picture_and_every_result_says_how_it_is_made(regenerate: ModuleType) -> None:
    drawn, shown = set(), set()
    for page in regenerate.PAGES:
        text = page.read_text()
        marks = [found["target"] for found in regenerate.MARK.finditer(text) if found["target"]]
        drawn |= {(page.parent / target).resolve() for target in marks}
        shown |= {(page.parent / target).resolve() for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)}
    assert drawn == shown == {path for path in (ROOT / "docs").rglob("*.png")}
