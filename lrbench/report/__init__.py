"""The report of an analysis: one HTML page that opens offline, and the pictures of it as files.

`write_html` is the door. Above `analysis`, whose values it draws and puts into tables; it computes no statistic.
"""

from lrbench.report.page import write_html

__all__ = ["write_html"]
