"""The tidy frame itself: CSV or Parquet with the columns of lrbench (see `lrbench.analysis.files`)."""

from lrbench.analysis.files import read_table as parse

__all__ = ["parse"]
