"""Estimates to HTML, Markdown, CSV, JSON and the terminal."""

from safeft.report.console import headline_table, print_headline
from safeft.report.document import Document, Run
from safeft.report.estimates import SCHEMA, estimates_json, read_estimates
from safeft.report.markdown import report_markdown
from safeft.report.page import report_html
from safeft.report.tables import estimates_csv
from safeft.report.writing import write_report

__all__ = [
    "SCHEMA",
    "Document",
    "Run",
    "estimates_csv",
    "estimates_json",
    "headline_table",
    "print_headline",
    "read_estimates",
    "report_html",
    "report_markdown",
    "write_report",
]
