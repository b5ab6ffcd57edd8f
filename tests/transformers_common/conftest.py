"""Make Transformers' common tests importable as `transformers_tests`, once `fetch.py` has fetched them.

They import siblings which the source distribution leaves out: mixins for export and for sampling, common config values
and a downloader of pictures. Empty mixins and a picture that is drawn stand in for them.

A test class lists in `SKIPS` the inherited tests that do not apply to HEIE, {name: reason}.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

_spec = importlib.util.spec_from_file_location("fetch_common_tests", Path(__file__).with_name("fetch.py"))
fetch = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fetch)


def _stand_in(name: str, path: list[str] | None = None, **attributes) -> None:
    module = sys.modules[name] = ModuleType(name)
    module.__dict__.update(attributes)
    if path is not None:  # a package
        module.__path__ = path


def _picture(_url: str) -> Image.Image:
    return Image.linear_gradient("L").convert("RGB")


if (folder := fetch.common_tests_folder()).is_dir():
    _stand_in("transformers_tests", [str(folder)])
    for package in ("exporters", "generation", "utils"):
        _stand_in(f"transformers_tests.{package}", [])
    _stand_in("transformers_tests.exporters.test_export", ExportTesterMixin=type("ExportTesterMixin", (), {}))
    _stand_in("transformers_tests.generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))
    _stand_in("transformers_tests.utils.test_configuration_utils", config_common_kwargs={})
    _stand_in("fetch_hub_objects_for_ci", url_to_local_path=_picture)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        skips = getattr(item.cls, "SKIPS", {}) if isinstance(item, pytest.Function) else {}
        if item.name in skips:
            item.add_marker(pytest.mark.skip(reason=skips[item.name]))
        for name in skips:
            assert hasattr(item.cls, name), f"{item.cls.__name__}.SKIPS names {name}, which is no test"
