"""The server of the page: Streamlit on this machine alone, that loads and tells nothing outside."""

import logging
import socket
from pathlib import Path

from streamlit.web import bootstrap

from pipelines.access.roles import read_roles
from pipelines.access.settings import Access
from schemas.errors import AffectstreamError
from schemas.table import Root

HOST = "127.0.0.1"
_SCRIPT = Path(__file__).with_name("page.py")
_OPTIONS = {
    "server.address": HOST,
    "server.headless": True,
    "server.allowedHosts": [HOST, "localhost"],
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": False,
    "client.disableDataExport": True,
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "logger.hideWelcomeMessage": True,
    "runner.magicEnabled": False,
    "runner.postScriptGC": False,
    "theme.metricValueFontSize": "1.4rem",
    "theme.light.primaryColor": "#00629E",
    "theme.dark.primaryColor": "#56B4E9",
}
"""A host that is not this machine's name is refused, so that no other site can ask by way of a
browser. Rows about single people are looked at here and not downloaded. A collection of garbage
after each look would take four times as long as the look itself. The colours of controls have at
least 4.5 to 1 against their page."""


def serve_page(root: Root, *, port: int, metrics_url: str, reviewer: str, access: Access) -> None:
    """Serve the page on 127.0.0.1 until SIGTERM or Ctrl-C.

    Raises:
        AffectstreamError: the port is taken, there is no such role, or it sees no view.
    """
    _check_role(access)
    _check_port(port)
    logging.getLogger("streamlit").setLevel(logging.ERROR)
    options = _OPTIONS | {"server.port": port}
    bootstrap.load_config_options(options)
    arguments = [str(root), metrics_url, reviewer, access.model_dump_json()]
    bootstrap.run(str(_SCRIPT), False, arguments, options)


def _check_port(port: int) -> None:
    """Raise where the port is taken: Streamlit would take another one without a word."""
    try:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, port))
    except OSError as error:
        message = f"nothing can listen on {HOST}:{port} ({error.strerror}): give another --port"
        raise AffectstreamError(message) from error


def _check_role(access: Access) -> None:
    """Raise where there is no such role, or nothing that could be shown to it."""
    if access.page_role is None:
        return
    role = read_roles(access.roles).named(access.page_role)
    if not role.page:
        message = f"role {access.page_role} sees no view of the page: give another --role"
        raise AffectstreamError(message)
