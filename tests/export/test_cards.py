"""What notebooks show."""

from html.parser import HTMLParser

import pytest

from tests.export import results


class Balanced(HTMLParser):
    """Refuses tags that do not close in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (results.run, ("believe these numbers", "TTFT", "decode", "60 requests")),
        (results.comparison, ("three GPUs", "believe these numbers", "goodput/s", "one seed: differences")),
        (results.sweep, ("2 points", "engine.max_num_seqs", "64")),
        (results.diagnosis, ("What holds it back", "What would help", "today")),
    ],
)
def test_objects_show_themselves_small_and_whole(shown: object, words: tuple[str, ...]) -> None:
    html = shown()._repr_html_()  # type: ignore[operator]
    page = Balanced()
    page.feed(html)
    assert page.open == []
    assert len(html) < 20_000
    assert "<script" not in html and "http" not in html
    for word in words:
        assert word in page.text
