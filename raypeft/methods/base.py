"""The frame around every method: options, freeze, apply, head on, count, BatchNorm mode.

A method is a function that receives a fully frozen network and unfreezes or adds, in place, what
it trains. Everything that methods have in common happens here, once.
"""

import ast
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypeft.core.errors import ConfigError, IncompatibleError
from raypeft.core.registry import Registry

Family = Literal["conv", "vit", "unet"]
Apply = Callable[..., None]
Count = Callable[..., int]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to make a frozen network trainable with few parameters."""

    name: str
    families: frozenset[Family]
    paper: str
    apply: Apply  # (model, **options)
    count: Count  # (plain model, **options) -> trainable parameters without the head, from layer shapes
    trains_batch_norm: bool  # True: batch statistics, running ones updated; False: BatchNorm in eval mode
    keeps_output: bool  # whether the output is unchanged before the first step

    @property
    def options(self) -> Mapping[str, Any]:
        """The options that the method takes, with their defaults."""
        parameters = inspect.signature(self.apply).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


@dataclass(frozen=True, kw_only=True)
class ParameterCounts:
    """How many parameters a method trains; `inserted` are those that the backbone does not have."""

    trainable: int
    inserted: int
    head: int
    total: int


@dataclass(frozen=True, kw_only=True)
class BoundMethod:
    """A method with the options that a cell names, e.g. `lora(rank=4)`."""

    method: Method
    options: Mapping[str, Any] = field(default_factory=dict)


METHODS: Registry[Method] = Registry("method")


def register_method(
    name: str,
    *,
    families: set[Family],
    paper: str,
    count: Count,
    trains_batch_norm: bool = False,
    keeps_output: bool = True,
) -> Callable[[Apply], Apply]:
    """Register the decorated function as the method `name`; one function may carry several names."""

    def register(apply: Apply) -> Apply:
        METHODS.add(
            name,
            Method(
                name=name,
                families=frozenset(families),
                paper=paper,
                apply=apply,
                count=count,
                trains_batch_norm=trains_batch_norm,
                keeps_output=keeps_output,
            ),
        )
        return apply

    return register


def bind_method(text: str) -> BoundMethod:
    """The method of `name` or `name(option=value, ...)`, values as Python literals.

    Raises: UnknownNameError; ConfigError for an unknown option or one of another type than its default.
    """
    name, bracket, _ = text.partition("(")
    method = METHODS[name]
    if not bracket:
        return BoundMethod(method=method)
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("options are given by name")
        options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"method '{text}': {error}; write it as {name}(option=value)") from None
    for option, value in options.items():
        if option not in method.options:
            known = ", ".join(f"{key}={default!r}" for key, default in method.options.items()) or "none"
            raise ConfigError(f"method '{text}': no option '{option}'; options of {name}: {known}")
        default = method.options[option]
        if default is not None and type(value) is not type(default):
            raise ConfigError(f"method '{text}': {option}={value!r}; its default is {default!r}")
    return BoundMethod(method=method, options=options)


def check_family(text: str, *, model: str, family: Family) -> None:
    """Raises: UnknownNameError; ConfigError; IncompatibleError when the method does not fit the family."""
    method = bind_method(text).method
    if family not in method.families:
        fitting = [name for name, entry in METHODS.items() if family in entry.families]
        raise IncompatibleError(
            f"method '{method.name}' does not fit model '{model}' (family {family}; it fits "
            f"{', '.join(sorted(method.families))}); methods for {model}: {', '.join(fitting)}"
        )


def apply_method(text: str, model: nn.Module) -> ParameterCounts:
    """Turn `model` in place into one that trains what the method trains, and its head.

    Draws the method's initial values from torch's global generator. The head is always trainable
    (design: the paper's counts contain it); listings that forget it train a random projection.
    """
    bound = bind_method(text)
    backbone = count_parameters(model)
    model.requires_grad_(False)
    bound.method.apply(model, **bound.options)
    head = classifier(model)
    if head is not None:
        head.requires_grad_(True)
    total = count_parameters(model)
    return ParameterCounts(
        trainable=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        inserted=total - backbone,
        head=count_parameters(head) if head is not None else 0,
        total=total,
    )


def set_train_mode(text: str, model: nn.Module) -> None:
    """`model.train()`, with BatchNorm in eval mode unless the method trains it.

    Freezing weight and bias does not freeze running_mean and running_var: in train mode they drift,
    and an adapter saved without them gives other logits on a fresh backbone.
    """
    model.train()
    if not bind_method(text).method.trains_batch_norm:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def classifier(model: nn.Module) -> nn.Module | None:
    """The head of a timm model; None for a network without one (the U-Net)."""
    if not hasattr(model, "get_classifier"):
        return None
    head = model.get_classifier()  # type: ignore[operator]
    assert isinstance(head, nn.Module), "timm's get_classifier returned no module"
    return head


def backbone_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every named module but the head and what lies in it."""
    head = classifier(model)
    outside = {id(module) for module in head.modules()} if head is not None else set()
    return [(name, module) for name, module in model.named_modules() if id(module) not in outside]


def count_parameters(model: nn.Module) -> int:
    """All parameters, trainable or not."""
    return sum(parameter.numel() for parameter in model.parameters())
