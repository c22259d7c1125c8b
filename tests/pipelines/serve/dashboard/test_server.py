"""The commands of the page: what is missing or taken is one sentence; a review by command."""

import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.access.settings import Access
from pipelines.cli.main import app
from pipelines.serve.dashboard.server import HOST, serve_page
from schemas.errors import AffectstreamError


def test_without_streamlit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streamlit", None)
    result = CliRunner().invoke(app, ["dashboard"])
    assert isinstance(result.exception, AffectstreamError)
    assert str(result.exception) == (
        "the page needs Streamlit: pip install affectstream[dashboard]"
    )


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(AffectstreamError, match=f"nothing can listen on .*:{port} .* --port"):
            serve_page(tmp_path, port=port, metrics_url="", reviewer="dana", access=Access())


def test_a_role_that_sees_no_view_is_a_sentence(tmp_path: Path) -> None:
    for role, said in (("king", "there is no role 'king'"), ("recommender", "sees no view")):
        with pytest.raises(AffectstreamError, match=said):
            serve_page(
                tmp_path, port=1, metrics_url="", reviewer="dana", access=Access(page_role=role)
            )
