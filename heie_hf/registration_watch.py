"""Puts the registration with Transformers off until Transformers is imported, so that `heie --help` need not do it.

Transformers has no entry points that it would ask for further models, and a registration needs the classes themselves,
hence PyTorch. Whoever uses a registered name has imported Transformers before; so it is enough to register when that
import ends. One more case: Transformers may be imported by a part of this package, such as `heie_hf.modeling`, whose
classes are still being made at that moment. Therefore the registration waits for the end of the outermost import.
"""

import functools
import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class RegistrationWatch:
    """A finder for `sys.meta_path` that looks on while the other finders' loaders run Transformers and this package.

    Asked only where a module is (`importlib.util.find_spec`), it changes nothing: the registration follows an import.
    """

    def __init__(self):
        self.transformers_is_there = False
        self.imports_in_progress = threading.local()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the finders after this one say, with a loader that tells when it has run the module."""
        if name != "transformers" and not name.startswith("heie_hf."):
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(name, path, target)
            if spec is None:
                continue
            if spec.loader is not None:  # a folder without __init__.py has none
                spec.loader.exec_module = functools.partial(self._run, spec.loader.exec_module)
            return spec
        return None

    def _run(self, run_module: Callable[[ModuleType], None], module: ModuleType) -> None:
        depth = getattr(self.imports_in_progress, "depth", 0)
        self.imports_in_progress.depth = depth + 1
        try:
            run_module(module)
        finally:
            self.imports_in_progress.depth = depth
        if module.__name__ == "transformers":
            self.transformers_is_there = True
        if self.transformers_is_there and depth == 0:
            importlib.import_module("heie_hf.registration")
