"A real JupyterLab server and a real Chromium, for tests that look at the page as a user does."
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

# what a page may say without being at fault: the server's answers while it starts or a kernel dies
HARMLESS = re.compile(r"favicon|websocket|WebSocket|Failed to load resource|Autosave|source map|Download the React")
SHOTS = Path(os.environ.get("SCGAN_NB_SCREENSHOTS", "out/screenshots"))


def why_not()->str:
    "Why there is no browser here; empty if there is one."
    if not shutil.which("chromium"): return "Chromium is not installed (Debian's package: chromium)"
    for package in ("playwright", "jupyterlab", "anywidget"):
        try: __import__(package)
        except ImportError: return f"{package} is not installed"
    return ""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    "A Jupyter server in a folder; Lab at /lab, Notebook 7 at /notebooks."
    def __init__(self, folder:Path):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        quiet = folder/"settings"/"@jupyterlab"/"apputils-extension"
        quiet.mkdir(parents=True)
        (quiet/"notification.jupyterlab-settings").write_text(
            json.dumps(dict(fetchNews="false", checkForUpdates=False)))
        options = dict(open_browser=False, port=self.port, root_dir=folder, token="", password="", allow_root=True)
        command = [sys.executable, "-m", "jupyterlab", *(f"--ServerApp.{k}={v}" for k, v in options.items()),
                   "--ServerApp.disable_check_xsrf=True", f"--LabApp.user_settings_dir={folder/'settings'}",
                   "--LabApp.extension_manager=readonly", "--expose-app-in-browser",
                   "--JupyterNotebookApp.expose_app_in_browser=True"]
        env = dict(os.environ, JUPYTER_CONFIG_DIR=str(folder/"config"), IPYTHONDIR=str(folder/"ipython"),
                   JUPYTER_RUNTIME_DIR=str(folder/"runtime"), OMP_NUM_THREADS="1")
        self.log = open(folder/"server.log", "w")
        self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=self.log, stderr=subprocess.STDOUT)
        for _ in range(600):
            try: urllib.request.urlopen(f"{self.url}/api", timeout=2); return
            except OSError: time.sleep(.1)
            assert self.process.poll() is None, (folder/"server.log").read_text()[-2000:]
        raise TimeoutError((folder/"server.log").read_text()[-2000:])

    def close(self):
        self.process.terminate(); self.process.wait(20); self.log.close()

    def api(self, path, data=None):
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"{self.url}/api/{path}", data=body)
        with urllib.request.urlopen(request, timeout=60) as answer: return json.loads(answer.read() or "null")


class Page:
    "A notebook in a tab."
    def __init__(self, server:Server, browser, name:str, cells:list[str], width=1440, height=1000, app="lab/tree",
                 **context):
        self.server, self.name = server, name
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        nb.metadata.kernelspec = dict(name="python3", display_name="Python 3", language="python")
        nbformat.write(nb, server.folder/name)
        self.page = browser.new_context(viewport=dict(width=width, height=height), **context).new_page()
        self.errors = []
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("console", lambda m: m.type == "error" and self.errors.append(m.text))
        self.open(app)

    def open(self, app="lab/tree"):
        fresh = "?reset" if app.startswith("lab") else "" # else Lab restores other tests' notebooks, hidden
        self.page.goto(f"{self.server.url}/{app}/{self.name}{fresh}")
        self.page.wait_for_selector(".jp-NotebookPanel-toolbar, .jp-Toolbar", state="attached", timeout=90_000)
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
        self.page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel"
                                    "?.connectionStatus === 'connected'", timeout=90_000)

    def run_all(self):
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")

    @property
    def kernel(self)->str: # its id
        return next(s["kernel"]["id"] for s in self.server.api("sessions") if s["path"] == self.name)

    def faults(self)->list[str]: # that the console has reported
        return [e for e in self.errors if not HARMLESS.search(e)]

    def shot(self, name:str, selector:str|None=None):
        SHOTS.mkdir(parents=True, exist_ok=True)
        target = self.page.locator(selector).first if selector else self.page
        target.screenshot(path=SHOTS/f"{name}.png")

    def close(self): self.page.context.close()


PIXELS = """([selector, n]) => new Promise((done, fail) => {
  const img = document.querySelectorAll(selector)[n], copy = new Image()
  copy.onload = () => {
    const c = document.createElement('canvas'); c.width = copy.naturalWidth; c.height = copy.naturalHeight
    c.getContext('2d').drawImage(copy, 0, 0)
    done([c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]])
  }
  copy.onerror = fail
  copy.src = img.src
})"""


def pixels(page, selector="img.scgan-picture, .scgan-picture img", n=0):
    "An image of the page as an array (H, W, 3)."
    import numpy as np
    h, w, data = page.evaluate(PIXELS, [selector, n])
    return np.array(data, np.int64).reshape(h, w, 4)[..., :3]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    if problem := why_not(): pytest.skip(problem)
    server = Server(tmp_path_factory.mktemp("lab"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def browser():
    if problem := why_not(): pytest.skip(problem)
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()
