"""Files and hub sets → rows → examples → tokens with a loss mask."""

from safeft.data.formats import FORMATS, Example, examples, fingerprint, kept, sift
from safeft.data.rows import Source, SourceRow
from safeft.data.sources import load

__all__ = [
    "FORMATS",
    "Example",
    "Source",
    "SourceRow",
    "examples",
    "fingerprint",
    "kept",
    "load",
    "sift",
]
