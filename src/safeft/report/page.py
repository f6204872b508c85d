"""report.html: one file that needs no network, with tables, figures and the exact command."""

from __future__ import annotations

from importlib import resources

from safeft.report.document import Document
from safeft.report.figures import pictures
from safeft.report.section import Picture
from safeft.report.sections import sections
from safeft.report.view import View

INSTALL = 'pip install "safeft[report]"'
WITHOUT_JINJA = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>safeft report</title></head>
<body><h1>This page was not built</h1>
<p>The HTML report needs Jinja2 and Matplotlib. Install them with <code>{INSTALL}</code> and
report again. The numbers stand in report.md, report.csv and estimates.json beside this file.</p>
</body></html>
"""
WITHOUT_MATPLOTLIB = "The figures need Matplotlib. Install it and report again:"


def report_html(document: Document) -> str:
    """The page; without Jinja2 a page that says how to get it, without Matplotlib no figures."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        return WITHOUT_JINJA
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("safeft.report").joinpath("template.html").read_text(encoding="utf-8")
    view = View(document)
    drawn, missing = _pictures(view)
    html = environment.from_string(source).render(
        document=document,
        sections=sections(view),
        pictures=drawn,
        missing=missing,
        install=INSTALL,
        command=document.provenance.get("command", ""),
        provenance=sorted(pair for pair in document.provenance.items() if pair[0] != "command"),
    )
    return html.rstrip() + "\n"


def _pictures(view: View) -> tuple[tuple[Picture, ...], str]:
    """The figures, or a sentence that says why there are none."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return (), WITHOUT_MATPLOTLIB
    return pictures(view), ""
