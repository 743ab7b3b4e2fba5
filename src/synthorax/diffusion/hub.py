"""Parts of published models from the Hugging Face hub or its cache; why not, in one sentence."""

from pathlib import Path

from synthorax.diffusion.published import PIPELINE_FILES, Part, name_of_repo, published_model
from synthorax.errors import ModelError

#: Weights that are not read: half precision beside full, raw beside averaged, what pipelines drop.
_NOT_READ = ("*.fp16.*", "*.non_ema.*", "safety_checker/*", "feature_extractor/*")


def snapshot(
    repo: str, files: tuple[str, ...], revision: str | None = None, *, is_local: bool = False
) -> Path:
    """The folder of a repo's files, downloaded to the hub's cache where they are not there yet.

    Args:
        repo: ``owner/name``.
        files: patterns of what is wanted.
        revision: branch, tag or commit.
        is_local: look in the cache alone.

    Raises:
        ModelError: gated, not there, or out of reach; with the remedy.
    """
    from huggingface_hub import errors, snapshot_download

    out_of_reach = (
        errors.LocalEntryNotFoundError,
        errors.HTTPError,
        errors.RevisionResolutionError,
        ConnectionError,
    )
    page = f"https://huggingface.co/{repo}"
    try:
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(files),
                ignore_patterns=list(_NOT_READ),
                local_files_only=is_local,
            )
        )
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{repo} is gated: accept its licence at {page}, log in with 'hf auth login' (or set HF_TOKEN), and try again. "
            "With a copy of its folder at hand: 'synthorax models convert'."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"{repo} has no revision {revision!r}; its revisions are listed at {page}."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"the hub shows no {repo}: there is none of that name, or it is private and you are not logged in "
            "('hf auth login', or HF_TOKEN)."
        ) from error
    except errors.HFValidationError as error:
        raise ModelError(f"{repo!r} is no repo id; expected owner/name.") from error
    except out_of_reach as error:
        wanted = " ".join(f"--include '{pattern}'" for pattern in files)
        raise ModelError(
            f"{repo} is not in the hub's cache and the hub cannot be reached. Where it can, run: hf download {repo} "
            f"{wanted} --local-dir DIR; then bring DIR here and give it to 'synthorax models convert'."
        ) from error


def is_at_hand(part: Part) -> bool:
    """Whether the cache has weights and config of a part."""
    if part.repo is None:
        return False
    try:
        folder = snapshot(part.repo, part.files, is_local=True)
    except ModelError:
        return False
    names = [path.name for path in folder.rglob("*.*")]
    return any(name.endswith("config.json") for name in names) and any(
        name.endswith((".safetensors", ".bin")) for name in names
    )


def pipeline_folder(name: str, revision: str | None = None) -> Path:
    """The local folder of a whole pipeline on the hub.

    Raises:
        ModelError: the name is no repo id, or the repo holds a part only, or see :func:`snapshot`.
    """
    if name.count("/") != 1:
        raise ModelError(
            f"no model at {name}; give a diffusers pipeline folder or a repo id such as owner/name."
        )
    known = name_of_repo(name)
    if known and published_model(known).layout != "stable-diffusion":
        raise ModelError(
            f"{name} is a part of a model; put it together with 'synthorax models fetch {known} --out DIR', and give DIR."
        )
    return snapshot(name, PIPELINE_FILES, revision)
