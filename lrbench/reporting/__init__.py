"""The report of an analysis: one HTML page that opens offline, and the pictures of it as files.

`page.write_html` is the door; it is not imported here, because it brings matplotlib with it. Above `analysis`,
whose values it draws and puts into tables; it computes no statistic.
"""
