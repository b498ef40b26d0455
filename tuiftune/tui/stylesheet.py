"""A stylesheet that reads each piece of CSS once: Textual's reads all of it anew whenever a screen brings some more."""

from __future__ import annotations

from textual.css.stylesheet import Stylesheet


class KeptStylesheet(Stylesheet):
    """Rules are made anew only where the variables, the colours of the theme, have changed."""

    def __init__(self, *, variables: dict[str, str]) -> None:
        super().__init__(variables=variables)
        self._made_with = dict(variables)

    def set_variables(self, variables: dict[str, str]) -> None:
        if variables != self._made_with:
            self._made_with = dict(variables)
            super().set_variables(variables)

    def reparse(self) -> None:
        """`parse` keeps what it has read before."""
        self.parse()
