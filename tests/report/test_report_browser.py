"""Report page in Chromium: slider, network requests, layout, contrast and keyboard."""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

NEEDS = "needs chromium and chromedriver: apt-get install chromium chromium-driver"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER) and os.environ.get("DASK_AESTHETIC_NEED_BROWSER") != "1":
    pytest.skip(NEEDS, allow_module_level=True)
pytest.importorskip("jinja2", reason="needs pip install 'dask-aesthetic[report]'")
Image = pytest.importorskip("PIL.Image", reason="needs pip install 'dask-aesthetic[report]'")
pytest.importorskip("selenium", reason="needs pip install 'dask-aesthetic[test]'")

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import dask_aesthetic  # noqa: F401
from helpers import tar_files
from helpers.hostile import page as hostile_page
from helpers.hostile import strings

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
)
# Every element with text of its own whose color stands out too little from what is behind it (WCAG 2.2, AA).
FAINT = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const color = parse(getComputedStyle(node).backgroundColor);
    if (color.length < 4 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
return [...document.querySelectorAll("body *")]
  .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
  .filter((node) => node.getClientRects().length)
  .map((node) => {
    const style = getComputedStyle(node), svg = node instanceof SVGElement;
    const pair = [light(parse(svg ? style.fill : style.color)), light(behind(node))].sort((a, b) => b - a);
    return [node.outerHTML.slice(0, 80), (pair[0] + 0.05) / (pair[1] + 0.05)];
  });
"""
ACTIVE = """
return [...document.querySelectorAll("*")].filter((node) =>
  ["IFRAME", "OBJECT", "EMBED", "FORM", "BASE", "FRAME"].includes(node.tagName.toUpperCase())
  || (node.tagName.toUpperCase() === "SCRIPT" && !ours.includes(node.textContent))
  || [...node.attributes].some(({ name, value }) => name.toLowerCase().startsWith("on") || name === "style"
    || (["href", "src", "xlink:href", "action"].includes(name.toLowerCase())
      && !/^(#|https?:[/][/]|data:,$|data:image[/]jpeg;base64,)/.test(value)))
).map((node) => node.outerHTML.slice(0, 200));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    assert CHROMIUM, NEEDS
    assert DRIVER, NEEDS
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    scores = np.random.default_rng(6).normal(4.9, 0.7, 3000).astype(np.float32)
    scores[:200] = (np.arange(200) / 100 + 4).astype(np.float32)  # At edges.
    return scores


@pytest.fixture(scope="module")
def report(scores, tmp_path_factory):
    file = io.BytesIO()
    Image.new("RGB", (320, 200), "seagreen").save(file, "JPEG")
    frame = pd.DataFrame({"key": [f"row-{at}" for at in range(len(scores))], "aesthetic_score": scores})
    frame = pd.concat([frame, pd.DataFrame({"key": ["failed"], "aesthetic_score": np.array([np.nan], "f4")})])
    frame["image"], frame["status"] = file.getvalue(), np.where(frame["key"] == "failed", "zero", "ok")
    frame["source"] = np.where(np.arange(len(frame)) % 3, "a rather long name of a source of images", "b")
    frame["url"] = "https://example.com/" + frame["key"] + "?a=1&b=2"
    options = {"image_column": "image", "url_column": "url", "by": "source", "status_column": "status"}
    return frame.aesthetic.report(tmp_path_factory.mktemp("page") / "report.html", predictor="laion-v2", **options)


@pytest.fixture
def page(browser, report):
    return opened(browser, report)


def opened(browser, path, width: int = 1280, height: int = 900, scheme: str = "light", script: bool = True):
    """Open the page with a width and a color scheme; the logs are empty before."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(path.as_uri())
    return browser


def requested(browser) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def shown(page) -> tuple[float, int, float]:
    """Threshold, rows kept and keep rate on the page."""
    texts = [page.find_element(By.ID, f"slider-{name}").text for name in ("value", "kept", "rate")]
    return float(texts[0]), int(texts[1].replace(",", "")), float(texts[2].rstrip("%"))


def assert_equals_numpy(page, scores) -> float:
    """Assert that the values on the page equal NumPy's at the page's threshold; return the threshold."""
    threshold, kept, rate = shown(page)
    assert kept == int((scores >= np.float32(threshold)).sum())
    assert rate == pytest.approx(100 * kept / len(scores), abs=0.0051)
    cards = page.execute_script("""
        return [...document.querySelectorAll("li.card")]
          .map((card) => [Number(card.dataset.score), card.querySelector(".verdict").innerText]);
    """)
    assert cards == [[score, "kept" if score >= np.float32(threshold) else "dropped"] for score, _ in cards]
    return threshold


def line(page) -> float:
    """Score at the threshold's line in the histogram."""
    return page.execute_script("""
        const plot = document.querySelector("#histogram"), slider = document.querySelector("#slider");
        const part = (plot.querySelector("line.threshold").x1.baseVal.value - plot.dataset.left)
          / (plot.dataset.right - plot.dataset.left);
        return (Number(slider.min) + part * (slider.max - slider.min)) / 100;
    """)


def test_slider_by_keyboard_equals_numpy(page, scores):
    assert assert_equals_numpy(page, scores) == 5.0
    slider = page.find_element(By.ID, "slider")
    low, high = (int(slider.get_attribute(end)) for end in ("min", "max"))
    for keys, at in [
        ([Keys.ARROW_RIGHT], 501),
        ([Keys.ARROW_RIGHT] * 24, 525),
        ([Keys.ARROW_LEFT] * 30, 495),
        ([Keys.HOME], low),
        ([Keys.ARROW_UP], low + 1),
        ([Keys.END], high),
        ([Keys.ARROW_DOWN], high - 1),
    ]:
        slider.send_keys(*keys)
        assert assert_equals_numpy(page, scores) == at / 100
        assert line(page) == pytest.approx(at / 100, abs=0.006)
        assert slider.get_attribute("aria-valuetext").startswith(f"{at / 100:.2f}, keeps ")
    page.find_element(By.ID, "reset").send_keys(Keys.ENTER)
    assert assert_equals_numpy(page, scores) == 5.0
    assert line(page) == pytest.approx(5, abs=0.006)


def test_slider_equals_numpy_at_every_hundredth(page, scores):
    values = page.execute_script("""
        const slider = document.querySelector("#slider"), values = [];
        for (let at = Number(slider.min); at <= slider.max; at++) {
          slider.value = at;
          slider.dispatchEvent(new Event("input"));
          values.push(["value", "kept"].map((name) => document.getElementById(`slider-${name}`).textContent));
        }
        return values;
    """)
    assert len(values) > 400
    for threshold, kept in values:
        assert int(kept.replace(",", "")) == (scores >= np.float32(threshold)).sum()


def test_slider_by_mouse(page, scores):
    slider = page.find_element(By.ID, "slider")
    seen = set()
    for part in (-0.4, -0.1, 0.2, 0.45):
        ActionChains(page).move_to_element_with_offset(slider, int(part * slider.size["width"]), 0).click().perform()
        seen.add(assert_equals_numpy(page, scores))
    ActionChains(page).click_and_hold().move_by_offset(-150, 0).release().perform()
    seen.add(assert_equals_numpy(page, scores))
    assert len(seen) == 5
    assert max(seen) - min(seen) > 2


def test_page_makes_no_request_and_logs_no_error(browser, report):
    page = opened(browser, report)
    page.find_element(By.ID, "slider").send_keys(Keys.END)
    assert browser.get_log("browser") == []
    urls = requested(browser)
    assert report.as_uri() in urls
    assert [url for url in urls if url != report.as_uri() and not url.startswith("data:")] == []
    images = page.execute_script("return [...document.images].map((one) => one.complete && one.naturalWidth)")
    assert len(images) > 50
    assert set(images) == {160}


def test_content_security_policy_blocks_other_scripts(page):
    refused = page.execute_async_script("""
        const done = arguments[0];
        document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
        document.body.appendChild(document.createElement("script")).textContent = "window.ran = true";
    """)
    assert refused == "script-src-elem"
    assert page.execute_script("return window.ran") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_its_width_with_enough_contrast(browser, report, tmp_path, width, scheme):
    page = opened(browser, report, width, scheme=scheme)
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    faint = [(html, ratio) for html, ratio in page.execute_script(FAINT) if ratio < 4.5]
    assert faint == []
    assert page.save_screenshot(str(tmp_path / "page.png"))
    with Image.open(tmp_path / "page.png") as image:
        assert image.width == width
        corner = image.convert("L").getpixel((3, 3))
        assert corner > 230 if scheme == "light" else corner < 40


@pytest.mark.parametrize("width", [390, 1280])
def test_images_from_tars_are_shown_and_missing_ones_are_told_in_words(browser, tmp_path, width):
    members = []
    for at in range(8):
        file = io.BytesIO()
        Image.new("RGB", (40 + 300 * (at % 2), 40 + 100 * (at % 3)), (30 * at, 90, 200 - 20 * at)).save(file, "PNG")
        members.append(tar_files.member(f"{at}.png", b"<html>" if at == 5 else file.getvalue()))
    tar_files.write(tmp_path / "tars/00000.tar", *members)
    frame = pd.DataFrame({"shard": ["00000"] * 8 + ["00001"] * 2, "key": [str(at) for at in range(10)]})
    frame["aesthetic_score"] = np.linspace(4.55, 5.45, 10).astype("f4")
    path = frame.aesthetic.report(tmp_path / "report.html", tars=tmp_path / "tars")
    page = opened(browser, path, width)
    sizes = page.execute_script("return [...document.images].map((one) => [one.naturalWidth, one.width, one.height])")
    assert len(sizes) >= 7
    for natural, shown_width, shown_height in sizes:
        assert natural
        assert max(shown_width, shown_height) <= 170
    words = page.execute_script("return [...document.querySelectorAll('.frame.none')].map((one) => one.innerText)")
    assert any("not an image of a known format" in text for text in words)
    assert any("there is no tar 00001 among" in text for text in words)
    inside = """
        return [...document.querySelectorAll(".frame")].every((one) => one.scrollWidth <= one.clientWidth + 1
          && one.scrollHeight <= one.clientHeight + 1);
    """
    assert page.execute_script(inside)
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert [url for url in requested(browser) if not url.startswith(("file:", "data:"))] == []


def test_page_without_script_has_all_but_the_slider(browser, report, scores):
    page = opened(browser, report, script=False)
    try:
        assert not page.find_element(By.ID, "panel").is_displayed()
        assert page.find_element(By.CSS_SELECTOR, "noscript p").is_displayed()
        assert page.find_element(By.ID, "histogram").is_displayed()
        kept = (scores >= np.float32(4.5)).sum()
        assert f"4.50 {kept:,} {kept / len(scores):.2%}" in page.find_element(By.ID, "rates").text
        assert "zero 1" in page.find_element(By.ID, "failures").text
        assert len(page.find_elements(By.CSS_SELECTOR, "li.card img")) > 50
    finally:
        opened(browser, report)


def test_tab_key_reaches_every_control_with_visible_focus(page):
    reached = []
    while len(reached) < 300:
        ActionChains(page).send_keys(Keys.TAB).perform()
        what = page.execute_script("""
            const node = document.activeElement, style = getComputedStyle(node);
            const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
            return [node.tagName, node.id, seen, [...document.querySelectorAll("*")].indexOf(node)];
        """)
        if what[0] == "BODY" or what in reached:
            break
        reached.append(what)
    assert {"slider", "reset"} <= {what[1] for what in reached}
    links = page.execute_script("return document.links.length")
    assert [what[0] for what in reached].count("A") == links
    assert [what for what in reached if not what[2]] == []


def test_document_structure(page):
    assert page.execute_script("return [document.documentElement.lang, document.title]") == ["en", "Aesthetic scores"]
    assert page.execute_script("return document.compatMode") == "CSS1Compat"
    levels = page.execute_script("return [...document.querySelectorAll('h1,h2,h3')].map((h) => Number(h.tagName[1]))")
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for selector in ("header", "main", "footer", "nav[aria-label]"):
        assert len(page.find_elements(By.CSS_SELECTOR, selector)) == 1
    assert page.find_elements(By.CSS_SELECTOR, "table:not(:has(caption)), th:not([scope]), img:not([alt])") == []
    ids = page.execute_script("return [...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))
    links = page.execute_script("return [...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.hash.slice(1))")
    assert set(links) <= set(ids)
    outside = page.find_elements(By.CSS_SELECTOR, "a[href^=http]")
    assert {one.get_attribute("rel") for one in outside} == {"noreferrer noopener"}


@pytest.fixture
def beacon():
    """Server that records every request."""
    requests = []

    class Note(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Note)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    thread.join()
    server.server_close()


def test_hostile_strings_are_escaped(browser, report, beacon, tmp_path):
    address, requests = beacon
    texts = strings(address)
    ours = opened(browser, report).execute_script(
        "return [...document.scripts].filter((one) => !one.type).map((one) => one.textContent)"
    )
    for seed, title in enumerate(texts[::8]):
        path = hostile_page(tmp_path / "page.html", texts, title, seed)
        page = opened(browser, path)
        counts = page.execute_script("return document.getElementById('counts').textContent")
        assert json.loads(counts)["scored"] == len(texts) - len(texts[::5])
        assert page.execute_script(f"const ours = {json.dumps([*ours, counts])};" + ACTIVE) == []
        assert browser.get_log("browser") == []
        assert [url for url in requested(browser) if not url.startswith(("file:", "data:"))] == []
        assert len(page.find_elements(By.CSS_SELECTOR, "#panel:not([hidden])")) == 1
        width = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]
    assert requests == []
    browser.get(f"{address}/here")
    assert "/here" in requests
