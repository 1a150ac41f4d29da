"""Where a forward or backward pass stops being finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn


class FirstFault:
    """Watches the outputs of all modules, and the gradients of these and of the parameters.

    Attributes:
        output: the first module whose output is not finite, or None.
        gradient: what the first gradient that is not finite belongs to, in the order of the
            backward pass, or None.
        last_finite: what the last finite gradient before it belongs to, or None. If it is the
            output of a module, this module's backward pass is where it began.
    """

    def __init__(self) -> None:
        self.output: str | None = None
        self.gradient: str | None = None
        self.last_finite: str | None = None

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Watch one forward and backward pass of `model`."""
        handles = [
            module.register_forward_hook(partial(self._after_forward, name or "the model"))
            for name, module in model.named_modules()
        ]
        handles += [
            parameter.register_hook(partial(self._on_gradient, f"parameter {name}"))
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _after_forward(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        told = f"{name} ({type(module).__name__})"
        for tensor in _tensors(output):
            if self.output is None and not torch.isfinite(tensor).all():
                self.output = told
            if tensor.requires_grad:
                tensor.register_hook(partial(self._on_gradient, f"output of {told}"))

    def _on_gradient(self, name: str, gradient: torch.Tensor) -> None:
        if self.gradient is not None:
            return
        if torch.isfinite(gradient).all():
            self.last_finite = name
        else:
            self.gradient = name


def _tensors(value: Any) -> list[torch.Tensor]:
    """Floating-point tensors in what a module returned, those of sparse tensors included."""
    if isinstance(value, torch.Tensor):
        return [value] if value.is_floating_point() else []
    if hasattr(value, "features"):
        return _tensors(value.features)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return []
    return [tensor for part in value for tensor in _tensors(part)]
