import shutil
import subprocess

import pytest

from tests.evaluation.report.html_page import Page


@pytest.fixture
def page(complete):
    return Page((complete.folder / "report.html").read_text())


@pytest.fixture(scope="session")
def browse(tmp_path_factory):
    """browse(path, address="") -> the page after its script ran, in a real browser."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is on the PATH")
    profile = tmp_path_factory.mktemp("browser")

    def dump(path, address=""):
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
        command = [browser, *options, f"{path.absolute().as_uri()}{address}"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        return Page(result.stdout)

    return dump
