"""`python -m intune_dw_cli` is `intune-dw`."""

from intune_dw_cli.cli import main

if __name__ == "__main__":
    main()
