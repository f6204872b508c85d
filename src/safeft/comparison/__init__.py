"""Training and evaluation together: the comparison of recipes."""

from safeft.comparison.compare import compare
from safeft.comparison.matrix import Matrix, load_matrix

__all__ = ["Matrix", "compare", "load_matrix"]
