"""`tuiftune compare` and `tuiftune diff`: what runs were set to, and what came of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from tuiftune.commands.common import json_option
from tuiftune.paths import find_workspace

if TYPE_CHECKING:
    from tuiftune.run.compare import Compared


@click.command()
@click.argument("references", metavar="RUN RUN...", nargs=-1, required=True)
@json_option
def compare(references: tuple[str, ...], json_wanted: bool) -> None:
    """Put up to 6 RUNs side by side: results, the settings that differ, and their curves."""
    from tuiftune import comparison, output
    from tuiftune.text import is_unicode

    found = _look(references)
    if json_wanted:
        output.as_json(_as_json(found, with_curves=True))
        return
    output.fact(comparison.draw_comparison(found, output.width(), is_unicode(sys.stdout)))


@click.command()
@click.argument("references", metavar="RUN RUN...", nargs=-1, required=True)
@json_option
def diff(references: tuple[str, ...], json_wanted: bool) -> None:
    """Print the settings that are not the same in all of up to 6 RUNs."""
    from tuiftune import comparison, output

    found = _look(references)
    if json_wanted:
        output.as_json(_as_json(found, with_curves=False)["settings"])
    else:
        output.fact(comparison.draw_difference(found, output.width()))


def _look(references: tuple[str, ...]) -> list[Compared]:
    from tuiftune.run.compare import Comparing
    from tuiftune.run.folder import find_run

    workspace = find_workspace()
    comparing = Comparing([find_run(workspace, reference) for reference in references])
    try:
        return comparing.look()
    finally:
        comparing.close()


def _as_json(found: list[Compared], with_curves: bool) -> dict[str, Any]:
    """`settings`: only those that differ, a value a run, null where a run has none."""
    from tuiftune.run.compare import different_keys

    keys = different_keys([one.settings for one in found])
    data: dict[str, Any] = {
        "runs": [one.summary.to_json() for one in found],
        "settings": {key: {one.summary.id: one.settings.get(key) for one in found} for key in keys},
    }
    if with_curves:
        data["curves"] = {one.summary.id: _curves(one) for one in found}
    return data


def _curves(one: Compared) -> dict[str, Any]:
    """Thinned to some 2,000 points: step, mean, lowest and highest value of each."""
    from tuiftune.run.compare import SERIES
    from tuiftune.run.summary import json_number

    curves = {series.key: one.curves[series.key] for series in SERIES if one.curves.get(series.key)}

    return {
        name: [
            {"step": step, "mean": json_number(mean), "low": json_number(low), "high": json_number(high)}
            for step, mean, low, high in zip(curve.steps, curve.means, curve.lows, curve.highs, strict=True)
        ]
        for name, curve in curves.items()
    }
