"""views.sql: an archive as tables for DuckDB, one view a collection, and the star schema's joins ready made.

A pure function of the manifest's content. Only files that the manifest lists are read. Two rules carry all of it:

- Rows of two feeds are never joined to each other: after a data-center move the service's keys begin anew.
- A join adds columns to rows and never rows: what is joined is first brought down to one row a key.
"""

from intune_dw_cli.archive.views.script import render_views

__all__ = ["render_views"]
