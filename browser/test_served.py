"""The page as it is served: what it lets in, what it gives out, and to whom."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

import httpx
from gradio_client import Client

from counterflow.app import sources
from counterflow.app.page import WAITING
from counterflow.edit.editor import Editor
from counterflow.toybox.captions import caption
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample
from serving import STEPS, edited, serving, values
from tools import SCENE, SOURCE, TARGETS

API = "gradio_api"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the served page has its files."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def url(folder: Path, model: str) -> Iterator[str]:
    """The page on a tiny model."""
    with serving(folder, "--model", model) as page:
        yield page.url


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "bear.png"
    render(SCENE, 64).save(path)
    return path


def test_ten_visitors_queue_and_each_sees_their_own(url: str, tmp_path: Path) -> None:
    scenes = [sample(seed) for seed in range(10)]
    files = []
    for n, scene in enumerate(scenes):
        files.append(tmp_path / f"scene-{n}.png")
        render(scene, 64).save(files[-1])

    def visit(n: int) -> tuple[bytes, dict[str, Any]]:
        return edited(url, files[n], caption(scenes[n]), f"{caption(scenes[n])} number {n}")

    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(visit, range(10)))
    for n, (_, record) in enumerate(results):
        assert record["target"].endswith(f"number {n}")
        assert record["image"] == f"scene-{n}.png"
        assert record["image_sha256"] == sources.digest(files[n])
    assert len({data for data, _ in results}) == 10


def test_no_file_of_the_machine_is_served(url: str, picture: Path) -> None:
    for path in ("/etc/passwd", str(picture), "../../../etc/passwd", str(Path.cwd() / "README.md")):
        for route in (f"{API}/file={path}", f"{API}/file/{path}"):
            answer = httpx.get(f"{url}{route}")
            assert answer.status_code in (403, 404), (route, answer.status_code)


def test_a_path_in_place_of_an_upload_is_refused(url: str, picture: Path) -> None:
    """Sent past Gradio's client, which would upload that file of its own machine."""
    client = Client(url, verbose=False)
    (edit,) = (each for each in client.config["dependencies"] if each["api_name"] == "edit")
    given = values(client, picture, SOURCE, TARGETS[0])
    for path in ("/etc/passwd", str(picture)):
        given[0] = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = {"data": given, "fn_index": edit["id"], "session_hash": "thief"}
        assert httpx.post(f"{url}{API}/queue/join", json=body).status_code == 200
        told = {"session_hash": "thief"}
        with httpx.stream("GET", f"{url}{API}/queue/data", params=told, timeout=60) as answer:
            lines = [json.loads(line[6:]) for line in answer.iter_lines() if line[:6] == "data: "]
        (end,) = (each for each in lines if each["msg"] == "process_completed")
        assert not end["success"], end


def test_an_address_in_place_of_an_upload_is_not_fetched(url: str, picture: Path) -> None:
    client = Client(url, verbose=False)
    given = values(client, picture, SOURCE, TARGETS[0])
    given[0] = {"path": f"{url}favicon.ico", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match="Give the picture itself"):
        client.predict(*given, api_name="/edit")


@pytest.mark.fault("25")
def test_an_upload_is_bounded(url: str) -> None:
    data = bytes(sources.MOST_BYTES + 1)
    answer = httpx.post(f"{url}{API}/upload", files={"files": ("large.png", data)}, timeout=60)
    assert answer.status_code == 413
    small = httpx.post(f"{url}{API}/upload", files={"files": ("small.png", b"x")})
    assert small.status_code == 200


@pytest.mark.fault("25")
def test_a_full_queue_says_so(url: str, picture: Path) -> None:
    """While the model is at a long work, more visitors than may wait."""
    client = Client(url, verbose=False)
    config = client.config
    (edit,) = (each for each in config["dependencies"] if each["api_name"] == "edit")
    upload = httpx.post(f"{url}{API}/upload", files={"files": ("a.png", picture.read_bytes())})
    data = values(client, picture, SOURCE, TARGETS[0], steps=1000)
    data[0] = {"path": upload.json()[0], "meta": {"_type": "gradio.FileData"}}
    answers = []
    for n in range(WAITING + 3):
        body = {"data": data, "fn_index": edit["id"], "session_hash": f"many{n}"}
        answers.append(httpx.post(f"{url}{API}/queue/join", json=body))
    codes = [each.status_code for each in answers]
    assert codes.count(200) in (WAITING, WAITING + 1)
    assert codes[-1] == 503 and "full" in answers[-1].text.lower()
    for n, answer in reversed(list(enumerate(answers))):
        if answer.status_code == 200:
            body = {"fn_index": edit["id"], "session_hash": f"many{n}", **answer.json()}
            httpx.post(f"{url}{API}/cancel", json=body, timeout=60)
    edited(url, picture, SOURCE, TARGETS[0])  # the long work was given up


