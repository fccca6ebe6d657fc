"""report.html: what an archive holds and what it lacks, as one page for a change ticket.

A pure function of the manifest's content: no clock, no network, no script. What needs a person comes first. The page is
put together from elements (`html.el`) that escape what they are given, so nothing the service says can become markup.
"""

from intune_dw_cli.archive.report.page import render_report

__all__ = ["render_report"]
