"""Sending mail by SMTP, outside of the event loop."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit


class Mail:
    """`Mail("smtp://user:password@host:25")`; `smtps://` speaks TLS from the start."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        if self._url.scheme not in ("smtp", "smtps") or not self._url.hostname:
            raise RuntimeError("SMTP_URL must be smtp://host:port or smtps://host:port")

    async def send(self, message: EmailMessage) -> None:
        await asyncio.to_thread(self._send, message)

    def _send(self, message: EmailMessage) -> None:
        url = self._url
        assert url.hostname
        if url.scheme == "smtps":
            client: smtplib.SMTP = smtplib.SMTP_SSL(url.hostname, url.port or 465, timeout=10)
        else:
            client = smtplib.SMTP(url.hostname, url.port or 25, timeout=10)
        with client:
            client.ehlo()
            if url.scheme == "smtp" and client.has_extn("starttls"):
                client.starttls(context=ssl.create_default_context())
                client.ehlo()
            if url.username and client.has_extn("auth"):
                client.login(unquote(url.username), unquote(url.password or ""))
            client.send_message(message)
