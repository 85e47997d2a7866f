"""Checks of every page in a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def opened(browser: Any, path: Path) -> Any:
    """Show a page; what earlier ones logged is forgotten."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.as_uri())
    wait(browser)
    return browser


def wait(browser: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20).until(
        lambda b: b.execute_script("return document.documentElement.dataset.ready")
    )


def quiet(shown: Any) -> None:
    """No error on the console, and no request beyond the file itself."""
    assert [entry for entry in shown.get_log("browser") if entry["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in shown.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert urls
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []


def fits_a_phone(shown: Any) -> None:
    """No sideways scroll at 390 pixels."""
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    shown.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    shown.refresh()
    wait(shown)
    width = shown.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    shown.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width[0] <= 390
    assert width[1] == 390
