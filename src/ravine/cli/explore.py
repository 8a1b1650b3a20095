"""`ravine explore`."""

from __future__ import annotations

import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ravine.cli.names import RUNS_FILE, complete, exclusive, find, given, require
from ravine.cli.terminal import fail, line, say


def explore(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="RULE",
            help=f'A rule, or a stack such as "cautious(adamw)". {RUNS_FILE}',
            autocompletion=complete,
        ),
    ] = "adam",
    out: Annotated[
        Path | None,
        typer.Option(help="Write the page to this file instead of serving it.", show_default=False),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            help="The port to serve on. Default: any free port.",
            show_default=False,
        ),
    ] = 0,
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Read a rule, edit it and watch it move, in your browser and without a network.

    The page is served to this machine only, until you press Ctrl+C. With --out it is written to a
    file, which works from the disk.
    """
    require("numpy")
    exclusive(
        {
            "--out": out is not None,
            "--port": given(context, "port"),
        }
    )
    from ravine.explorer import build
    from ravine.explorer.sources import state_of
    from ravine.races.atomic import write

    page = build(**state_of(find(name)))
    if out is not None:
        write(out, page.encode())
        line(f"{out}: {len(page.encode()):,} bytes")
        return
    _serve(page, port, open_)


def _serve(page: str, port: int, opens: bool) -> None:
    from ravine.explorer.serve import HOST, server

    try:
        serving = server(page, port)
    except OSError as error:
        fail(f"port {port} on {HOST} is not available: {error.strerror}", 1)
    with serving:
        address = f"http://{HOST}:{serving.server_port}/"
        line(address)
        say("serves the explorer to this machine only; Ctrl+C ends it")
        if opens:
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):
            serving.serve_forever()
