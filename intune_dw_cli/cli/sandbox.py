"""`intune-dw sandbox`: serve the sandbox tenant, for trying things out and for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from intune_dw_cli.cli.options import Talk, option, with_groups
from intune_dw_cli.errors import UsageError

if TYPE_CHECKING:
    from intune_dw_cli.cli.console import Terminal

_TENANT = "Tenant"
_SERVER = "Server"


@with_groups
def command(
    devices: Annotated[int, option("--devices", help="Devices ever enrolled.", panel=_TENANT)] = 200,
    days: Annotated[
        int | None, option("--days", help="Days of history held. Default: as documented, 30 or 60.", panel=_TENANT)
    ] = None,
    seed: Annotated[int, option("--seed", help="Another seed is another tenant.", panel=_TENANT)] = 1,
    today: Annotated[
        str | None, option("--today", help="The day the tenant believes in. Default: today.", panel=_TENANT)
    ] = None,
    hostile: Annotated[
        bool, option("--hostile", help="Put in what breaks exporters: formulas, line breaks, emoji.", panel=_TENANT)
    ] = False,
    port: Annotated[int, option("--port", help="Port on 127.0.0.1. Default: a free one.", panel=_SERVER)] = 0,
    page_size: Annotated[int, option("--page-size", help="Rows a page.", panel=_SERVER)] = 1000,
    think_time: Annotated[
        float, option("--think-time", help="Seconds that the server takes for each page.", panel=_SERVER)
    ] = 0.0,
    token: Annotated[
        str | None,
        option("--token", help="The bearer token to accept. Default: any.", panel=_SERVER, metavar="TEXT"),
    ] = None,
    fault: Annotated[
        list[str] | None,
        option(
            "--fault",
            help="What goes wrong (repeatable): kind=429,retry-after=2,collection=devices,page=2,times=1. "
            "`--fault help` lists the kinds.",
            panel=_SERVER,
            metavar="FAULT",
        ),
    ] = None,
    talk: Talk = Talk(),
) -> None:
    """Serve a sandbox tenant on this machine until Ctrl-C.

    [bold]Examples[/bold]
      intune-dw sandbox --port 8400 --devices 5000
      intune-dw sandbox --fault kind=503,collection=devices,times=2
      intune-dw sandbox --fault help

    Then, elsewhere: set INTUNE_DW_URL to the address it prints
    and INTUNE_DW_ACCESS_TOKEN to any text.
    """
    from intune_dw_cli.cli.console import Terminal
    from intune_dw_cli.data.datekey import parse_day, today_in_utc
    from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, TenantConfig

    terminal = Terminal(talk)
    if fault and "help" in fault:
        _show_kinds(terminal)
        return
    now = today_in_utc()
    try:
        tenant = TenantConfig(
            seed=seed,
            today=parse_day(today, today=now) if today else now,
            devices=devices,
            days=days,
            hostile=hostile,
        )
        server = ServerConfig(
            port=port,
            page_size=page_size,
            think_time=think_time,
            token=token,
            faults=tuple(Fault.parse(text) for text in fault or ()),
        )
    except ValueError as error:
        raise UsageError(str(error), hint="What each option takes: intune-dw sandbox --help") from None
    sandbox = Sandbox(tenant, server)
    try:
        sandbox.bind()
    except OSError as error:
        raise UsageError(f"port {port} cannot be used: {error.strerror}", hint="Choose another --port.") from None
    print(sandbox.feed_url, flush=True)
    terminal.say("serving the sandbox tenant; Ctrl-C ends it")
    try:
        sandbox.serve_forever()
    except KeyboardInterrupt:
        sandbox.stop()


def _show_kinds(terminal: Terminal) -> None:
    from intune_dw_cli.cli.tables import fault_table
    from intune_dw_cli.sandbox.faults import KINDS

    terminal.table(fault_table(KINDS))
    terminal.say("With any kind: collection=GLOB, page=N, times=N (0: always), probability=SHARE")
