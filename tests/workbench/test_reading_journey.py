"""A whole reading session in a real browser: keys, a reload, a killed server, another reader's order."""

import sqlite3

import pytest

from synthorax.readers import PROTOCOLS, Study, create_study


def read_case(tab, realism, agreement):
    tab.keyboard.press(realism)
    tab.keyboard.press(agreement)
    here = tab.url
    tab.keyboard.press("Enter")
    tab.wait_for_function("here => location.href !== here", arg=here)


def test_twenty_cases_with_a_reload_and_a_kill_lose_nothing(server, run, tab):
    study = create_study(run, run / "readers" / "cars.sqlite", cases=18, repeats=0.12, is_simulated=True)
    first, second = study.links().values()
    tab.goto(f"{server.base}/read/{first}")
    tab.click("text=Begin")
    given = []
    for position in range(1, 21):
        tab.wait_for_selector(f"text=Case {position} of 20")
        tab.wait_for_load_state()  # the keys' script is deferred
        if position == 7:
            tab.keyboard.press("1")
            tab.reload()  # a choice that was not saved is gone, the case is the same
            assert tab.url.endswith("/7") and not tab.locator(":checked").count()
        if position == 12:  # the page stays open while the server dies and comes back
            server.kill()
            server.start()
        choice = ("12"[position % 2], "qwe"[position % 3])
        given.append(choice)
        if position == 20:
            tab.keyboard.press("c")
            tab.keyboard.type("ribs <b>too</b> even")
            tab.keyboard.press("Escape")
        read_case(tab, *choice)
    tab.wait_for_selector("text=All 20 answers are saved")
    answers = [a for a in study.answers() if a["reader"] == 1]
    assert [a["position"] for a in answers] == list(range(1, 21))
    realism, concepts = {"1": "real", "2": "synthetic"}, {"q": "full", "w": "partial", "e": "disagree"}
    assert [(a["realism"], a["concepts"]) for a in answers] == [(realism[r], concepts[c]) for r, c in given]
    assert all(a["seconds"] > 0 for a in answers) and answers[-1]["comment"] == "ribs <b>too</b> even"
    with sqlite3.connect(study.path) as db:
        orders = [[c for (c,) in db.execute("SELECT case_number FROM item WHERE reader = ? ORDER BY position", (r,))] for r in (1, 2)]  # fmt: skip
    assert orders[0] != orders[1] and set(orders[0]) == set(orders[1])
    tab.goto(f"{server.base}/read/{second}")
    assert "0 answered" in tab.inner_text("main")
    tab.goto(f"{server.base}/studies/cars/coding")
    assert "ribs <b>too</b> even" in tab.inner_text("blockquote")
    tab.keyboard.press("1")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=Every comment is coded")
    assert [a["codes"] for a in Study(study.path).answers() if a["comment"]] == [["implausible ribs"]]
    tab.goto(f"{server.base}/studies/cars")
    assert "Simulated answers" in tab.inner_text("h1")


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 768), (820, 1180)])
@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_a_case_fits_a_tablet_and_its_targets_a_finger(studies, browser, protocol, width, height):
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=True)
    tab = context.new_page()
    tab.goto(studies[protocol])
    small = "[...document.querySelectorAll('a, button, label:has(input), textarea')].map(e => [e.innerText, e.getBoundingClientRect()]).filter(([t, r]) => r.width && r.left >= 0 && Math.min(r.width, r.height) < 44).map(([t]) => t)"
    assert tab.evaluate(small) == []
    tab.tap("text=Begin")
    tab.wait_for_url("**/1")
    assert tab.evaluate(small) == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no page scrolls sideways"
    button = tab.locator("button.good").bounding_box()
    assert button["y"] + button["height"] <= height, "film, questions and the way on without scrolling"
    for question in PROTOCOLS[protocol].questions:
        tab.tap(f"label:has(input[name={question.name}])")
    assert tab.locator("input:checked").count() == len(PROTOCOLS[protocol].questions)
    context.close()


def test_two_fingers_move_and_zoom_and_reset_brings_back(studies, browser):
    context = browser.new_context(viewport={"width": 1024, "height": 768}, has_touch=True)
    tab = context.new_page()
    tab.goto(f"{studies['cars']}/1")
    tab.wait_for_load_state()
    session = context.new_cdp_session(tab)

    def touch(kind, *points):
        at = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    touch("touchStart", (250, 300), (350, 300))
    touch("touchMove", (200, 300), (400, 300))
    tab.wait_for_function("document.querySelector('output.window').textContent.includes('2.0×')")
    before = tab.locator(".port img").bounding_box()
    touch("touchMove", (260, 340), (460, 340))  # moves come with the next frame
    there = "([x, y]) => { const r = document.querySelector('.port img').getBoundingClientRect(); return Math.hypot(r.x - x, r.y - y) < 2; }"
    tab.wait_for_function(there, arg=[before["x"] + 60, before["y"] + 40])
    touch("touchEnd")
    tab.tap("text=Invert")
    assert tab.get_attribute("[data-invert]", "aria-pressed") == "true"
    tab.tap("text=Reset view")
    assert tab.inner_text("output.window") == "W 255 L 128 · 1.0×"
    context.close()


def test_reading_works_without_javascript(server, run, browser):
    study = create_study(run, run / "readers" / "cars.sqlite", cases=3, repeats=0, is_simulated=True)
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{server.base}/read/{study.links()[1]}")
    tab.click("text=Begin")
    for _ in range(3):
        tab.check("input[value=real]")
        tab.check("input[value=full]")
        tab.click("text=Save and go on")
    assert "All 3 answers are saved" in tab.inner_text("main")
    context.close()
    assert study.progress(1) == (3, 3, None)
