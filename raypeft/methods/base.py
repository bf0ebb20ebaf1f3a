"""The frame around every method: options, freezing, applying, head, counts, BatchNorm mode.

A method is a function that receives a completely frozen network and, in place, unfreezes or adds what it
trains. Everything that methods have in common is here.
"""

import difflib
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypeft.core.canonical import settled
from raypeft.core.errors import ConfigError, IncompatibleError
from raypeft.core.registry import Registry, parse_call, write_call
from raypeft.core.spec import Task
from raypeft.methods.decay import declare_weights
from raypeft.models.families import PARTS, Part, classifier

Apply = Callable[..., None]
Count = Callable[..., int]
Merge = Callable[[nn.Module], None]
Trait = bool | Callable[..., bool]  # of a method whatever its options, or else (**options) -> bool


def already_plain(model: nn.Module) -> None:
    """Do nothing: the merge of a method that inserts nothing."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to make a frozen network trainable with few parameters."""

    name: str
    needs: frozenset[Part]  # of a network
    paper: str
    apply: Apply  # (model, **options)
    count: Count  # (plain model, **options) -> trainable parameters without the head, from layer shapes
    trains_batch_norm: Trait  # True: batch statistics, running ones updated; False: BatchNorm in eval mode
    keeps_output: Trait  # whether the output is unchanged before the first step
    decays: frozenset[str]  # inserted bare parameters that are weights: weight decay takes them too
    merge: Merge | None  # folds what was inserted into plain weights; None: it cannot be folded
    peft_config: (
        Callable[..., dict[str, Any]] | None
    )  # (model, **options) -> adapter_config.json, if `peft` reads it
    defaults: Mapping[Task, Mapping[str, Any]]  # by task, of options whose default is None

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the method's options with their defaults."""
        parameters = inspect.signature(self.apply).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def kind(self, option: str) -> Any:
        """Return the type of an option: that of its default, or its annotation if the default is None."""
        default = self.options[option]
        return get_type_hints(self.apply).get(option) if default is None else type(default)

    def choices(self, option: str) -> tuple[Any, ...]:
        """Return the allowed values of an option annotated as a Literal; empty for other options."""
        annotation = inspect.signature(self.apply).parameters[option].annotation
        return get_args(annotation) if get_origin(annotation) is Literal else ()


@dataclass(frozen=True, kw_only=True)
class ParameterCounts:
    """The numbers of parameters; `inserted` are those that the backbone does not have."""

    trainable: int
    inserted: int
    head: int
    total: int


@dataclass(frozen=True, kw_only=True)
class BoundMethod:
    """A method with the options that a cell names, e.g. `lora(rank=4)`, and what it does to a network."""

    text: str  # as it was written
    method: Method
    options: Mapping[str, Any]

    @property
    def trains_batch_norm(self) -> bool:
        """True if BatchNorm uses batch statistics in training, and its running statistics are saved."""
        return self._answer(self.method.trains_batch_norm)

    @property
    def keeps_output(self) -> bool:
        """True if the output is unchanged before the first step."""
        return self._answer(self.method.keeps_output)

    def canonical(self, task: Task) -> str:
        """Return the one spelling for models of a task: options sorted, defaults left out."""
        method = self.method
        plain = {**method.options, **method.defaults.get(task, {})}
        shown = {
            option: value
            for option, value in self.options.items()
            if value not in (method.options[option], plain[option])
        }
        return write_call(method.name, shown)

    def apply(self, network: nn.Module) -> ParameterCounts:
        """Make `network`, in place, train what the method trains and its head; return the counts.

        The method's initial values are drawn from torch's global generator. The head is always trainable
        (design: the paper's counts contain it); listings that forget it train a random projection.
        """
        backbone, head = count_parameters(network), classifier(network)
        num_head = count_parameters(head) if head is not None else 0  # as it came: a method may add to it
        network.requires_grad_(False)
        try:
            self.method.apply(network, **self.options)
        except (ValueError, RuntimeError, ArithmeticError, AssertionError) as error:
            raise IncompatibleError(
                f"method '{self.text}' cannot be applied to {type(network).__name__}: {error}; choose other "
                "options"
            ) from error
        declare_weights(network, self.method.decays)
        if self.method.name != "linear" and not any(p.requires_grad for p in network.parameters()):
            raise IncompatibleError(
                f"method '{self.text}' finds nothing to train in {type(network).__name__}; choose another"
            )
        if head is not None:
            head.requires_grad_(True)
        total = count_parameters(network)
        return ParameterCounts(
            trainable=sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad),
            inserted=total - backbone,
            head=num_head,
            total=total,
        )

    def set_train_mode(self, network: nn.Module) -> None:
        """Call `network.train()`, but keep BatchNorm in eval mode unless the method trains it.

        Freezing weight and bias does not freeze running_mean and running_var: in train mode they drift, and
        an adapter saved without them gives other logits on a fresh backbone.
        """
        network.train()
        if not self.trains_batch_norm:
            for module in network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def merge(self, network: nn.Module) -> None:
        """Fold what the method inserted into the weights, so that `network` has only the backbone's tensors.

        Raises: IncompatibleError for a method whose insertions cannot be expressed by the weights.
        """
        if self.method.merge is None:
            raise IncompatibleError(
                f"method '{self.text}' cannot be merged: what it inserts is not linear; keep the adapter"
            )
        with torch.no_grad():
            self.method.merge(network)

    def _answer(self, trait: Trait) -> bool:
        return trait if isinstance(trait, bool) else trait(**self.options)


