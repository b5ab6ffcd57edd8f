"""What a user gets from pip: the wheel, which is built from the source distribution, which is built from this tree."""

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {"heie_hf": "heie_hf", "modeling": "heie_hf/modeling", "processing": "heie_hf/processing"}
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "demo-output", "outputs", "runs")


def package_files() -> set[str]:
    """Every file of the three package folders under the name that it should have once installed."""
    return {
        f"{target}/{file.relative_to(ROOT / source).as_posix()}"
        for source, target in ROOMS.items()
        for file in (ROOT / source).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, the wheel and the wheel's content in `site/`; the tree itself stays untouched."""
    folder = tmp_path_factory.mktemp("build")
    tree = shutil.copytree(ROOT, folder / "tree", ignore=LEFT_OUT)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(tree)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder


@pytest.fixture(scope="module")
def distribution(built) -> PathDistribution:
    [info] = (built / "site").glob("*.dist-info")
    return PathDistribution(info)


def run_installed(built: Path, code: str) -> str:
    """Run code that sees the installed files instead of this tree."""
    code = f"import sys; sys.path.insert(0, {str(built / 'site')!r}); " + code
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=built)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_wheel_holds_every_file_of_the_packages_and_nothing_else(built):
    installed = {file.relative_to(built / "site") for file in (built / "site").rglob("*") if file.is_file()}
    packaged = {file.as_posix() for file in installed if not file.parts[0].endswith(".dist-info")}
    assert packaged == package_files()


def test_wheel_holds_the_embedded_checkpoint(built):
    path = run_installed(built, "from heie_hf.checkpoints import default_checkpoint as d; print(d())")
    assert Path(path).is_relative_to(built / "site")
    files = {file.name for file in Path(path).iterdir()}
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= files


def test_rooms_are_imported_from_the_wheel(built):
    files = run_installed(built, "from heie_hf import modeling, processing as p; print(modeling.__file__, p.__file__)")
    rooms = [Path(file).relative_to(built / "site").parent.as_posix() for file in files.split()]
    assert rooms == ["heie_hf/modeling", "heie_hf/processing"]


def test_import_leaves_the_heavy_optional_parts_alone(built):
    loaded = run_installed(built, "import heie_hf; print(*{name.split('.')[0] for name in sys.modules})").split()
    assert not {"datasets", "evaluate", "matplotlib", "peft", "scipy", "pandas"} & set(loaded)


def test_metadata(distribution):
    metadata = distribution.metadata
    assert (metadata["Name"], metadata["Version"], metadata["Requires-Python"]) == ("heie-hf", "0.1.0", ">=3.11")
    assert "Apache-2.0" in (metadata["License"] or metadata["License-Expression"])
    assert "Apache License" in distribution.read_text("licenses/LICENSE")
    assert {"plots", "eval", "dev"} <= set(metadata.get_all("Provides-Extra"))


def test_command_is_an_entry_point(distribution):
    [command] = distribution.entry_points
    assert (command.group, command.name, command.value) == ("console_scripts", "heie", "heie_hf.cli:main")


def test_constraints_pin_every_requirement_to_a_version_that_it_allows(distribution):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(re.match(r"([\w.-]+)==(\S+)$", line).groups() for line in lines if line and not line.startswith("#"))
    for requirement in map(Requirement, distribution.requires):
        assert requirement.specifier.contains(pins[requirement.name]), requirement
    assert pins["torch"] == "2.13.0" and "torchvision" not in pins


def test_source_distribution_holds_what_a_checkout_has(built):
    [archive] = built.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {"README.md", "MODEL_CARD.md", "CHANGELOG.md", "LICENSE", "Makefile", "constraints.txt", "setup.cfg"}
    wanted |= {"tests/test_packaging.py", "examples/train_tiny.py", "modeling/modeling_heie.py"}
    assert wanted <= names


@pytest.mark.parametrize("room", ["modeling", "processing"])
def test_rooms_import_only_libraries_and_siblings_by_name(room):
    """Saving a model with its code copies `from .name_heie import x` siblings into one flat folder, and nothing else."""
    for file in (ROOT / room).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1 and (ROOT / room / f"{node.module}.py").is_file(), f"{file}:{node.lineno}"
            elif isinstance(node, ast.ImportFrom | ast.Import):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert not {name.split(".")[0] for name in names} & set(ROOMS), f"{file}:{node.lineno}"


def test_only_declared_packages_hold_code():
    """setup.cfg lists packages by name, so that a forgotten one must not go unnoticed."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    declared = set(config["options"]["packages"].split())
    code = {name.rpartition("/")[0].replace("/", ".") for name in package_files() if name.endswith(".py")}
    assert code == declared
