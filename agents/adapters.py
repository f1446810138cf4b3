"""LoRA adapters on a model: added to its weights and taken off again, and whether one fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from textwrap import shorten
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from torch.nn import Parameter


class AdapterError(ValueError):
    """An adapter that does not belong to the model; the message, one line, names tensors."""


@contextmanager
def adapter_merged(model: Any) -> Iterator[None]:
    """Within, a float32 model has its LoRA adapter added to its weights, which makes sampling much quicker.

    Afterwards the weights are put back from a copy, not by subtraction, so nothing drifts. What would make another
    policy than is trained is left as it is: a model in a shorter format, where the sum would be rounded, and weights
    that a second module uses without the adapter (the input embedding of a model whose head is tied to it).
    """
    shared = _shared_weights(model)
    layers = [
        (layer, weight)
        for layer, weight in _adapted(model)
        if weight.dtype == torch.float32 and weight.data_ptr() not in shared
    ]
    copies = [weight.detach().clone() for _, weight in layers]
    try:
        for (layer, _), copy in zip(layers, copies, strict=True):
            _unmerged[layer] = copy
            layer.merge()
        yield
    finally:
        for (layer, weight), copy in zip(layers, copies, strict=True):
            layer.unmerge()
            weight.data.copy_(copy)
            _unmerged.pop(layer, None)


_unmerged: WeakKeyDictionary[LoraLayer, torch.Tensor] = WeakKeyDictionary()
"""The weights under adapters that are merged now."""


@contextmanager
def acting_with(model: PeftModel, adapter: str | None) -> Iterator[None]:
    """Within, a model acts with this one of its adapters, or with None as it is without any.

    Whatever `adapter_merged` has added to its weights is out of them meanwhile, exactly, and back afterwards.
    """
    merged = [(layer, weight, weight.data) for layer, weight in _adapted(model) if layer in _unmerged]
    for layer, weight, _ in merged:
        weight.data = _unmerged[layer]
        layer.merged_adapters.clear()
    try:
        if adapter is None:
            with model.disable_adapter():
                yield
        else:
            model.set_adapter(adapter)
            yield
    finally:
        model.set_adapter("default")
        for layer, weight, data in merged:
            weight.data = data
            layer.merged_adapters.append("default")


def without_adapter(model: Any) -> Any:
    """The plain model that acts like `model`: an adapter becomes part of the weights.

    Two adapters on one model would have the same name, so that the second would replace the first. An adapted module
    whose weight another shares gets a weight of its own.
    """
    if not isinstance(model, PeftModel):
        return model
    shared = _shared_weights(model)
    for layer, weight in _adapted(model):
        if weight.data_ptr() in shared:
            layer.get_base_layer().weight = Parameter(weight.detach().clone(), requires_grad=False)
            model.config.get_text_config().tie_word_embeddings = model.config.tie_word_embeddings = False
    return model.merge_and_unload()


def check_fit(model: PeftModel, weights: Mapping[str, torch.Tensor], adapter: str = "default") -> None:
    """Raise `AdapterError` unless the tensors of an adapter's file are those that `model` has, in name and shape."""
    expected = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
    faults = [
        *(f"{name} is missing" for name in sorted(expected.keys() - weights.keys())),
        *(f"{name} is not known" for name in sorted(weights.keys() - expected.keys())),
        *(
            f"{name} has the shape {_shape(weights[name])} and needs {_shape(expected[name])}"
            for name in sorted(expected.keys() & weights.keys())
            if weights[name].shape != expected[name].shape
        ),
    ]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise AdapterError(f"the adapter does not fit the model: {shorten(faults[0], 200)}{more}")


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape))


def _adapted(model: Any) -> list[tuple[LoraLayer, Parameter]]:
    """The layers with an adapter, and the weight that each adapts."""
    return [
        (layer, layer.get_param() if isinstance(layer, ParamWrapper) else layer.weight)
        for layer in model.modules()
        if isinstance(layer, LoraLayer)
    ]


def _shared_weights(model: Any) -> set[int]:
    """The addresses of tensors that are parameters of more than one module."""
    count = Counter(
        parameter.data_ptr() for module in model.modules() for parameter in module.parameters(recurse=False)
    )
    return {address for address, modules in count.items() if modules > 1}
