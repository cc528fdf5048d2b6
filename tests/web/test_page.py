"""The page in a real browser: pictures are dropped on it, and what it shows is looked at.

WEB_SHOTS=folder keeps the screenshots, to be looked at by somebody.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.web.browser import browser
from tests.web.served import CONFIG, Served

WIDE, PHONE = (1280, 900), (390, 844)
BADGES = "[...document.querySelectorAll('.badge')].map((each) => each.textContent).sort().join()"
SHOWN = """[...document.querySelectorAll('.preview img')].filter((each) => each.complete && each.naturalWidth).length"""
OVERFLOWS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("WEB_SHOTS", tmp_path / "shots"))
    folder.mkdir(exist_ok=True)
    return folder


async def test_pictures_that_are_dropped_go_through_the_chain_and_show_it(
    tmp_path: Path, photograph: Path, shots: Path
) -> None:
    config = CONFIG.replace("resizes:", "quality: 98\nenable-guetzli: true\nresizes:").replace("500", "160")
    broken, text = tmp_path / "cut-off.jpg", tmp_path / "notes.txt"
    broken.write_bytes(photograph.read_bytes()[:100_000])  # noqa: ASYNC240 - nothing else runs yet
    text.write_text("no picture at all")
    with Served(tmp_path, config=config) as served, browser(tmp_path) as tab:
        await tab.open(served.url, *WIDE)
        await tab.wait("document.getElementById('limits').textContent.includes('4.0 MB')")
        await tab.screenshot(shots / "empty.png")
        await tab.drop(photograph)
        await tab.wait("document.querySelector('.steps li.waiting') !== null")
        await tab.screenshot(shots / "waiting.png")
        served.work()
        await tab.choose("#files", broken, text)
        await tab.wait(f"{BADGES} === 'done,failed,failed'")
        await tab.wait(f"{SHOWN} === 1")
        errors = await tab.value("[...document.querySelectorAll('.error')].map((each) => each.textContent).join('|')")
        assert "thumbnails: the JPEG is damaged: it ends before its last row." in errors
        assert "does not begin as a JPEG" in errors
        table = await tab.value("document.querySelector('.card:last-child tbody').innerText")
        assert "160 px JPEG" in table
        assert "%" in table, "bytes before and after"
        assert await tab.value("document.getElementById('summary').textContent") == "1 done, 2 failed"
        await tab.screenshot(shots / "wide.png")
        await tab.size(*PHONE)
        assert await tab.value(OVERFLOWS) == 0
        await tab.screenshot(shots / "phone.png")
        await tab.ask("Page.reload")
        await tab.wait(f"{BADGES} === 'done,failed'")  # what never got an id is forgotten
        assert [each for each in tab.complaints() if " 415 " not in each] == []


async def test_it_says_that_the_daemon_is_away_and_goes_on(
    served: Served, photograph: Path, tmp_path: Path, shots: Path
) -> None:
    with browser(tmp_path) as tab:
        await tab.open(served.url, *PHONE)
        served.daemon.stop()
        await tab.choose("#files", photograph)
        await tab.wait("document.querySelector('.now')?.textContent.includes('the job server cannot be reached')")
        await tab.screenshot(shots / "away.png")
        served.daemon.start()
        served.work()
        await tab.wait(f"{BADGES} === 'done'")


async def test_a_token_is_asked_for_and_used(tmp_path: Path, photograph: Path, shots: Path) -> None:
    (tmp_path / "token").write_text("open-sesame")
    (tmp_path / "token").chmod(0o600)
    with Served(tmp_path, "token-file: token") as served, browser(tmp_path) as tab:
        await tab.open(served.url, *WIDE)
        await tab.wait("!document.getElementById('token-form').hidden")
        await tab.choose("#files", photograph)
        await tab.wait("document.querySelector('.now')?.textContent.includes('waits for the token')")
        await tab.screenshot(shots / "token.png")
        await tab.value("document.getElementById('token').value = 'open-sesame'")
        await tab.value("document.getElementById('token-form').requestSubmit()")
        await tab.wait("document.querySelector('.steps li') !== null")


async def test_a_picture_that_is_too_large_is_not_even_sent(served: Served, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(b"\xff\xd8\xff" + bytes(5_000_000))
    with browser(tmp_path) as tab:
        await tab.open(served.url, *WIDE)
        await tab.wait("document.getElementById('limits').textContent.includes('4.0 MB')")
        await tab.choose("#files", large)
        await tab.wait("document.querySelector('.error')?.textContent.includes('4.0 MB are the most')")


async def test_a_name_with_markup_is_shown_as_it_is(served: Served, photograph: Path, tmp_path: Path) -> None:
    name = "<img src=x onerror=document.title='hurt'>.jpg"
    shutil.copy(photograph, tmp_path / name)
    with browser(tmp_path) as tab:
        await tab.open(served.url, *WIDE)
        await tab.choose("#files", tmp_path / name)
        await tab.wait("document.querySelector('.steps li') !== null")
        assert await tab.value("document.querySelector('.card h2').textContent") == name
        assert await tab.value("document.title") == "Pictures"
