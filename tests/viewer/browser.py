"""Chromium without a display, driven by selenium, for tests of pages."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--window-size=1400,1000", "--force-device-scale-factor=1"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
    # No page may look anything up.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    *("--disable-background-networking", "--no-first-run", "--disable-component-update"),
)


@contextmanager
def chromium(*more: str) -> Iterator[Any]:
    """A Chromium; the test is skipped where it or its driver is not installed."""
    binary = next(filter(None, map(shutil.which, _NAMES)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip(
            "needs Chromium and chromedriver (Debian: apt install chromium chromium-driver)"
        )
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = binary
    for option in (*_OPTIONS, *more):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = Chrome(options=options, service=ChromeService(executable_path=driver))
    try:
        yield browser
    finally:
        browser.quit()


def wait_for(browser: Any, condition: str, seconds: float = 60) -> Any:
    """What a JavaScript expression gives, once that is true."""
    end = time.monotonic() + seconds
    while not (value := browser.execute_script(f"return {condition}")):
        assert time.monotonic() < end, f"waited {seconds} s for {condition}"
        time.sleep(0.05)
    return value


def open_page(browser: Any, path: Path, fragment: str = "") -> None:
    """Open a file of the viewer, and wait until its first frame is drawn."""
    browser.get("about:blank")
    browser.get(path.as_uri() + fragment)
    assert wait_for(browser, "document.body && document.body.dataset.ready") == "yes"


def pixels(browser: Any, selector: str) -> np.ndarray:
    """(H, W, 3) uint8, what an element looks like."""
    png = browser.find_element("css selector", selector).screenshot_as_png
    return np.array(Image.open(io.BytesIO(png)).convert("RGB"))


def requested_urls(browser: Any) -> list[str]:
    """All addresses that pages have asked for since the last call."""
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def complaints(browser: Any) -> list[str]:
    """Errors on the browser's console since the last call."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
