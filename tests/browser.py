"""A page as a browser has it: headless Chromium, spoken to by its DevTools protocol (JSON over a local socket).

Only what the tests of the report ask: size and colour scheme of the window, scripts of ours, keys, screenshots, and
whatever the browser complained of. The page's own policy forbids scripts; those sent here are not the page's.
"""

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"),
    *("--remote-debugging-port=0", "--remote-allow-origins=*"),
)
COMPLAINTS = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Network.loadingFailed"}


class Browser:
    """One page in one browser, for a ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder / "browser", itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        import websocket

        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={self._folder}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pages = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{self._port()}/json").read())
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self._socket = websocket.create_connection(address, timeout=60)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=30)

    def _port(self) -> str:
        file = self._folder / "DevToolsActivePort"
        for _ in range(600):
            if file.is_file() and (lines := file.read_text().splitlines()):
                return lines[0]
            time.sleep(0.1)
        raise TimeoutError("the browser did not start within a minute")

    def send(self, method: str, **parameters: Any) -> Any:
        """One command and its result; what happens meanwhile is kept in ``events``."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv())).get("id") != number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def show(self, page: Path, width: int, height: int = 800, dark: bool = False) -> None:
        """Load a file in a window of that size, as a phone below 500 pixels."""
        phone = width < 500
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1}
        self.send("Emulation.setDeviceMetricsOverride", **size, mobile=phone)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        self.events.clear()
        self.send("Page.navigate", url=page.as_uri())
        for _ in range(600):
            if self.ask("document.readyState") == "complete" and self.ask("location.href") != "about:blank":
                return
            time.sleep(0.05)
        raise TimeoutError(f"{page} was not loaded within half a minute")

    def ask(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """A key, as from a keyboard."""
        code = {"Tab": 9, "Enter": 13, "ArrowRight": 39}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)
            text = {}

    def shoot(self, file: Path, whole: bool = False) -> Path:
        """What is to be seen, or the whole page, as a PNG."""
        file.write_bytes(
            base64.b64decode(self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])
        )
        return file

    def complaints(self) -> list[str]:
        """What the console, the network or the policy had to say since the page was loaded."""
        return [json.dumps(event)[:400] for event in self.events if event.get("method") in COMPLAINTS]
