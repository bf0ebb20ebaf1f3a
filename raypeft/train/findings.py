"""The result of checking a method: it passes, the check does not apply, or by how much it fails."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from raypeft.core.errors import IncompatibleError
from raypeft.core.foreign import described, place_of
from raypeft.train.subjects import Subject


class NotConformingError(Exception):
    """A check failed; the message says by how much or where."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check of one method on one network; `passed` is None if the check does not apply."""

    method: str
    network: str  # a family's, or "timm:" and an architecture
    check: str
    passed: bool | None
    detail: str = ""


def find(subject: Subject, name: str, check: Callable[[Subject], None]) -> Finding:
    """Run one check and return its finding; the method may fail in any way."""
    passed: bool | None = True
    detail = ""
    try:
        check(subject)
    except IncompatibleError as error:
        passed, detail = None, str(error)
    except NotConformingError as error:
        passed, detail = False, str(error)
    except Exception as error:  # a method may fail in any way; the kit reports and goes on
        place = place_of(error)
        passed, detail = False, f"{place}: {described(error)}" if place else described(error)
    return Finding(
        method=subject.method.text, network=subject.backbone, check=name, passed=passed, detail=detail
    )


def close(found: torch.Tensor, wanted: torch.Tensor, what: str, *, tolerance: float) -> None:
    """Check that two tensors differ by at most `tolerance` of the maximum. Raises: NotConformingError."""
    difference = (found.float() - wanted.float()).abs().max().item()
    if difference > tolerance * max(wanted.abs().max().item(), 1e-3):
        raise NotConformingError(f"{what} differs by {difference:.2g}")