@pytest.mark.fault("25")
def test_a_tab_that_is_gone_leaves_nothing(url: str, folder: Path, picture: Path) -> None:
    before = sessions(folder)
    client = Client(url, verbose=False)
    own = picture.with_name("gone.png")
    render(sample(77), 64).save(own)
    client.predict(*values(client, own, SOURCE, TARGETS[0]), api_name="/edit")
    (mine,) = sessions(folder) - before
    assert list(mine.rglob("*.png"))
    with httpx.stream("GET", f"{url}{API}/heartbeat/{client.session_hash}") as heartbeat:
        next(heartbeat.iter_bytes())
    for _ in range(200):
        if not mine.exists():
            break
        time.sleep(0.1)
    assert not mine.exists()
    assert not list(folder.rglob("*gone*")), "what it uploaded is gone, too"


@pytest.mark.fault("25")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_it_ends(
    model: str, picture: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Of edits, uploads and all, while a tab is open and an edit runs."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    with serving(folder, "--model", model, ends=number) as page:
        edited(page.url, picture, SOURCE, TARGETS[0])
        client = Client(page.url, verbose=False)
        given = values(client, picture, SOURCE, TARGETS[0], steps=1000)
        job = client.submit(*given, api_name="/edit")
        while not job.outputs():
            time.sleep(0.1)
        assert any(folder.iterdir())
    assert not list(folder.iterdir())


def sessions(folder: Path) -> set[Path]:
    """The folders of open tabs."""
    return set(folder.glob("counterflow-app-*/sessions/*"))


def test_nothing_is_fetched_from_elsewhere_and_nothing_is_told(url: str) -> None:
    html = httpx.get(url).text
    assert "fonts.googleapis" not in html and "cdnjs" not in html
    config = json.loads(httpx.get(f"{url}config").text)
    assert not config.get("analytics_enabled") and not config.get("share")
    theme = httpx.get(f"{url}theme.css").text
    assert "http" not in theme.replace("http://www.w3.org", "")
    assert httpx.get(f"{url}monitoring").status_code in (403, 404)


def test_a_taken_port_is_told(url: str, model: str) -> None:
    port = int(url.rstrip("/").rpartition(":")[2])
    command = [sys.executable, "-m", "counterflow", "app", "--model", model, "--port", str(port)]
    run = subprocess.run([*command, "--no-browser"], capture_output=True, text=True)
    assert run.returncode == 2 and f"port {port}" in run.stderr, run.stderr


def test_the_page_makes_the_library_s_picture(url: str, model: str, picture: Path) -> None:
    data, record = edited(url, picture, SOURCE, TARGETS[0])
    editor = Editor.load(model, device="cpu")
    inversion = editor.invert(picture, SOURCE, "euler", steps=STEPS)
    ours = editor.edit(inversion, TARGETS[0]).image
    page = np.asarray(Image.open(io.BytesIO(data)), int)
    assert np.abs(page - np.asarray(ours, int)).max() <= 1
    assert record["identity"] == editor.backbone.identity


def test_a_password_is_asked_for(model: str, tmp_path: Path, monkeypatch: Any) -> None:
    options = ("--model", model, "--password", "let me in", "--host", "0.0.0.0")
    with serving(tmp_path, *options) as page:
        url = page.url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}config").status_code == 401
        upload = httpx.post(f"{url}{API}/upload", files={"files": ("a.png", b"x")})
        assert upload.status_code == 401
        wrong = httpx.post(f"{url}login", data={"username": "a", "password": "let me"})
        assert wrong.status_code == 400
        with httpx.Client() as visitor:
            right = {"username": "a", "password": "let me in"}
            assert visitor.post(f"{url}login", data=right).status_code == 200
            assert visitor.get(f"{url}config").status_code == 200
