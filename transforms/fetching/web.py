"""Media by HTTP: one deadline and one number of bytes for all that a host sends.

The time limit of a socket begins anew with each byte, so that a host which drips its headers, or
answers `100 Continue` for ever, holds whoever asked.
"""

import functools
import io
import socket
import time
from http.client import HTTPResponse
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from schemas.errors import DeadLetterCode
from transforms.fetching.failure import FetchError, check_size

_CHUNK: Final = 1 << 16
_BESIDE: Final = 1 << 16  # bytes beside the media: status lines, headers, lengths of chunks
_OK: Final = 200
_AS_IT_IS: Final = {"Accept-Encoding": "identity"}


def get(uri: str, most: int, timeout_s: float) -> bytes:
    """Return what stands at a URI; no redirect is followed, since it could lead out of the place.

    Raises:
        FetchError: the answer is not 200, larger than ``most`` bytes, or took longer than
            ``timeout_s`` seconds.
        OSError: there was no sound answer, or its headers came too slowly.
    """
    end = time.monotonic() + timeout_s
    media = bytearray()
    with requests.Session() as session:
        adapter = _Adapter(end, most + _BESIDE)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        with session.get(
            uri, headers=_AS_IT_IS, stream=True, timeout=timeout_s, allow_redirects=False
        ) as response:
            if response.status_code != _OK:
                detail = f"the place answered {response.status_code}"
                raise FetchError(DeadLetterCode.MEDIA_UNREACHABLE, detail)
            while chunk := response.raw.read1(_CHUNK):
                media += chunk
                check_size(len(media), most)
    return bytes(media)


class _Wire(io.RawIOBase):
    """The bytes of a socket up to a deadline (monotonic seconds), and at most so many of them."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, end: float, most: int) -> None:
        self._raw, self._socket = raw, sock
        self._end, self._left = end, most

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int | None:
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            message = "the answer did not come in time"
            raise TimeoutError(message)
        if self._left <= 0:
            message = "the answer has no end"
            raise OSError(message)
        self._socket.settimeout(seconds)
        count = self._raw.readinto(into)
        self._left -= count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: Any, *args: Any, end: float, most: int, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.fp = io.BufferedReader(_Wire(self.fp.detach(), sock, end, most))


class _Bounds:
    """Gives the responses of a connection their deadline and number of bytes."""

    response_class: Any

    def __init__(self, *args: Any, end: float, most: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self.response_class = functools.partial(_Response, end=end, most=most)


class _Connection(_Bounds, HTTPConnection):
    pass


class _SecureConnection(_Bounds, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    """Connects so that all of an answer is bounded, by a proxy too."""

    def __init__(self, end: float, most: int) -> None:
        self._pools = {
            "http": functools.partial(_Pool, end=end, most=most),
            "https": functools.partial(_SecurePool, end=end, most=most),
        }
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, **more)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **more: Any) -> Any:
        manager = super().proxy_manager_for(*args, **more)
        manager.pool_classes_by_scheme = self._pools
        return manager
