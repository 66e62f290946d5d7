"""A real headless Chromium, spoken to through its debugging pipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["Browser", "find_chromium"]


def find_chromium() -> str:
    """Return the path of a Chromium, or nothing."""
    given = os.environ.get("DATALAD_SLURM_CHROMIUM")
    names = ("chromium", "chromium-browser", "google-chrome")
    return given or next(filter(None, map(shutil.which, names)), "")


class Browser:
    """One page of a browser that has no window; to be used as a context manager.

    Messages are objects of JSON that end with a null character (Chrome DevTools Protocol,
    ``--remote-debugging-pipe``: it reads from descriptor 3 and writes to 4).
    """

    def __init__(self, program: str, profile: Path) -> None:
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        options = [
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--remote-debugging-pipe", "--no-first-run", "--disable-extensions"),
            *("--window-size=1400,1000", f"--user-data-dir={profile}", "about:blank"),
        ]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", program, *options],
            pass_fds=(to_read, to_write),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest = b""
        self._number = 0
        self._session = ""
        #: what went to the console, and exceptions that nobody caught
        self.complaints: list[str] = []
        targets = self._ask("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        found = self._ask("Target.attachToTarget", targetId=page, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def _ask(self, method: str, **parameters: object) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> dict:
        while b"\0" not in self._rest:
            chunk = os.read(self._in, 2**20)
            assert chunk, "the browser has ended"
            self._rest += chunk
        raw, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(raw)
        method, told = message.get("method", ""), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(told["args"]))
        elif method == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"dialog: {told['message']}")
        elif method == "Network.requestWillBeSent":
            self.complaints += [] if told["request"]["url"].startswith("file:") else [str(told)]
        return message

    def open(self, path: Path) -> None:
        """Open a page, and wait until it has drawn itself."""
        self._ask("Page.navigate", url=path.as_uri())
        self.run(
            "new Promise((done) => { const look = () => document.body?.dataset.ready"
            " || document.querySelector('main')?.textContent.includes('cannot be drawn')"
            " ? done(1) : setTimeout(look, 20); look(); })"
        )

    def run(self, script: str) -> object:
        """Return what JavaScript makes of an expression; a promise is waited for."""
        found = self._ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press a key, and let go of it."""
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        text = {"text": "\r"} if key == "Enter" else {}
        self._ask("Input.dispatchKeyEvent", type="keyDown", **keys, **text)
        self._ask("Input.dispatchKeyEvent", type="keyUp", **keys)

    def dark(self) -> None:
        """Let the page believe that its reader likes it dark."""
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        self._ask("Emulation.setEmulatedMedia", features=features)

    def picture(self) -> bytes:
        """Return how the page looks, as PNG."""
        import base64

        return base64.b64decode(self._ask("Page.captureScreenshot")["data"])
