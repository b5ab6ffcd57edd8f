"""What a user gets from pip: the wheel, which is built from the source distribution, which is built from this tree."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PathDistribution, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

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


@pytest.fixture(scope="module")
def installed(built) -> dict:
    """What a process sees that has the installed files instead of this tree."""
    code = f"""
import json, sys
sys.path.insert(0, {str(built / "site")!r})
import heie_hf
loaded = [name for name in sys.modules if "." not in name]
from heie_hf import checkpoints, modeling, processing
files = dict(modeling=modeling.__file__, processing=processing.__file__, checkpoint=checkpoints.DEFAULT_CHECKPOINT)
print(json.dumps(files | dict(loaded=loaded)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=built)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_wheel_holds_every_file_of_the_packages_and_nothing_else(built):
    files = {file.relative_to(built / "site") for file in (built / "site").rglob("*") if file.is_file()}
    assert {file.as_posix() for file in files if not file.parts[0].endswith(".dist-info")} == package_files()


def test_wheel_holds_the_embedded_checkpoint(built, installed):
    checkpoint = Path(installed["checkpoint"])
    assert checkpoint.is_relative_to(built / "site")
    files = {file.name for file in checkpoint.iterdir()}
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= files


@pytest.mark.parametrize("room", ["modeling", "processing"])
def test_rooms_are_imported_from_the_wheel(built, installed, room):
    assert Path(installed[room]) == built / "site" / "heie_hf" / room / "__init__.py"


def test_import_leaves_the_heavy_optional_parts_alone(installed):
    assert not {"datasets", "evaluate", "matplotlib", "pandas", "peft"} & set(installed["loaded"])


def test_predicting_needs_no_extra(built, distribution):
    """`make demo` installs none: the command runs where no package is that only an extra asks for."""
    requirements = [Requirement(text) for text in distribution.requires]
    required = {canonicalize_name(each.name) for each in requirements if each.marker is None}
    optional = {canonicalize_name(each.name) for each in requirements} - required
    absent = []
    for module, owners in packages_distributions().items():
        if {canonicalize_name(owner) for owner in owners} <= optional:
            absent.append(module)
    assert {"matplotlib", "pytest", "scipy"} <= set(absent)
    arguments = ["heie", "predict", str(ROOT / "examples" / "images" / "sign.png"), "--no-explain"]
    code = f"""
import sys
sys.path.insert(0, {str(built / "site")!r})
sys.modules.update(dict.fromkeys({absent}))
sys.argv = {arguments}
from heie_hf.cli import main
main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=built)
    assert result.returncode == 0, result.stderr
    assert 0 < json.loads(result.stdout)["score"] < 1


def test_metadata(distribution):
    metadata = distribution.metadata
    assert (metadata["Name"], metadata["Version"], metadata["Requires-Python"]) == ("heie-hf", "0.1.0", ">=3.11")
    assert "Apache-2.0" in (metadata["License"] or metadata["License-Expression"])
    assert "Apache License" in distribution.read_text("licenses/LICENSE")
    assert {"plots", "eval", "dev"} <= set(metadata.get_all("Provides-Extra"))


def test_command_is_an_entry_point(distribution):
    [command] = distribution.entry_points
    assert (command.group, command.name, command.value) == ("console_scripts", "heie", "heie_hf.cli:main")


def test_on_pypi_no_link_leads_into_the_repository(distribution):
    targets = re.findall(r"\]\(([^)]*)\)", distribution.metadata.get_payload())
    assert targets and all(target.startswith(("https://", "http://", "#")) for target in targets)


def pinned_versions() -> dict[str, str]:
    """Package -> version, of constraints.txt."""
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            pins[canonicalize_name(name)] = version
    return pins


def test_constraints_pin_every_requirement_to_a_version_that_it_allows(distribution):
    pins = pinned_versions()
    for requirement in map(Requirement, distribution.requires):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
    assert pins["torch"] == "2.13.0" and "torchvision" not in pins


def test_versions_that_are_promised_are_run(distribution):
    """Every Python of the classifiers, the oldest Transformers that is allowed and the one that is pinned."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    prefix = "Programming Language :: Python :: 3."
    classifiers = distribution.metadata.get_all("Classifier")
    pythons = [name.rpartition(" ")[2] for name in classifiers if name.startswith(prefix)]
    assert matrix["python-version"] == pythons

    [allowed] = [Requirement(text) for text in distribution.requires if text.startswith("transformers")]
    [oldest] = [bound.version for bound in allowed.specifier if bound.operator == ">="]
    tested = [Version(version) for version in matrix["transformers"]]
    newest = re.search(r"^newest=(.+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE).group(1)
    assert tested == [Version(oldest), Version(newest)]
    assert Version(pinned_versions()["transformers"]) in tested


def test_ruff_is_the_same_before_a_commit_and_in_continuous_integration():
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["rev"] == f"v{pinned_versions()['ruff']}"


@pytest.mark.parametrize(
    "notebook", sorted((ROOT / "examples" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_notebooks_are_kept_without_what_they_print(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        assert cell["outputs"] == [] and cell["execution_count"] is None


def test_source_distribution_holds_what_a_checkout_has(built):
    [archive] = built.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {"README.md", "MODEL_CARD.md", "CHANGELOG.md", "LICENSE", "Makefile", "constraints.txt", "setup.cfg"}
    wanted |= {"tests/test_packaging.py", "examples/train_tiny.py", "modeling/modeling_heie.py"}
    assert wanted <= names


@pytest.mark.parametrize("room", ["modeling", "processing"])
def test_rooms_import_only_libraries_and_siblings_by_name(room):
    """Saving a model with its code copies `from .name_heie import x` siblings into one folder, and nothing else."""
    for file in (ROOT / room).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1 and (ROOT / room / f"{node.module}.py").is_file(), f"{file}:{node.lineno}"
            elif isinstance(node, ast.ImportFrom | ast.Import):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert not {name.split(".")[0] for name in names} & set(ROOMS), f"{file}:{node.lineno}"
