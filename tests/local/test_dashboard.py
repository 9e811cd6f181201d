"""The live page in a real browser: what it shows, what it asks for, how it is used, and that it comes back."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from deployments.ingress import Ingress
from deployments.settings import AppArgs
from tests.local.served import free_port, served, until

CHROMIUM = shutil.which(os.environ.get("ADASPEC_CHROMIUM", ""))
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="ADASPEC_CHROMIUM names no browser (Debian: apt-get install chromium-headless-shell)"
)
LAPTOP, PHONE = (1440, 900), (390, 844)
LONG = {"prompt": "a b c", "max_tokens": 4000, "stream": True}


@pytest.fixture
def args() -> AppArgs:
    policy = {"name": "slo_goodput", "params": {}}
    engine = {"kind": "fake", "step_ms": 10, "draft_ms": 0.2, "step_token_ms": 0.1, "safe_policy": policy}
    return AppArgs.model_validate({"engine": engine, "tracing": {"exporter": "off"}})


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        await browser.close()


@pytest.fixture
async def loaded(ingress: Ingress, port: int) -> AsyncIterator[str]:
    """The page's address, with requests decoding for as long as the test takes."""

    async def requests() -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while True:
                await client.post("/v1/completions", json=LONG)

    async with served(ingress, port):
        load = asyncio.create_task(requests())
        yield f"http://127.0.0.1:{port}/dashboard"
        load.cancel()
        await asyncio.wait([load])


async def opened(browser: Browser, url: str, size: tuple[int, int] = LAPTOP, scheme: Any = "light") -> Page:
    viewport: Any = {"width": size[0], "height": size[1]}
    page = await browser.new_page(viewport=viewport, color_scheme=scheme)
    await page.goto(url)
    await page.wait_for_selector("#replicas tbody tr")
    return page


async def text(page: Page, selector: str) -> str:
    return str(await page.inner_text(selector))


async def test_it_shows_the_policy_at_work_and_asks_nobody_else(loaded: str, browser: Browser) -> None:
    page = await browser.new_page()
    hosts, errors = set[str](), list[str]()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    await page.goto(loaded)
    await expect(page.locator("#whatif tbody tr")).to_have_count(6)
    await expect(page.locator("#why")).to_contain_text(re.compile("draft|plain"))
    assert "slo_goodput" in await text(page, "#replicas tbody")
    assert await text(page, "#link") == "live"
    assert "slo_goodput" in await text(page, "#reloads")
    assert hosts - {""} == {urlsplit(loaded).netloc}  # "": data in the page itself
    assert errors == []


@pytest.mark.parametrize("size", [LAPTOP, PHONE])
async def test_it_fits_and_follows_the_system_theme(loaded: str, browser: Browser, size: tuple[int, int]) -> None:
    shades = []
    for scheme in ("light", "dark"):
        page = await opened(browser, loaded, size, scheme)
        wide = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0
        shades.append(await page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor"))
    assert len(set(shades)) == 2


async def test_the_keyboard_is_enough(loaded: str, browser: Browser) -> None:
    page = await opened(browser, loaded)
    await page.focus("#replicas tbody tr")
    await page.keyboard.press("Enter")
    assert await page.get_attribute("#replicas tbody tr", "aria-selected") == "true"
    await page.keyboard.press("5")
    assert await page.is_checked("input[name=range][value='300']")
    await page.keyboard.press("p")
    assert await page.get_attribute("#pause", "aria-pressed") == "true"
    await page.focus("#charts-speculation canvas")
    await page.keyboard.press("ArrowLeft")
    assert "K, mean" in str(await page.get_attribute("#charts-speculation canvas", "aria-label"))


async def test_what_if_follows_the_objective(loaded: str, browser: Browser) -> None:
    page = await opened(browser, loaded)
    await expect(page.locator("#whatif tbody tr")).to_have_count(6)
    await page.fill("#slo", "1")
    goodput = "[...document.querySelectorAll('#whatif tbody tr')].map(r => r.lastElementChild.textContent)"
    assert set(await page.evaluate(goodput)) == {"0"}


async def test_nobody_watches_when_the_page_is_closed(loaded: str, browser: Browser, ingress: Ingress) -> None:
    page = await opened(browser, loaded)
    assert ingress._page.readers == 1
    await page.close()
    await until(lambda: ingress._page.readers == 0)


async def test_it_reconnects(ingress: Ingress, port: int, browser: Browser) -> None:
    async with served(ingress, port):
        page = await opened(browser, f"http://127.0.0.1:{port}/dashboard")
    await expect(page.locator("#link")).to_have_text("reconnecting", timeout=30_000)
    async with served(ingress, port):
        await expect(page.locator("#link")).to_have_text("live", timeout=30_000)
