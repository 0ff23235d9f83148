"""Words for the agent of a job, through its WebSocket (RFC 6455), as far as that needs to be known."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import time
import urllib.parse

ANSWER_SECONDS = 20


def say(url: str, secret: str, job: str, frame: dict) -> None:
    """Sends one frame and waits until it is accepted."""
    place = urllib.parse.urlsplit(url)
    with socket.create_connection((place.hostname, place.port), ANSWER_SECONDS) as line:
        key = base64.b64encode(os.urandom(16)).decode()
        line.sendall((f"GET /ws/jobs/{job}?after=latest HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\n"
                      f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                      f"Authorization: Bearer {secret}\r\n\r\n").encode())
        heard = line.makefile("rb")
        status = heard.readline()
        if b" 101 " not in status:
            raise AssertionError(f"the WebSocket was answered {status!r}")
        while heard.readline().strip():
            pass
        line.sendall(masked(json.dumps(frame).encode()))
        until = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < until:
            answer = json.loads(text(heard))
            if answer["type"] == "refused":
                raise AssertionError(f"refused: {answer['problem']}")
            if answer["type"] == "accepted":
                return
        raise AssertionError("a frame was never answered")


def masked(payload: bytes) -> bytes:
    mask = os.urandom(4)
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(payload))
    return b"\x81" + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def text(heard) -> bytes:
    """The payload of the next text frame; pings are passed over."""
    while True:
        kind, length = heard.read(2)
        if length == 126:
            length = struct.unpack(">H", heard.read(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", heard.read(8))[0]
        payload = heard.read(length)
        if kind & 0x0F == 1:
            return payload
        if kind & 0x0F == 8:
            raise AssertionError(f"the WebSocket was closed: {payload!r}")
