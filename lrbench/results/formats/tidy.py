"""The tidy frame itself: CSV or Parquet with the columns of lrbench (see `lrbench.results.files`)."""

from lrbench.results.files import read_table as parse

__all__ = ["parse"]
