"""Each page in a real browser, without a script error; a painted mask that ends in a saved edit; review by keys."""

import re

import numpy as np
import pytest

from synthorax.dataset import read_metadata, read_png


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/", "input rows refused"),
        ("/coverage", "Gaps, largest first"),
        ("/coverage?level=concept", "Gaps, largest first"),
        ("/gallery", "60 of 60 films"),
        ("/gallery?finding=unremarkable&when=before", "60 of 60 films"),
        ("/gallery?finding=unremarkable", "0 of 60 films"),
        ("/gallery?type=insertion&method=radedit", "15 of 60 films"),
        ("/review/0", "Findings after"),
        ("/edit", "choose one of 30 source films"),
        ("/edit?row=0", "What should the film show?"),
    ],
)
@pytest.mark.parametrize("width", [1280, 820])
def test_a_page_opens_fits_and_runs_no_foreign_script(looked_at, tab, address, words, width):
    tab.set_viewport_size({"width": width, "height": 1000})
    tab.goto(f"{looked_at.base}{address}")
    assert words in tab.inner_text("main")
    assert tab.title() != "taken" and "<script>" not in tab.inner_html("main").replace("&lt;", "")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no page scrolls sideways"
    unnamed = "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')].filter(e => !e.labels?.length && !e.ariaLabel).length"
    assert tab.evaluate(unnamed) == 0
    assert tab.evaluate("[...document.images].filter(i => i.loading !== 'lazy' && !i.hidden && !i.naturalWidth).length") == 0  # fmt: skip


def test_review_by_keys_writes_the_verdict_into_the_metadata(server, run, tab):
    tab.goto(f"{server.base}/review/0?method=radedit")
    for key, shown in (("2", ".slide"), ("3", ".stack"), ("4", ".stack canvas"), ("1", ".panes")):
        tab.keyboard.press(key)
        tab.wait_for_selector(shown)
    tab.keyboard.press("m")
    tab.wait_for_selector(".panes canvas.mask")
    box = tab.locator(".port").first.bounding_box()
    tab.mouse.move(box["x"] + 50, box["y"] + 50)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 110, box["y"] + 90)
    tab.mouse.up()
    assert "W 255 L 128" not in tab.inner_text("output.window")
    tab.keyboard.press("k")
    tab.wait_for_url("**/review/2?method=radedit")
    tab.keyboard.press("r")
    tab.keyboard.type("wrong side")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/review/4?method=radedit")
    rows = read_metadata(run / "synthetic")
    assert rows["is_valid"][:3].to_list() == [True, None, False]
    assert rows["reject_reason"][:3].to_list() == [None, None, "wrong side"]


def test_a_painted_mask_ends_in_a_saved_edit(server, run, tab):
    tab.goto(f"{server.base}/edit?row=0")
    while (checked := tab.locator(".picker input:checked")).count():
        checked.first.uncheck()
    tab.check("input[value=effusion]")
    tab.select_option("select[aria-label='Side of Effusion']", "Left")
    assert tab.input_value("#prompt") == "Left effusion."
    paint = tab.locator("#paint").bounding_box()
    middle = paint["y"] + paint["height"] / 2
    tab.fill("#seed", "7")
    tab.evaluate("document.getElementById('size').value = 40")
    for key, x in (("e", 0.7), ("p", 0.25)):
        tab.click(f"[data-brush={'edit' if key == 'e' else 'keep'}]")
        tab.mouse.move(paint["x"] + paint["width"] * x, middle - 60)
        tab.mouse.down()
        tab.mouse.move(paint["x"] + paint["width"] * x, middle + 60, steps=8)
        tab.mouse.up()
    tab.evaluate("document.getElementById('size').value = 2")
    tab.mouse.move(paint["x"] + paint["width"] * 0.05, middle - 60)
    tab.mouse.down()
    tab.mouse.move(paint["x"] + paint["width"] * 0.05, middle + 60, steps=8)
    tab.mouse.up()
    tab.click("#make")
    tab.wait_for_selector("text=a draft, as the model sees it", timeout=90_000)
    tab.wait_for_selector("text=Edit: synthetic", timeout=90_000)
    assert re.match(
        r"The keep mask has \d+ of \d+ px in parts thinner than a latent cell", tab.inner_text("#notes")
    )
    tab.click("#keep")
    tab.wait_for_url("**/review/60")
    row = read_metadata(run / "synthetic").row(60, named=True)
    assert (row["prompt"], row["seed"], row["concepts_after"]) == (
        "Chest film. Left effusion.",
        7,
        ["effusion"],
    )
    assert row["model_sha256"] and row["method"] == "radedit" and row["is_synthetic"]
    source, edited, keep = (
        read_png(run / "synthetic" / row[c]) for c in ("source_file_name", "file_name", "keep_mask_file_name")
    )
    assert 20 < (keep > 0.5).sum() < keep.size / 2
    assert np.array_equal(edited[keep > 0.5], source[keep > 0.5]), "what is kept stays, pixel for pixel"
    assert not np.array_equal(edited, source)
