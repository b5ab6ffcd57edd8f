"""Pushing to the Hub. A push is one commit: the repository holds all of it or none.

A repository or branch that was made for a push goes away again if the commit does not come about.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import httpx
from safetensors import SafetensorError

from heie_hf.pipeline_heie import ImplausibilityPipeline
from heie_hf.processing import HEIEProcessor

from .card import CardFacts, origin, render_card, saved_card
from .repository import add_code, write_repository


class PushError(RuntimeError):
    """A push did not come about; the message says why, in one line."""


def push_to_hub(
    self,
    repo_id: str,
    *,
    commit_message: str | None = None,
    commit_description: str | None = None,
    private: bool | None = None,
    token: bool | str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    max_shard_size: int | str | None = "50GB",
    tags: list[str] | None = None,
) -> CommitInfo:
    """Publish a model, a processor or a whole pipeline, with the code that it needs where heie-hf is not installed.

    Arguments as in Transformers. A card comes with the first model; one that is there already only gets the tags.

    Raises:
        PushError: if the push did not come about.
    """
    parts = [self.model, self.processor] if isinstance(self, ImplausibilityPipeline) else [self]
    with clear_errors(repo_id), tempfile.TemporaryDirectory() as folder:
        repo_id = _full_name(repo_id, token)
        for part in parts:
            part.save_pretrained(folder, max_shard_size=max_shard_size)
        add_code(folder)
        if not isinstance(self, HEIEProcessor):
            facts = CardFacts(repo_id, base_model=origin(parts[0]), tags=tags or [])
            render_card(folder, facts).save(Path(folder, "README.md"))
        return upload(
            Path(folder),
            repo_id,
            commit_message=commit_message or f"Upload {type(self).__name__}",
            commit_description=commit_description,
            private=private,
            token=token,
            revision=revision,
            create_pr=create_pr,
            keep_card=True,
            tags=tags,
        )


def push_saved(
    source: str, repo_id: str, facts: CardFacts, *, private: bool | None = None, revision: str | None = None
) -> CommitInfo:
    """Publish a saved model (or PEFT adapter), its weights as they are: what `heie push` does.

    Arguments as for `write_repository` and `upload`; `repo_id` may be a name without its owner. A card that is there
    already is replaced only where `facts` or a HEIE card beside the weights gives a new one.

    Raises:
        PushError: if the push did not come about.
    """
    with clear_errors(repo_id), tempfile.TemporaryDirectory() as parent:
        folder, repo_id = Path(parent, "repository"), _full_name(repo_id)
        write_repository(source, folder, replace(facts, repo_id=repo_id))
        return upload(
            folder,
            repo_id,
            commit_message="Upload HEIE model",
            private=private,
            revision=revision,
            keep_card=not facts.are_stated and saved_card(Path(source)) is None,
        )


def upload(
    folder: Path,
    repo_id: str,
    *,
    commit_message: str,
    commit_description: str | None = None,
    private: bool | None = None,
    token: bool | str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    keep_card: bool = False,
    tags: list[str] | None = None,
) -> CommitInfo:
    """Publish the files of a folder as one commit; other files of the repository stay, old weights go.

    Args:
        repo_id: "owner/name"; made if it does not exist.
        private: True makes a new repository private.
        revision: branch; made from the main one if it does not exist.
        keep_card: keep the repository's own README.md, if it has one, and add `tags` to it.

    Raises:
        PushError: if the push did not come about.
    """
    api = HfApi(token=token, library_name="heie-hf")
    with clear_errors(repo_id), contextlib.ExitStack() as undo:
        if not api.repo_exists(repo_id):
            api.create_repo(repo_id, private=private)
            undo.callback(_quietly, api.delete_repo, repo_id)
        elif private and not api.repo_info(repo_id).private:
            raise PushError(f"{repo_id} exists and is public; a push does not make it private")
        if revision and not revision.startswith("refs/") and not api.revision_exists(repo_id, revision):
            api.create_branch(repo_id, branch=revision)
            undo.callback(_quietly, api.delete_branch, repo_id, branch=revision)
        there = set(api.list_repo_files(repo_id, revision=revision))
        if keep_card and "README.md" in there:
            card = ModelCard.load(api.hf_hub_download(repo_id, "README.md", revision=revision))
            card.data.tags = list(dict.fromkeys([*(card.data.tags or []), *(tags or [])])) or None
            card.save(folder / "README.md")
        files = {file.relative_to(folder).as_posix(): str(file) for file in folder.rglob("*") if file.is_file()}
        # upload_folder would commit large folders in several steps, and a break would leave the first of them.
        commit = api.create_commit(
            repo_id,
            [CommitOperationAdd(*file) for file in sorted(files.items())]
            + [CommitOperationDelete(name) for name in _outdated(there, set(files))],
            commit_message=commit_message,
            commit_description=commit_description,
            revision=revision,
            create_pr=create_pr,
        )
        undo.pop_all()
        return commit


def _full_name(repo_id: str, token: bool | str | None = None) -> str:
    """With the owner of the token before a bare name."""
    return repo_id if "/" in repo_id else f"{HfApi(token=token).whoami()['name']}/{repo_id}"


def _outdated(there: set[str], new: set[str]) -> list[str]:
    """Weights of an earlier push in another number of shards."""
    return sorted(name for name in there - new if "config.json" in new and fnmatch(name, "model*.safetensors*"))


def _quietly(undo: Callable, *args: Any, **kwargs: Any) -> None:
    with contextlib.suppress(HfHubHTTPError, httpx.HTTPError):
        undo(*args, **kwargs)


@contextlib.contextmanager
def clear_errors(repo_id: str) -> Iterator[None]:
    """Turns what goes wrong on disk, on the way to the Hub and there into a `PushError` of one line."""
    try:
        yield
    except PushError:
        raise
    except (HfHubHTTPError, httpx.HTTPError, OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise PushError(_reason(error, repo_id)) from error


def _reason(error: BaseException, repo_id: str) -> str:
    while isinstance(error, RuntimeError) and error.__cause__ is not None:  # "Error while uploading 'x'": why?
        error = error.__cause__
    if isinstance(error, RepositoryNotFoundError):
        return f"{error.repo_id or repo_id} is not on the Hub, or this token may not see it"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401 or isinstance(error, LocalTokenNotFoundError):
        return "the Hub does not know this token: `hf auth login`, or set HF_TOKEN to a token that may write"
    if status == 403:
        return f"this token may not write to {repo_id}"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, httpx.TransportError):
        return f"the connection to the Hub broke off ({type(error).__name__}); try again"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
