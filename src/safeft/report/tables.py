"""report.csv: one flat line per estimate."""

from __future__ import annotations

import csv
import io
from dataclasses import fields

from safeft.records import Estimate, Row
from safeft.report.document import Document
from safeft.report.estimates import plain

COLUMNS = (*(field.name for field in fields(Row)), *(field.name for field in fields(Estimate)))


def estimates_csv(document: Document) -> str:
    """Every estimate with the keys of docs/estimates.md and its recipe's label.

    A number that is not available is an empty cell.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ("label", *COLUMNS), lineterminator="\n")
    writer.writeheader()
    for row in document.estimates:
        label = document.labels.get(row.row.recipe, "")
        writer.writerow({"label": label} | plain(row.flat()))
    return stream.getvalue()
