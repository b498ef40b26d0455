"""Fine-tune a causal language model from a terminal; these names are what plugin authors import.

They are resolved on first use (PEP 562): `import tuiftune` costs nothing, so the dashboard and
`tuiftune --help` never pay for pydantic or pluggy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuiftune.errors import RunStopped, StageError
    from tuiftune.hookspecs import hookimpl
    from tuiftune.options import Field, Options
    from tuiftune.stage import Context, DatasetLoader, Evaluator, Preprocessor, Stage, Trainer

__version__ = "0.1.0"

__all__ = [
    "Context",
    "DatasetLoader",
    "Evaluator",
    "Field",
    "Options",
    "Preprocessor",
    "RunStopped",
    "Stage",
    "StageError",
    "Trainer",
    "__version__",
    "hookimpl",
]

_HOMES = {
    "Context": "tuiftune.stage",
    "DatasetLoader": "tuiftune.stage",
    "Evaluator": "tuiftune.stage",
    "Field": "tuiftune.options",
    "Options": "tuiftune.options",
    "Preprocessor": "tuiftune.stage",
    "RunStopped": "tuiftune.errors",
    "Stage": "tuiftune.stage",
    "StageError": "tuiftune.errors",
    "Trainer": "tuiftune.stage",
    "hookimpl": "tuiftune.hookspecs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tuiftune' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
