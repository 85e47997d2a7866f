"""Screenshots of the report and the history, for the documents: ``make screenshots``."""

from __future__ import annotations

import base64
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from harness.cli.main import main

IMAGES = Path(__file__).parent / "images"
#: File, page, width, height, colours. No window is 390 pixels wide, so a phone is emulated.
SHOTS = (
    ("report-light", "report", 1280, 1100, "light"),
    ("report-dark", "report", 1280, 1100, "dark"),
    ("report-phone", "report", 390, 844, "light"),
    ("history", "history", 1280, 1100, "light"),
)
PICTURES = {"same-class-and-below-it-same-bits-int8-all-shifts.png": "agreement.png"}


def shoot(browser: Any, page: Path, name: str, width: int, height: int, colours: str) -> None:  # noqa: ANN401
    """Save the upper part of a page."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    scheme = {"features": [{"name": "prefers-color-scheme", "value": colours}]}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    browser.get(page.as_uri())
    ready = "return document.documentElement.dataset.ready"
    WebDriverWait(browser, 30).until(lambda b: b.execute_script(ready))
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {})
    (IMAGES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def screenshots(run: str) -> int:
    """Write all of them; the exit code of the first command that failed."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--hide-scrollbars", *(["--no-sandbox"] * (os.getuid() == 0))):
        options.add_argument(argument)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        pages = Path(made)
        for command in (
            ("report", run, "-o", f"{pages}/report.html", "--images", f"{pages}/pictures"),
            ("history", "--html", f"{pages}/history.html"),
        ):
            if code := main(command):
                return code
        for drawn, name in PICTURES.items():
            shutil.copyfile(pages / "pictures" / drawn, IMAGES / name)
        with webdriver.Chrome(options=options, service=service) as browser:
            for name, page, width, height, colours in SHOTS:
                shoot(browser, pages / f"{page}.html", name, width, height, colours)
    return 0


if __name__ == "__main__":
    sys.exit(screenshots(sys.argv[1]))