METHODS: Registry[Method] = Registry("method")


def register_method(
    name: str,
    *,
    needs: Collection[Part],
    paper: str,
    count: Count,
    trains_batch_norm: Trait = False,
    keeps_output: Trait = True,
    decays: Collection[str] = (),
    merge: Merge | None = already_plain,
    peft_config: Callable[..., dict[str, Any]] | None = None,
    defaults: Mapping[Task, Mapping[str, Any]] | None = None,
) -> Callable[[Apply], Apply]:
    """Register the decorated function as the method `name`; one function may have several names.

    The function takes a frozen network and keyword-only options, and changes the network in place.

    Parameters:
        needs: the parts of a network without which it does not fit, e.g. {"qkv"}; see models/families.py.
        paper: the citation in tables.
        count: (plain network, **options) -> trainable parameters without the head, from the shapes of layers.
        trains_batch_norm: True if BatchNorm stays in training mode; may depend on the options.
        keeps_output: True if the output is unchanged before the first step; may depend on the options.
        decays: names of inserted bare parameters that weight decay pulls towards zero.
        merge: folds what was inserted into the weights; None if that is impossible.
        peft_config: (network, **options) -> adapter_config.json, if `peft` can read the adapter.
        defaults: by task, the values of options whose default is None.
    Raises: ConfigError for a part that there is not; DuplicateNameError.
    """

    for part in sorted(set(needs).difference(PARTS)):
        near = difflib.get_close_matches(part, PARTS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"method '{name}': no part '{part}' of a network; {hint}known: {', '.join(PARTS)}")

    def register(apply: Apply) -> Apply:
        METHODS.add(
            name,
            Method(
                name=name,
                needs=frozenset(needs),
                paper=paper,
                apply=apply,
                count=count,
                trains_batch_norm=trains_batch_norm,
                keeps_output=keeps_output,
                decays=frozenset(decays),
                merge=merge,
                peft_config=peft_config,
                defaults=defaults or {},
            ),
        )
        return apply

    return register


def bind_method(text: str) -> BoundMethod:
    """Return the method of `name` or `name(option=value, ...)`; values are Python literals.

    Raises: UnknownNameError; ConfigError for an unknown option, a value of another type than the default, or
    a value that is not among its choices.
    """
    name, options = parse_call(text, kind="method")
    method = METHODS[name]
    for option, value in options.items():
        if option not in method.options:
            known = ", ".join(f"{key}={default!r}" for key, default in method.options.items()) or "none"
            raise ConfigError(f"method '{text}': no option '{option}'; options of {name}: {known}")
        default = method.options[option]
        try:
            options[option] = settled(value, method.kind(option))
            _check_choice(options[option], method.choices(option))
            _check_count(options[option], default)
        except ValueError as error:
            raise ConfigError(
                f"method '{text}': {option}={value!r} must be {error}; its default is {default!r}"
            ) from None
    return BoundMethod(text=text, method=method, options=options)


def _check_choice(value: Any, choices: tuple[Any, ...]) -> None:
    if choices and value not in choices:
        raise ValueError(" or ".join(map(repr, choices)))


def _check_count(value: Any, default: Any) -> None:
    """Check a rank, a number of tokens or a width: a whole number of at least 1 if its default is one."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and value < 1 and (default is None or default >= 1):
        raise ValueError("at least 1")


def missing_parts(method: Method, parts: Collection[Part]) -> str:
    """Return what the method needs and `parts` lack, in words; "" if they lack nothing."""
    return " and ".join(PARTS[part] for part in sorted(method.needs.difference(parts)))


def check_parts(method: Method, *, model: str, parts: Collection[Part]) -> None:
    """Check that a model's network has what the method needs. Raises: IncompatibleError if not."""
    if lacking := missing_parts(method, parts):
        fitting = [name for name, entry in METHODS.items() if entry.needs <= set(parts)]
        raise IncompatibleError(
            f"method '{method.name}' does not fit model '{model}': it needs "
            f"{lacking}; methods for {model}: {', '.join(fitting)}"
        )


def count_parameters(model: nn.Module) -> int:
    """Return the number of all parameters, trainable or not."""
    return sum(parameter.numel() for parameter in model.parameters())
