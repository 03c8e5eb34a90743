"""Make every picture and every result in the documentation anew: python docs/regenerate.py --shared FOLDER

A page says itself how its results are made, in comments that readers do not see:

    <!-- file: my.yaml -->                the block of code that follows is written to this file
    <!-- run: COMMAND -->                 the block that follows shows lines of what the command prints; `...` stands
                                          for lines left out, and every other line is found again by how it begins
    <!-- table: COMMAND [# HEADING] -->   the Markdown that it prints (under a heading), up to <!-- end -->
    <!-- picture: COMMAND; FILE -->       the picture that follows is a file that the command writes

The commands of a page run one after the other in a folder of their own; $SHARED in them is the folder of traces and
measurements that may not be given away (--shared, or the environment variable SERVECAST_SHARED). Without it, what needs
it is skipped.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

MARK = re.compile(
    r"<!-- (?P<kind>file|run): (?P<what>[^>]+?) -->\n+(?P<open>```[^\n]*\n)(?P<block>.*?)(?P<close>```)"
    r"|<!-- (?P<table>table): (?P<made_by>.+?)(?: # (?P<heading>.+?))? -->\n(?P<rows>.*?)<!-- end -->"
    r"|<!-- (?P<picture>picture): (?P<drawn_by>.+?); (?P<file>\S+) -->\n+!\[[^\]]*\]\((?P<target>[^)]+)\)",
    re.DOTALL,
)


class MissingError(Exception):
    """What cannot be made here, and why."""


class Page:
    """One page, and the folder in which its commands run."""

    def __init__(self, path: Path, folder: Path, shared: Path | None) -> None:
        self.path, self.folder, self.shared = path, folder, shared
        self.printed: dict[str, str] = {}
        self.skipped: set[str] = set()
        self.problems: list[str] = []

    def regenerate(self) -> None:
        """Make everything on the page; what fails stays as it was, and is told."""
        self.path.write_text(MARK.sub(self.replaced, self.path.read_text(encoding="utf-8")), encoding="utf-8")

    def replaced(self, found: re.Match[str]) -> str:
        """One mark with what belongs to it."""
        try:
            if found["kind"] == "file":
                (self.folder / found["what"]).write_text(found["block"], encoding="utf-8")
                return found[0]
            if found["kind"] == "run":
                lines = shown_again(found["block"], self.output(found["what"]))
                return found[0].replace(found["open"] + found["block"], found["open"] + lines)
            if found["table"]:
                rows = section(self.output(found["made_by"]), found["heading"])
                return found[0].replace("-->\n" + found["rows"], f"-->\n{rows}\n")
            self.output(found["drawn_by"])
            picture = (self.folder / found["file"]).read_bytes()
            (self.path.parent / found["target"]).write_bytes(picture)
        except MissingError as reason:
            if str(reason) not in self.skipped:
                self.skipped.add(str(reason))
                print(f"  skipped: {reason}")
        except (ValueError, OSError) as error:
            self.problems.append(f"{self.path.name}: {error}")
            print(f"  FAILED: {error}")
        return found[0]

    def output(self, command: str) -> str:
        """What a command prints; it runs once for a page. Raises MissingError, and ValueError where it fails."""
        if command not in self.printed:
            self.printed[command] = self.run(command)
        return self.printed[command]

    def run(self, command: str) -> str:
        for needed in re.findall(r"\$SHARED/(\S+)", command):
            if self.shared is None or not (self.shared / needed).exists():
                where = f"in {self.shared}" if self.shared else "here: give --shared FOLDER"
                raise MissingError(f"{command}: there is no {needed} {where}")
        print(f"  {command}", end=" ", flush=True)
        began = time.monotonic()
        paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command, shell=True, cwd=self.folder, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": paths, "COLUMNS": "120", "SHARED": str(self.shared)},
        )  # fmt: skip
        print(f"({time.monotonic() - began:.0f} s)")
        if done.returncode:
            raise ValueError(f"{command}: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout


def shown_again(shown: str, printed: str) -> str:
    """The lines that a block shows, as they are printed now. Raises ValueError for one that is not there any more."""
    lines = [line.rstrip() for line in printed.splitlines()]
    result, at = [], 0
    for line in shown.splitlines():
        if line.strip() == "...":
            result.append(line)
            continue
        rest = [number for number in range(at, len(lines)) if beginning(lines[number]) == beginning(line)]
        if not rest:
            raise ValueError(f"no line begins like this one any more, so the text beside it may be wrong: {line!r}")
        result.append(lines[rest[0]])
        at = rest[0] + 1
    return "".join(line + "\n" for line in result)


def beginning(line: str) -> str:
    """What a line tells about: its first column, up to the first number."""
    first = re.split(r"\s{2,}", line.strip())[0]
    return re.sub(r"(?<!\S)[<~$+-]*\d.*", "#", re.sub("─+", "─", first))


def section(printed: str, heading: str | None) -> str:
    """What is printed under a heading; all of it without one."""
    if heading is None:
        return printed.strip()
    found = re.search(rf"^#+ {re.escape(heading)}\n+(.*?)(?=\n#|\Z)", printed, re.DOTALL | re.MULTILINE)
    if not found:
        raise ValueError(f"nothing is printed under {heading!r}")
    return found[1].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=os.environ.get("SERVECAST_SHARED"))
    parser.add_argument("pages", nargs="*", type=Path, help="only these")
    arguments = parser.parse_args()
    shared = Path(arguments.shared).resolve() if arguments.shared else None
    problems = []
    for path in [page.resolve() for page in arguments.pages] or PAGES:
        if not path.is_file() or ROOT not in path.parents:
            parser.error(f"{path} is no page of {ROOT}")
        if MARK.search(path.read_text(encoding="utf-8")):
            print(path.relative_to(ROOT))
            with TemporaryDirectory() as folder:
                page = Page(path, Path(folder), shared)
                page.regenerate()
                problems += page.problems
    sys.exit("\n".join(["", *problems]) if problems else 0)


if __name__ == "__main__":
    main()
