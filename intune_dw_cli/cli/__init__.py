"""The command line: parse, call the library, show. No logic of its own."""

from intune_dw_cli.cli.app import main

__all__ = ["main"]
