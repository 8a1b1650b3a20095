"""Serves one page to a browser on this machine only."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["HOST", "server"]

HOST = "127.0.0.1"


def server(page: str, port: int = 0) -> ThreadingHTTPServer:
    """A server of the page at /, not yet serving, on the loopback interface only.

    port: 0 for any that is free; `server.server_port` says which. Raises OSError where a port is taken.
    """
    body = page.encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.partition("?")[0] in ("/", "/index.html")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", f"text/{'html' if found else 'plain'}; charset=utf-8")
            self.send_header("Content-Length", str(len(body) if found else 0))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if found and self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Do not log requests."""

    return ThreadingHTTPServer((HOST, port), Handler)
