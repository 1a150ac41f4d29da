"""The page in a browser: what it draws, and what its controls do."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.viewer.page import write_page
from pcdet.viewer.scene import Pane, Scene
from viewer.browser import chromium, complaints, open_page, pixels, requested_urls, wait_for
from viewer.made_scenes import CLASSES, car, drawn, ground, two_scenes

BACKGROUND = (13, 17, 23)


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("view") / "view.html"
    write_page(two_scenes(), CLASSES, path, "two frames")
    return path


@pytest.fixture
def page(browser, page_file):
    open_page(browser, page_file)
    return browser


def shown(browser, pane=0):
    return browser.execute_script("return viewer.state()")["panes"][pane]


def set_control(browser, name, value, event="input"):
    browser.execute_script(
        "const control = document.getElementById(arguments[0]);"
        "control.value = arguments[1];"
        "control.dispatchEvent(new Event(arguments[2]));",
        *(name, value, event),
    )


def press(browser, key):
    browser.execute_script("dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0]}))", key)


def drawn_share(picture):
    return (np.abs(picture.astype(int) - BACKGROUND).max(axis=2) > 24).mean()


def test_the_first_frame_is_drawn_and_no_request_leaves_the_file(page, page_file):
    state = page.execute_script("return viewer.state()")
    assert state["frame"] == "000000" and state["score"] == 0.3 and state["points"] == [6000]
    expected = {"found": 1, "missed": 1, "ignored": 2, "hit": 1, "false positive": 1}
    assert {key: shown(page).get(key) for key in expected} == expected
    assert 0.01 < drawn_share(pixels(page, ".pane .scene")) < 0.9
    assert drawn_share(pixels(page, "#image")) > 0.9
    assert complaints(page) == []
    urls = requested_urls(page)
    assert page_file.as_uri() in urls
    own = (page_file.as_uri(), "about:blank", "data:", "blob:")
    assert [url for url in urls if not url.startswith(own)] == []


def test_box_colours_are_on_the_canvas(page):
    """The missed car is yellow, the hit sky blue; without boxes neither colour is there."""
    yellow, blue = np.array((240, 228, 66)), np.array((86, 180, 233))

    def count(colour):
        distance = np.abs(pixels(page, ".pane .scene").astype(int) - colour).max(axis=2)
        return (distance < 40).sum()

    assert count(yellow) > 50 and count(blue) > 50
    for key in ("missed", "hit"):
        page.find_element("css selector", f'[data-key="{key}"]').click()
    wait_for(page, "!viewer.state().panes[0].missed && !viewer.state().panes[0].hit")
    assert count(yellow) == 0 and count(blue) == 0


def test_the_score_slider_hides_detections_and_turns_found_into_missed(page):
    set_control(page, "score", 0.5)
    assert (shown(page)["boxes"], "false positive" in shown(page)) == (5, False)
    set_control(page, "score", 0.95)
    assert (shown(page)["boxes"], shown(page)["missed"]) == (3, 2)
    press(page, "-")
    assert page.execute_script("return viewer.state()")["score"] == pytest.approx(0.9)
    assert (shown(page)["found"], shown(page)["missed"]) == (1, 1)


def test_the_frame_slider_and_the_arrow_keys_change_the_frame(page):
    before = pixels(page, ".pane .scene")
    press(page, "ArrowRight")
    wait_for(page, "document.body.dataset.shown == '000001'")
    assert shown(page)["boxes"] == 2
    assert (pixels(page, ".pane .scene") != before).any()
    set_control(page, "frame", 0)
    wait_for(page, "document.body.dataset.shown == '000000'")
    assert shown(page)["boxes"] == 6


def test_keys_that_come_fast_end_at_the_last_frame(page):
    page.execute_script(
        "for (const key of ['ArrowRight', 'ArrowLeft', 'ArrowRight', 'ArrowLeft', 'ArrowRight'])"
        "  dispatchEvent(new KeyboardEvent('keydown', {key}));"
    )
    wait_for(page, "document.body.dataset.shown == '000001'")
    page.execute_async_script("queue.then(arguments[0])")
    state = page.execute_script("return viewer.state()")
    assert (state["frame"], state["panes"][0]["boxes"]) == ("000001", 2)
    positions = "viewer.panes[0].k3d.getWorld().ObjectsListJson[1].positions.data"
    same = f"cloudOf(1, 0).then((cloud) => done(cloud.positions === {positions}))"
    assert page.execute_async_script(f"const done = arguments[0]; {same}")


def test_a_frame_that_cannot_be_drawn_costs_no_other(page):
    page.execute_script("document.getElementById('image-1').textContent = 'data:image/png,'")
    press(page, "ArrowRight")
    name = "document.getElementById('frame-name').textContent"
    wait_for(page, f"{name}.startsWith('000001 cannot be drawn: ')")
    press(page, "ArrowLeft")
    wait_for(page, f"{name} == '000000 (1 of 2)' && viewer.state().panes[0].hit == 1")


def test_views_differ_and_all_show_the_scene(page):
    pictures = []
    for view in ("orbit", "top", "camera"):
        page.find_element("css selector", f'[data-view="{view}"]').click()
        wait_for(page, f"viewer.state().view == '{view}'")
        pictures.append(pixels(page, ".pane .scene"))
        assert drawn_share(pictures[-1]) > 0.005, view
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert (pictures[first] != pictures[second]).any(axis=2).mean() > 0.01


def test_hovering_tells_class_score_and_points(page):
    from selenium.webdriver import ActionChains

    # The middle of the detection on the first car, in the page's own projection.
    x, y = page.execute_script(
        "const box = scene().panes[0].boxes[3];"
        "return paneProjection(viewer.panes[0])(middleOf(box));"
    )
    pane = page.find_element("css selector", ".pane")
    left, top = x - pane.size["width"] / 2, y - pane.size["height"] / 2
    ActionChains(page).move_to_element_with_offset(pane, left, top).perform()
    told = wait_for(page, "viewer.state().tooltip")
    assert told.startswith("Car") and "points, 12.0 m away" in told
    assert "3.90 × 1.60 × 1.50 m" in told
    ActionChains(page).move_to_element_with_offset(pane, 0, -pane.size["height"] / 2 + 5).perform()
    wait_for(page, "viewer.state().tooltip === null")


def test_the_list_jumps_to_a_miss(page):
    assert page.execute_script("return viewer.state()")["listed"] == 1
    before = pixels(page, ".pane .scene")
    page.find_element("css selector", "#list li").click()
    wait_for(page, "viewer.state().selected && viewer.state().selected.k == 1")
    assert page.find_element("css selector", "#list li").get_attribute("class") == "on"
    assert (pixels(page, ".pane .scene") != before).any()
    set_control(page, "score", 0.95)
    points = [e.text for e in page.find_elements("css selector", "#list li span:last-child")]
    counts = [int(text.split()[0]) for text in points]
    assert len(counts) == 3 and counts == sorted(counts, reverse=True)


def test_a_class_and_other_classes_can_be_hidden(page):
    page.find_element("css selector", '[data-key="class Car"]').click()
    wait_for(page, "viewer.state().panes[0].boxes == 1")
    page.find_element("css selector", '[data-key="class other classes"]').click()
    wait_for(page, "viewer.state().panes[0].boxes == 0")


def test_a_link_opens_a_frame_a_view_and_a_score(browser, page_file):
    open_page(browser, page_file, "#frame=000001&view=top&score=0.6")
    state = browser.execute_script("return viewer.state()")
    assert (state["frame"], state["view"], state["score"]) == ("000001", "top", 0.6)
    assert shown(browser) == {"title": "run 0", "boxes": 1, "missed": 1}


def test_two_results_stand_side_by_side_under_one_camera(browser, tmp_path):
    write_page(two_scenes(num_panes=2), CLASSES, tmp_path / "two.html", "two runs")
    open_page(browser, tmp_path / "two.html")
    assert (shown(browser, 0)["found"], shown(browser, 1)["found"]) == (1, 1)
    cameras = "viewer.panes.map((pane) => pane.k3d.getWorld().camera.position.toArray())"
    browser.execute_script("viewer.panes[1].k3d.setCamera([-20, 5, 9, 10, 0, 0, 0, 0, 1])")
    first, second = browser.execute_script(f"return {cameras}")
    assert first == pytest.approx([-20, 5, 9], abs=1e-3)
    assert second == pytest.approx(first, abs=1e-3)
    kinds = [e.text for e in browser.find_elements("css selector", "#list-kind option")]
    assert kinds[-2:] == ["found by run 0, missed by run 1", "found by run 1, missed by run 0"]
    for kind, wanted in ((kinds[-2], "0,0"), (kinds[-1], "0,1")):
        set_control(browser, "list-kind", kind, "change")
        entries = "viewer.entries().map((entry) => [entry.frame, entry.k].join())"
        assert wanted in browser.execute_script(f"return {entries}")
    assert complaints(browser) == []


def test_controls_without_anything_behind_them_are_hidden(browser, page_file, tmp_path):
    truth = drawn([car(12, 0)], ["Car"])
    scene = Scene("000000", [Pane("labels", ground(100), truth)])
    write_page([scene], CLASSES, tmp_path / "labels.html", "labels alone")
    names = ('[data-view="camera"]', "#score-keys", "#score", '[data-key="class other classes"]')
    for path, there in ((tmp_path / "labels.html", False), (page_file, True)):
        open_page(browser, path)
        found = [browser.find_elements("css selector", name) for name in names]
        assert [any(e.is_displayed() for e in elements) for elements in found] == [there] * 4


def test_without_webgl_the_page_says_so(page_file):
    with chromium("--disable-gpu", "--disable-3d-apis") as browser:
        browser.get(page_file.as_uri())
        assert wait_for(browser, "document.body && document.body.dataset.ready") == "failed"
        assert "WebGL must be switched on" in browser.find_element("css selector", ".failure").text
