"""Equations become MathML when the site is built: browsers draw it themselves, with no script and no network.

For mkdocs; what `pymdownx.arithmatex` marks is read as LaTeX.
"""

import re
from html import unescape
from typing import Any
from xml.etree import ElementTree

from latex2mathml.converter import convert

MARKED = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(html: str, **_: Any) -> str:
    """Called by mkdocs for every page."""
    return MARKED.sub(lambda found: mathml(unescape(found[2]), block=found[1] == "div"), html)


def mathml(latex: str, block: bool = False) -> str:
    """The equation; raises ValueError for a command that the converter does not know, which it leaves as it is."""
    made = convert(latex.strip(), display="block" if block else "inline")
    if "\\" in "".join(ElementTree.fromstring(made).itertext()):
        raise ValueError(f"no MathML for {latex!r}: {made}")
    return f'<div class="equation">{made}</div>' if block else made
