"""The pictures of docs/workbench.md, from a demo run with a study: `python docs/workbench_pictures.py RUN [CHROMIUM]`.

RUN needs a study ``cars`` (`synthorax readers create RUN --simulated`) and a running `synthorax serve RUN` on port 8123.
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from synthorax.readers import Study

BASE, IMAGES = "http://127.0.0.1:8123", Path(__file__).parent / "images"


def save(tab: Page, name: str) -> None:
    """A screenshot in 96 colours, which halves a page of grey films."""
    with Image.open(io.BytesIO(tab.screenshot())) as image:
        image.convert("RGB").quantize(96).save(IMAGES / f"workbench-{name}.png", optimize=True)


def main(run: str, chromium: str = "/usr/bin/chromium") -> None:
    link = Study(Path(run) / "readers" / "cars.sqlite").links()[1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 720})
        for name, address in (
            ("coverage", "/coverage"),
            ("review", "/review/3"),
            ("reading", f"/read/{link}/1"),
        ):
            tab.goto(BASE + address, wait_until="networkidle")
            if name == "review":
                tab.keyboard.press("m")
                tab.wait_for_selector("canvas.mask")
            save(tab, name)
        tab.goto(f"{BASE}/edit?row=2", wait_until="networkidle")
        while (checked := tab.locator(".picker input:checked")).count():
            checked.first.uncheck()
        tab.check("input[value=effusion]")
        tab.select_option("select[aria-label='Side of Effusion']", "Left")
        area = tab.locator("#paint").bounding_box()
        tab.evaluate("document.getElementById('size').value = 50")
        for brush, x, top, bottom in (("edit", 0.78, 0.55, 0.85), ("keep", 0.25, 0.2, 0.8)):
            tab.click(f"[data-brush={brush}]")
            tab.mouse.move(area["x"] + area["width"] * x, area["y"] + area["height"] * top)
            tab.mouse.down()
            tab.mouse.move(area["x"] + area["width"] * x, area["y"] + area["height"] * bottom, steps=10)
            tab.mouse.up()
        tab.click("#make")
        tab.wait_for_selector("text=Edit: synthetic", timeout=240_000)
        tab.wait_for_load_state("networkidle")
        save(tab, "edit")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
