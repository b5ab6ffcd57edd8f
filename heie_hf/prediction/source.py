"""Where a model's files are: in its folder, or fetched from the Hub at once, before anything is loaded."""

import errno
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import httpx

#: What a model consists of; no code, no pickles.
FILES = ("*.json", "*.jinja", "*.safetensors", "*.txt", "*.model", "README.md", "LICENSE")
#: Seconds. Libraries would try for minutes, file by file.
TIMEOUT = 10.0
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR)


def model_folder(source: str) -> Path:
    """The folder with the files of a model, which is in the Hub's cache for a name on the Hub.

    Without a network, or where the Hub is down, the model's last state in the cache serves.

    Args:
        source: folder, or name on the Hub.

    Raises:
        OSError: there is no such folder or name, the Hub cannot be reached within seconds and the cache has no such
            model, or the cache cannot be written; says which.
    """
    if Path(source).is_dir():
        return Path(source)
    try:
        is_reachable = _is_on_hub(source)
        folder = snapshot_download(
            source, allow_patterns=list(FILES), ignore_patterns="*/*", local_files_only=not is_reachable
        )
    except (HFValidationError, RepositoryNotFoundError):
        raise FileNotFoundError("no such folder, and the Hub gives out no model of this name") from None
    except LocalEntryNotFoundError:
        raise FileNotFoundError("no such folder; the Hub cannot be reached, and its cache has no such model") from None
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        cache = constants.HF_HUB_CACHE
        reason = error.strerror or str(error)
        raise OSError(
            f"the Hub's cache {cache} cannot be written ({reason}): set HF_HOME to another folder"
        ) from error
    return Path(folder)


def _is_on_hub(name: str) -> bool:
    """Whether the Hub says so; False if it says nothing.

    Raises:
        RepositoryNotFoundError: it says that there is none.
    """
    try:
        HfApi().model_info(name, timeout=TIMEOUT)
    except RepositoryNotFoundError:
        raise
    except (OfflineModeIsEnabled, HfHubHTTPError, httpx.TransportError):
        return False
    return True
