#!/usr/bin/python3
"""Opens the pages of `pvmmu` in a real Chromium, as a reader would: light and dark, by keys, with no network.

    ci/pages.py FOLDER      checks FOLDER/replay.html and FOLDER/violation.html, and leaves screenshots beside them

Each page has to be drawn without a complaint in the console and without asking for anything but itself; keys, buttons and
the choice of a series have to move what is shown. The last step plants a page that asks for something, and a script that
stops, and has to find both.
"""
import json
import pathlib
import sys

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.chrome.service import Service

WIDTH, HEIGHT = 1280, 900
# What the browser would ask of a network by itself.
QUIET = ("--no-first-run", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync")


def browser():
    options = webdriver.ChromeOptions()
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={WIDTH},{HEIGHT}", "--hide-scrollbars", *QUIET):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)


def open_page(driver, path):
    """Opens the page and answers with what is wrong about how it came up."""
    for log in ("browser", "performance"):
        driver.get_log(log)
    address = path.resolve().as_uri()
    driver.get(address)
    # What a page does after it is loaded it does in these frames.
    driver.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))")
    faults = [f"console: {entry['message']}" for entry in driver.get_log("browser")]
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] != "Network.requestWillBeSent":
            continue
        asked = message["params"]["request"]["url"]
        if asked != address and not asked.startswith("data:"):
            faults.append(f"asks for {asked}")
    return faults


class Page:
    """A page with a timeline, by what it says of itself."""

    def __init__(self, driver):
        self.driver = driver
        self.canvas = driver.find_element(By.TAG_NAME, "canvas")

    def view(self):
        start, end = self.canvas.get_attribute("data-view").split()
        return float(start), float(end)

    def cursor(self):
        return float(self.canvas.get_attribute("data-cursor"))

    def said(self):
        return self.driver.find_element(By.TAG_NAME, "output").text

    def drawn(self):
        return self.driver.execute_script("return document.documentElement.dataset.drawn")

    def press(self, *keys):
        for key in keys:
            self.canvas.send_keys(key)

    def colours(self):
        """How many colours the canvas shows: one where nothing is drawn."""
        return self.driver.execute_script(
            "const c = document.querySelector('canvas');"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, seen = new Set();"
            "for (let i = 0; i < d.length; i += 4) if (d[i + 3]) seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]);"
            "return seen.size")


def scheme(driver, name):
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}]})


def ground(driver):
    return driver.execute_script("return getComputedStyle(document.body).backgroundColor")


def screenshots(driver, path):
    """The whole page, light and dark; answers with the two grounds."""
    grounds = []
    for name in ("light", "dark"):
        scheme(driver, name)
        height = driver.execute_script("return document.documentElement.scrollHeight")
        driver.set_window_size(WIDTH, height + 150)
        driver.save_screenshot(str(path.with_name(f"{path.stem}-{name}.png")))
        grounds.append(ground(driver))
    scheme(driver, "light")
    driver.set_window_size(WIDTH, HEIGHT)
    return grounds


def check(what, holds):
    if not holds:
        sys.exit(f"pages: {what}")


def come_up(driver, path):
    faults = open_page(driver, path)
    check(f"{path.name}: {'; '.join(faults)}", not faults)
    page = Page(driver)
    check(f"{path.name}: the timeline is not drawn", page.colours() > 5)
    light, dark = screenshots(driver, path)
    check(f"{path.name}: light and dark have one ground, {light}", light != dark)
    overflow = driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    check(f"{path.name}: {overflow} pixels wider than the window", overflow <= 0)
    return page


def reach_by_tab(driver):
    """Whether the canvas can be reached by the Tab key alone."""
    body = driver.find_element(By.TAG_NAME, "body")
    body.click()
    for _ in range(40):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        if driver.switch_to.active_element.tag_name == "canvas":
            return True
    return False


def replay(driver, path):
    page = come_up(driver, path)
    check("Tab does not reach the timeline", reach_by_tab(driver))
    whole = page.view()
    page.press("h")
    check(f"`h` leads to no hypercall: {page.said()}", "hypercall" in page.said())
    first = page.cursor()
    page.press("h")
    check("a second `h` stays", page.cursor() > first)
    page.press("g")
    check("`g` does not lead back", page.cursor() == first)
    page.press("+", "+", "+")
    check(f"`+` does not come closer: {page.view()}", page.view()[1] - page.view()[0] < (whole[1] - whole[0]) / 7)
    before = page.view()
    page.press(*[Keys.SHIFT + Keys.ARROW_RIGHT] * 3)
    check("Shift and the arrow do not move the view", page.view()[0] > before[0])
    page.press("0")
    check("`0` does not show all of it", page.view() == whole)
    series = driver.find_elements(By.CSS_SELECTOR, "input[name=series]")
    check(f"{len(series)} courses, not the recorder's and three replays", len(series) == 4)
    series[3].click()
    check(f"the choice of a course is not taken: {page.drawn()}", page.drawn() == "pv-mmu, ported")
    deepest = driver.execute_script("return document.querySelectorAll('.bars').length")
    check("the tables of causes and sizes are not both there", deepest == 2)


def violation(driver, path):
    page = come_up(driver, path)
    check(f"the finding is not said at once: {page.said()}", "found: R9" in page.said())
    found = page.cursor()
    page.press(Keys.HOME)
    check("Home does not lead to the beginning", page.cursor() == 0)
    page.press("n")
    check("`n` does not lead to the finding", page.cursor() == found)
    page.press(Keys.HOME)
    driver.find_element(By.CSS_SELECTOR, "button[data-at]").click()
    check("the button does not lead to the finding", page.cursor() == found)
    check("the timeline has not the focus then", driver.switch_to.active_element.tag_name == "canvas")
    rows = driver.find_elements(By.CSS_SELECTOR, ".way tr[data-at]")
    rows[2].click()
    check(f"a row does not lead to its moment: {page.cursor()}", page.cursor() == 3)
    check("the row is not marked", "current" in rows[2].get_attribute("class"))
    check("the last row is not the finding's", "found" in rows[-1].get_attribute("class"))
    check("the schedule is not shown", "--schedule" in driver.find_element(By.CSS_SELECTOR, ".finding").text)


def planted(driver, folder):
    """What the checks above exist for has to be found."""
    good = (folder / "violation.html").read_text()
    asking = folder / "planted-asking.html"
    asking.write_text(good.replace("default-src 'none'", "default-src *").replace("</h1>", '</h1><img src="other.png">'))
    check("a page that asks for something is not found", any("other.png" in fault for fault in open_page(driver, asking)))
    stopped = folder / "planted-stopped.html"
    stopped.write_text(good.replace("function draw() {", "function draw() { undefined.width;", 1))
    check("a script that stops is not found", any("console" in fault for fault in open_page(driver, stopped)))
    for page in (asking, stopped):
        page.unlink()


def main():
    folder = pathlib.Path(sys.argv[1])
    driver = browser()
    try:
        replay(driver, folder / "replay.html")
        violation(driver, folder / "violation.html")
        planted(driver, folder)
    finally:
        driver.quit()
    print(f"pages: drawn and led by keys in Chromium, light and dark, with no network; screenshots in {folder}")


main()
