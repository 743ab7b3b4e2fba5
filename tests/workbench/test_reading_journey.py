"""A whole reading session in a real browser: keys, a reload, a killed server, another reader's order."""

import sqlite3

from synthorax.readers import Study, create_study


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
