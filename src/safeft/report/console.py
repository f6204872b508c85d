"""The headline in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeft.report.cells import Cell
from safeft.report.document import Document
from safeft.report.sections import Section, headline
from safeft.report.view import View

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

NAME, PADDING = 16, 2


def headline_table(document: Document, width: int = 200) -> Table:
    """The verdict table for a rich console, with as many columns as `width` has room for."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    view = View(document)
    section = headline(view.parts[0])
    places = _fitting(section, width)
    left = len(section.columns) - len(places)
    more = f" {left} more columns in report.md." if left else ""
    more += "".join(f" Judge {', '.join(x.judges)}: see report.md." for x in view.parts[1:])
    table = Table(title=Text(document.title), caption=Text(section.caption + more))
    table.box, table.show_lines = box.SIMPLE_HEAD, True
    for place in places:
        table.add_column(Text(section.columns[place]), no_wrap=place > 0, overflow="fold")
    for row in section.rows:
        table.add_row(*(_text(row[place]) for place in places))
    return table


def _fitting(section: Section, width: int) -> list[int]:
    """The first columns that fit; only the recipe's name may wrap, so it asks for little."""
    room, places = width - NAME, [0]
    for place in range(1, len(section.columns)):
        cells = [row[place] for row in section.rows]
        lines = [line for cell in cells for line in (cell.value, *cell.details)]
        room -= max(map(len, (section.columns[place], *lines))) + PADDING
        if room < 0:
            break
        places.append(place)
    return places


def print_headline(document: Document, console: Console | None = None) -> None:
    """Prints the verdict table and the notes."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    console.print(headline_table(document, console.width))
    for note in document.notes:
        console.print(Text(f"note: {note}"))


def _text(cell: Cell) -> Text:
    """Names are plain text: square brackets in them are no markup."""
    from rich.text import Text

    details = Text("\n".join(cell.details), style="dim")
    return Text.assemble((cell.value, "bold"), "\n", details) if cell.details else Text(cell.value)
