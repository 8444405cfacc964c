"""A real browser that tests talk to: Chromium over its DevTools protocol, on a pipe of its own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

from waiting import PATIENCE, eventually

_FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --remote-debugging-pipe --window-size=1280,1400
"""


class Browser:
    """One device: what it keeps (cookies, storage) is in `profile`. Every call has a deadline, in seconds."""

    def __init__(self, program: str, profile: Path) -> None:
        told, self._send = os.pipe()
        self._read, says = os.pipe()
        # DevTools reads file descriptor 3 and writes to 4.
        argv = ["bash", "-c", f'exec "$@" 3<&{told} 4>&{says}', "bash", program]
        self._running = subprocess.Popen(
            [*argv, *_FLAGS.split(), f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(told, says), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(told)
        os.close(says)
        # Not select(): it refuses descriptors above 1023, which a long run of tests has.
        self._waiting = select.poll()
        self._waiting.register(self._read, select.POLLIN)
        self._buffer = b""
        self._number = 0
        self._session = ""
        targets = self._ask("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]

    def _ask(self, method: str, *, within: float = PATIENCE, **words: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": words}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + within
        while True:
            while b"\0" not in self._buffer:
                if not self._waiting.poll(1000 * max(0, until - time.monotonic())):
                    raise TimeoutError(f"the browser did not answer {method} within {within} s")
                piece = os.read(self._read, 1 << 16)
                if not piece:
                    raise ConnectionError("the browser ended")
                self._buffer += piece
            line, _, self._buffer = self._buffer.partition(b"\0")
            reply = json.loads(line)
            if reply.get("id") == self._number:
                assert "error" not in reply, reply["error"]
                return reply["result"]

    def open(self, url: str) -> None:
        """Goes to an address, anew even when it is the same."""
        self._ask("Page.navigate", url="about:blank")
        self._ask("Page.navigate", url=url)

    def run(self, script: str, within: float = 90) -> Any:
        """The value of a JavaScript expression, waited for when it is a promise."""
        told = self._ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, within=within
        )
        if "exceptionDetails" in told:
            raise AssertionError(told["exceptionDetails"]["exception"].get("description", told))
        return told["result"].get("value")

    def until(self, script: str, within: float = 90) -> None:
        """Waits until the expression is true of the page."""

        def true() -> bool:
            # Between two pages there is no document.
            with contextlib.suppress(AssertionError):
                return bool(self.run(f"Boolean({script})"))
            return False

        assert eventually(true, within), f"never came true: {script}\n{self.run('document.body.innerText')}"

    def sees(self, text: str, within: float = 90) -> None:
        self.until(f"document.body.innerText.includes({json.dumps(text)})", within)

    def click(self, what: str) -> None:
        """Clicks on what a selector finds, as soon as it is there."""
        self.until(f"document.querySelector({json.dumps(what)})")
        self.run(f"document.querySelector({json.dumps(what)}).click()")

    def fill(self, form: str, **values: str) -> None:
        """Fills a dialog's form in and sends it."""
        self.until(f"document.querySelector({json.dumps(form)}).open")
        for name, value in values.items():
            self.run(f"document.querySelector('{form} [name={name}]').value = {json.dumps(value)}")
        self.run(f"document.querySelector('{form} form').requestSubmit()")

    def picture(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        os.close(self._send)
        try:
            self._running.wait(5)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()
        os.close(self._read)
