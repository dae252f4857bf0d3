"""Drive a real Chromium through its DevTools protocol over a pipe, with nothing but the standard library."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BINARIES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
# Chromium reads commands from descriptor 3 and writes answers to 4
_LAUNCH = "import os, sys; [os.dup2(int(sys.argv[i]), i + 2) for i in (1, 2)]; os.execvp(sys.argv[3], sys.argv[3:])"
TIMEOUT = 60.0


def find_chromium() -> str | None:
    """Path of a Chromium, None where there is none."""
    return next((path for name in BINARIES if (path := shutil.which(name))), None)


class Browser:
    """One page in a fresh, headless Chromium.

    Attributes:
        messages: what the console said since the page was opened.
        requests: addresses that were asked for since then.
    """

    def __init__(self, binary: str) -> None:
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        reads, self._write = os.pipe()
        self._read, writes = os.pipe()
        # above 4, so that neither is overwritten before it is duplicated
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (reads, writes)]
        command = [sys.executable, "-c", _LAUNCH, *map(str, ends), binary, *FLAGS, f"--user-data-dir={self.profile}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([*command, "about:blank"], pass_fds=ends, **quiet)
        for end in (reads, writes, *ends):
            os.close(end)
        self._buffer = b""
        self._number = 0
        self._session = ""
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        pages = self.call("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        left = json.dumps(message).encode() + b"\0"
        while left:
            left = left[os.write(self._write, left) :]
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def open(self, path: Path, width: int = 1280, height: int = 900, script: bool = True) -> None:
        """Load a file at a window size and wait until all of it is there."""
        self.messages, self.requests, self._loaded = [], [], False
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._next()

    def run(self, script: str) -> Any:
        """Value of an expression, a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true.

        Raises:
            RuntimeError: it never is.
        """
        deadline = time.monotonic() + TIMEOUT
        while not self.run(condition):
            if time.monotonic() > deadline:
                raise RuntimeError(f"never true: {condition}")
            time.sleep(0.02)

    def drawn(self) -> None:
        """Wait until the report's viewer has drawn what was asked for."""
        self.until(
            "(v => v.dataset.drawn && v.dataset.drawn === v.dataset.drawing)(document.querySelector('#compare'))"
        )

    def press(self, key: str, code: int) -> None:
        """Press a key, as from the keyboard."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def box(self, selector: str) -> dict[str, float]:
        """Where an element is on the page, in its pixels, after it was scrolled to and laid out."""
        find = f"document.querySelector({selector!r})"
        for _ in range(3):
            # what comes into view is laid out, and may move what is below
            self.run(f"{find}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
            time.sleep(0.04)
        return self.run(
            f"(b => ({{x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height}}))"
            f"({find}.getBoundingClientRect())"
        )

    def picture(self, selector: str) -> bytes:
        """PNG of what an element looks like."""
        clip = self.box(selector) | {"scale": 1}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", clip=clip)["data"])

    def close(self) -> None:
        """End the browser and remove its profile."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._read)
        os.close(self._write)
        shutil.rmtree(self.profile, ignore_errors=True)

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self._read, 1 << 20) if ready else b""
            if not piece:
                raise RuntimeError("Chromium ended" if ready else f"Chromium gave no answer in {TIMEOUT:g} s")
            self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.messages.append(str(params["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled":
            self.messages.append(str(params["args"]))
        elif event == "Log.entryAdded":
            self.messages.append(params["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Page.loadEventFired":
            self._loaded = True
