"""Nobody waits for PyTorch who only asks for help; and the registration with Transformers happens all the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import heie_hf

ROOT = Path(heie_hf.__file__).resolve().parents[1]
HEAVY = {"torch", "transformers", "datasets", "accelerate", "peft", "huggingface_hub"}
REGISTERED = """
from transformers import AutoConfig
from transformers.pipelines import PIPELINE_REGISTRY
from heie_hf.modeling import HEIEConfig
assert type(AutoConfig.for_model("heie")) is HEIEConfig
assert PIPELINE_REGISTRY.check_task("image-implausibility")[0] == "image-implausibility"
"""
LOADED = """
from transformers import AutoModelForImageTextToText, AutoProcessor
from heie_hf import HEIEForImplausibility, HEIEProcessor
from heie_hf.checkpoints import DEFAULT_CHECKPOINT
assert type(AutoModelForImageTextToText.from_pretrained(DEFAULT_CHECKPOINT)) is HEIEForImplausibility
assert type(AutoProcessor.from_pretrained(DEFAULT_CHECKPOINT)) is HEIEProcessor
assert type(pipeline("image-implausibility", device="cpu")).__module__ == "heie_hf.pipeline_heie"
"""


def python(code, **environment):
    """Runs the code in a fresh process; returns what it printed."""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def loaded_by_command(*arguments, **environment):
    """The top-level modules of a process that has run the command, and what the command printed."""
    code = f"""
import atexit, sys
atexit.register(lambda: print("LOADED", *[name for name in sys.modules if "." not in name]))
from heie_hf.cli import main
try:
    main({list(arguments)!r} or None)
except SystemExit:
    pass
"""
    printed, _, modules = python(code, **environment).partition("LOADED")
    return set(modules.split()), printed


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("version",),
        ("predict", "--help"),
        ("train", "--help"),
        ("evaluate", "--help"),
        ("push", "--help"),
        (),
        ("pridict",),
        ("predict",),
        ("predict", "a.png", "--colour"),
        ("predict", "a.png", "--batch-size", "0"),
        ("synthesize", "--output-dir", "never-made"),
        ("push",),
    ],
    ids=" ".join,
)
def test_help_version_and_usage_errors_load_nothing_heavy(arguments):
    modules, _ = loaded_by_command(*arguments)
    assert "typer" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("words", ["heie pre", "heie predict --out"])
def test_completion_works_and_loads_nothing_heavy(words):
    environment = {"_HEIE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    modules, printed = loaded_by_command(**environment)
    assert printed.split() == [{"pre": "predict", "--out": "--output-dir"}[words.split()[-1]]]
    assert not modules & HEAVY


def test_completion_can_be_shown_and_installed(tmp_path):
    command = [sys.executable, "-m", "heie_hf.cli"]
    environment = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    for option in ("--show-completion", "--install-completion"):
        process = subprocess.run([*command, option, "bash"], capture_output=True, text=True, cwd=ROOT, env=environment)
        assert process.returncode == 0, process.stderr
    scripts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_HEIE_COMPLETE=complete_bash" in script for script in scripts)


def test_every_subcommand_has_light_help():
    _, printed = loaded_by_command("--help")
    commands = [line.split()[0] for line in printed.partition("Commands:")[2].splitlines() if line.strip()]
    assert len(commands) >= 8
    for command in commands:
        modules, help_text = loaded_by_command(command, "--help")
        assert f"heie {command}" in help_text
        assert not modules & HEAVY, command


@pytest.mark.parametrize(
    "imports",
    ["import heie_hf; from transformers import pipeline", "from transformers import pipeline; import heie_hf"],
)
def test_the_pipeline_and_the_auto_classes_work_in_either_order_of_imports(imports):
    python(imports + LOADED)


@pytest.mark.parametrize(
    "imports",
    [
        "import heie_hf; heie_hf.modeling.HEIEConfig()",
        "import heie_hf.modeling.modeling_heie",
        "import heie_hf.pipeline_heie",
        "import heie_hf.hub.push",
        "from heie_hf import HEIETrainer",
        "import importlib.util, heie_hf; assert importlib.util.find_spec('transformers')",
        "import heie_hf.cli",
    ],
)
def test_classes_are_registered_whatever_is_imported_first(imports):
    python(imports + REGISTERED)


def test_the_import_is_light_and_so_is_asking_where_transformers_is():
    code = """
import importlib.util, sys, heie_hf
assert importlib.util.find_spec("transformers").loader.get_filename().endswith("__init__.py")
assert importlib.util.find_spec("heie_hf.modeling") and not importlib.util.find_spec("heie_hf.nothing")
assert heie_hf.__version__ and "HEIEConfig" in dir(heie_hf)
print(*sys.modules)
"""
    assert not set(python(code).split()) & HEAVY


def test_threads_that_import_at_once_find_the_classes_registered():
    code = """
import heie_hf, threading
start = threading.Barrier(8)
tasks = []
def work():
    start.wait()
    from transformers.pipelines import PIPELINE_REGISTRY
    tasks.append(PIPELINE_REGISTRY.check_task("image-implausibility")[0])
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert tasks == ["image-implausibility"] * 8
"""
    python(code)


def test_an_import_that_fails_can_be_tried_again():
    code = """
import sys, heie_hf
sys.modules["heie_hf.modeling.losses_heie"] = None  # cannot be imported
try:
    import heie_hf.modeling
except ImportError:
    del sys.modules["heie_hf.modeling.losses_heie"]
else:
    raise AssertionError
"""
    python(code + REGISTERED)


def test_every_public_name_is_there():
    code = """
import heie_hf
for name in heie_hf.__all__:
    assert getattr(heie_hf, name).__module__.startswith("heie_hf."), name
assert not hasattr(heie_hf, "nothing")
from heie_hf import *
HEIEConfig(), HEIETrainer
"""
    python(code)
