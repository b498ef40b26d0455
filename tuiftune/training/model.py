"""Load a tokenizer and a model by hub id or folder, and say in one sentence why that cannot be done."""

from __future__ import annotations

import difflib
import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tuiftune.errors import StageError
from tuiftune.options import ModelOptions
from tuiftune.paths import ASSET_PREFIX, resolve_path
from tuiftune.run.checkpoints import sync_files
from tuiftune.run.files import sync_folder
from tuiftune.text import brief

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T")

HUB_TIMEOUT_S = 10.0


def load_tokenizer(model: ModelOptions, workspace: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of `model.tokenizer`, else of `model.name`; it always has an EOS token.

    Its pad token is left as it is: padding is masked by position, and nothing here needs one.
    Raises StageError where it cannot be had.
    """
    from transformers import AutoTokenizer

    key, name = ("model.tokenizer", model.tokenizer) if model.tokenizer else ("model.name", model.name)
    if not name:
        raise StageError("model.name: no model is named. Set it with: --set model.name=FOLDER_OR_HUB_ID")
    source, folder = _source(key, name, workspace)
    revision = model.revision if key == "model.name" else None  # a tokenizer named apart has its own branches
    cached = only_cached(folder, name, revision)
    tokenizer = _from_hugging_face(
        key,
        name,
        folder,
        "tokenizer",
        lambda: AutoTokenizer.from_pretrained(
            source, revision=revision, trust_remote_code=model.trust_remote_code, **cached
        ),
    )
    if tokenizer.eos_token_id is None:
        raise StageError(
            f"{key}: the tokenizer of {name!r} has no end-of-text token, so no document could be ended. "
            "Set eos_token in its tokenizer_config.json"
        )
    return tokenizer


def load_model(
    model: ModelOptions, workspace: Path, dtype: torch.dtype, tokenizer: PreTrainedTokenizerBase | None = None
) -> PreTrainedModel:
    """The causal language model of `[model]`, in `dtype`, on the CPU; its `tokenizer`, where it is loaded already.

    With `init = "scratch"` its weights are random: seed torch before. Raises StageError where it cannot be had.
    """
    from transformers import AutoModelForCausalLM

    quiet()
    tokenizer = tokenizer or load_tokenizer(model, workspace)
    if model.init == "scratch":
        loaded = _from_scratch(model, scratch_config(model, workspace, tokenizer), dtype)
    else:
        if not model.name:
            raise StageError("model.name: no model is named. Set it with: --set model.name=FOLDER_OR_HUB_ID")
        if model.config:
            raise StageError("model.config: only read with model.init = 'scratch'. Remove one of them")
        source, folder = _source("model.name", model.name, workspace)
        cached = only_cached(folder, model.name, model.revision)
        loaded, report = _from_hugging_face(
            "model.name",
            model.name,
            folder,
            "model",
            lambda: AutoModelForCausalLM.from_pretrained(
                source,
                revision=model.revision,
                trust_remote_code=model.trust_remote_code,
                use_safetensors=True,  # other formats are pickles, which can run code when opened
                dtype=dtype,  # left out it is the checkpoint's: bf16, 130 times slower on most CPUs
                output_loading_info=True,
                **cached,
            ),
        )
        if report["missing_keys"]:  # Hugging Face makes them random and goes on with a warning
            raise StageError(
                f"model.name: {model.name!r} has no weights for {len(report['missing_keys'])} tensors of a causal "
                f"language model, among them {min(report['missing_keys'])}. Is it another kind of model?"
            )
    _check_vocabulary(loaded, tokenizer, model)
    return loaded


def load_folder(folder: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A finished model and its tokenizer, in eval mode, on the GPU where there is one.

    Always float32: bf16 logits of GPT-2 lie 0.5 apart (they are near -100), which moves its perplexity.
    Raises StageError where the folder holds no model.
    """
    from tuiftune.training.precision import choose_device

    model, tokenizer = read_folder(folder)
    return model.to(choose_device()), tokenizer


def read_folder(folder: str | Path, trust_remote_code: bool = False) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """`load_folder` on the CPU. `trust_remote_code`: run Python code that comes with the model."""
    import torch

    folder = Path(folder).absolute()
    if not (folder / "config.json").is_file():
        raise StageError(f"{folder}: no finished model is there (no config.json). Is the run still training?")
    options = ModelOptions(name=str(folder), trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(options, folder.parent)
    return load_model(options, folder.parent, torch.float32, tokenizer).eval(), tokenizer


def save_folder(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, place: Path) -> None:
    """Write a finished model for `AutoModelForCausalLM.from_pretrained`: aside, then renamed to `place`."""
    aside = place.with_name(f".{place.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        sync_files(aside)
    except BaseException:  # half a model of no use would fill a disk that is full already
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(place, ignore_errors=True)
    os.replace(aside, place)
    sync_folder(place.parent)


def quiet() -> None:
    """The log of a run gets warnings, no progress bars."""
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils import logging

    logging.set_verbosity_warning()
    logging.disable_progress_bar()
    disable_progress_bars()


def scratch_config(model: ModelOptions, workspace: Path, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The config of a model made from scratch: `model.config` by itself where it names a `model_type`, else over
    the config of `model.name`.

    The vocabulary's size and the ids of BOS and EOS are the tokenizer's where `model.config` does not say.
    """
    values = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **model.config,
    }
    if "vocab_size" not in model.config and (model.tokenizer or not model.name):
        values["vocab_size"] = len(tokenizer)
    if model.name and "model_type" not in model.config:
        return _named_config(model, workspace, values)
    return _config_by_type(values)


def _config_by_type(values: dict[str, Any]) -> PretrainedConfig:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = values.pop("model_type", None)
    if kind is None:
        raise StageError(
            "model.config.model_type: needed for model.init = 'scratch' without a model.name; e.g. 'gpt2' or 'llama'"
        )
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        near = difflib.get_close_matches(str(kind), MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Known are e.g. 'gpt2', 'llama', 'qwen3'"
        raise StageError(f"model.config.model_type: {kind!r} is no causal language model. {hint}")
    _check_keys(values, AutoConfig.for_model(kind))
    return _valid_config(lambda: AutoConfig.for_model(kind, **values))


def _named_config(model: ModelOptions, workspace: Path, values: dict[str, Any]) -> PretrainedConfig:
    from transformers import AutoConfig

    assert model.name is not None  # noqa: S101
    source, folder = _source("model.name", model.name, workspace)
    cached = only_cached(folder, model.name, model.revision)

    def read(**more: Any) -> Any:
        return AutoConfig.from_pretrained(
            source, revision=model.revision, trust_remote_code=model.trust_remote_code, **cached, **more
        )

    base = _from_hugging_face("model.name", model.name, folder, "config", read)
    if values.get("model_type", base.model_type) != base.model_type:
        raise StageError(
            f"model.config.model_type: {values['model_type']!r}, but {model.name!r} is a {base.model_type!r}. "
            "Leave one of them out"
        )
    _check_keys(values, base)
    return _valid_config(lambda: read(**values))


def _check_keys(values: dict[str, Any], known: PretrainedConfig) -> None:
    """A misspelt value would be kept by Hugging Face and read by nobody."""
    for key in values:
        if not hasattr(known, key):
            near = difflib.get_close_matches(key, [*known.to_dict(), *known.attribute_map], n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise StageError(f"model.config.{key}: not a value of a {known.model_type!r} model.{hint}")


def _valid_config(make: Callable[[], T]) -> T:
    from huggingface_hub.errors import StrictDataclassError

    try:
        return make()
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise StageError(f"model.config: {brief(error)}") from error


def _from_scratch(model: ModelOptions, config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=model.trust_remote_code)
    except (ValueError, ZeroDivisionError, AssertionError) as error:  # sizes that do not go together
        raise StageError(f"model.config: no model can be made of these values: {brief(error)}") from error


def _check_vocabulary(loaded: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, model: ModelOptions) -> None:
    rows = loaded.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise StageError(
            f"model.tokenizer: {model.tokenizer or model.name!r} has {len(tokenizer):,} tokens, but the model "
            f"knows {rows:,}. Use the model's own tokenizer, or model.init = 'scratch' without vocab_size"
        )


def only_cached(folder: Path | None, name: str, revision: str | None) -> dict[str, bool]:
    """For `from_pretrained`: look only into the cache when the hub does not answer.

    Asked here, once and briefly: transformers asks for each file, five times, and takes minutes to give up.
    """
    return {"local_files_only": folder is not None or not _hub_answers(name, revision)}


@functools.lru_cache
def _hub_answers(name: str, revision: str | None) -> bool:
    """Asked once in a process: a hub that is silent costs the whole timeout each time."""
    from huggingface_hub import HfApi, errors

    try:
        HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT_S)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        return True  # loading fails with the same reason, and that is shown
    except Exception:  # of whatever HTTP library it uses: no network, no such host, a proxy, a timeout
        return False
    return True


def _source(key: str, name: str, workspace: Path) -> tuple[str, Path | None]:
    """What to hand to `from_pretrained`, and the folder if it is one.

    A hub id is `name` or `owner/name`; what exists as a folder, or cannot be an id, is a folder.
    """
    path = resolve_path(name, workspace)
    if path.is_dir():
        return str(path), path
    if name.startswith((ASSET_PREFIX, ".", "/", "~")) or name.count("/") > 1 or path.exists():
        raise StageError(f"{key}: {name}: no such folder (looked for {path})")
    return name, None


def _from_hugging_face(key: str, name: str, folder: Path | None, what: str, load: Callable[[], T]) -> T:
    """Run `load`; its errors become sentences that say what to do."""
    from safetensors import SafetensorError

    try:
        return load()
    except (OSError, ValueError, ImportError, KeyError, SafetensorError) as error:
        raise StageError(f"{key}: {_why(key, name, folder, what, error)}") from error


def _why(key: str, name: str, folder: Path | None, what: str, error: Exception) -> str:
    from huggingface_hub import errors as hub
    from safetensors import SafetensorError

    causes = _causes(error)

    def caused_by(*kinds: type[Exception]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    text = str(error)
    if "trust_remote_code" in text:
        return f"{name!r} comes with Python code of its own. If you have read it: --set model.trust_remote_code=true"
    if isinstance(error, ImportError):
        return f"{name!r} needs a package that is not installed: {brief(error)}"
    if folder is not None:
        if what != "tokenizer" and not (folder / "config.json").is_file():
            return f"{folder} is not a model: it has no config.json"
        if what == "tokenizer" and not any(
            (folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "vocab.json")
        ):
            hint = "" if key == "model.tokenizer" else ". Name one with: --set model.tokenizer=FOLDER_OR_HUB_ID"
            return f"{folder} holds no tokenizer (no tokenizer.json){hint}"
        if what == "model" and not any(folder.glob("*.safetensors")):
            return (
                f"{folder} has no *.safetensors weights, and other formats can run code when opened. "
                "Convert it with: model.save_pretrained(FOLDER)"
            )
        return f"{folder}: the {what} cannot be read: {brief(error)}"
    if caused_by(hub.GatedRepoError):
        return f"{name!r} is for people its owner let in. Ask on its page, then log in with: hf auth login"
    if caused_by(hub.RevisionNotFoundError):
        return f"{name!r} has no such revision. Set model.revision to a branch, tag or commit it has"
    if caused_by(hub.RepositoryNotFoundError, hub.HFValidationError):
        return (
            f"{name!r} is neither a folder of the workspace nor a model on the Hugging Face hub "
            "(or a private one: log in with: hf auth login)"
        )
    if caused_by(hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, ConnectionError) or "connect" in text:
        return (
            f"{name!r} is not a folder of the workspace, not in this machine's cache, and the Hugging Face hub "
            f"cannot be reached. Fetch it where there is a network with: hf download {name} --local-dir FOLDER, "
            f"then: --set {key}=FOLDER"
        )
    if caused_by(SafetensorError) or what == "model":
        return f"{name!r} has no safetensors weights that can be read: {brief(error)}"
    return f"{name!r}: the {what} cannot be read: {brief(error)}"


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
