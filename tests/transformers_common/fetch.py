"""Fetch Transformers' common tests: the wheel has none, the source distribution of the same version carries them.

`make test` runs this first; by hand it is `python tests/transformers_common/fetch.py`.
"""

import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path


def common_tests_folder() -> Path:
    """Where the tests of the installed version of Transformers are kept; git ignores it."""
    return Path(__file__).resolve().parents[2] / ".cache" / f"transformers-{version('transformers')}-tests"


def main() -> None:
    folder = common_tests_folder()
    if folder.is_dir():
        return
    with tempfile.TemporaryDirectory() as download:
        options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-binary", "transformers", "--dest", download]
        requirement = f"transformers=={version('transformers')}"
        subprocess.run([sys.executable, "-m", "pip", "download", *options, requirement], check=True)
        [archive] = Path(download).glob("transformers-*.tar.gz")
        with tarfile.open(archive) as sdist:
            root = archive.name.removesuffix(".tar.gz")
            tests = [member for member in sdist if member.name.startswith(f"{root}/tests/")]
            sdist.extractall(download, tests, filter="data")
        (
            Path(download) / root / "tests" / "__init__.py"
        ).touch()  # left out too, and test_configuration_common runs it
        folder.parent.mkdir(exist_ok=True)
        (Path(download) / root / "tests").replace(folder)


if __name__ == "__main__":
    main()
