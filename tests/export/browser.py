"""A headless browser, where one is installed: what a page looks like to it, and what it complains about."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND"
_PROBE = """
<script>addEventListener("load", () => setInterval(() => {
  const root = document.documentElement;
  root.dataset.size = `${root.scrollWidth} ${innerWidth}`;
  root.dataset.loaded = performance.getEntriesByType("resource").length;
}, 50))</script>"""


@dataclass(frozen=True)
class Seen:
    """The page after its scripts ran, what was said on the console, how wide it is, and what it loaded besides."""

    dom: str
    console: list[str]
    width: int
    window: int
    loaded: int

    @property
    def drawn(self) -> int:
        """Charts that were drawn."""
        return len(re.findall(r'<div class="chart js-plotly-plot"', self.dom))


def browser() -> str:
    """The browser's path, or a skip that says what to install."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser ({', '.join(_NAMES)}) is installed: nobody has looked at the page")
    return found


def look(html: str, folder: Path, *, size: tuple[int, int], dark: bool = False, script: str = "") -> Seen:
    """Open a page without a network, in a window of this size; `script` runs in it, too."""
    path = folder / "page.html"
    path.write_text(html.replace("</body>", f"{_PROBE}<script>{script}</script></body>"), encoding="utf-8")
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
        _NO_NETWORK, "--virtual-time-budget=20000", f"--window-size={size[0]},{size[1]}",
        f"--user-data-dir={folder / 'profile'}", *(["--blink-settings=preferredColorScheme=0"] if dark else []),
        "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told = re.search(r'data-size="(\d+) (\d+)" data-loaded="(\d+)"', done.stdout)
    assert told, "the page's scripts did not run"
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Seen(done.stdout, console, *map(int, told.groups()))
