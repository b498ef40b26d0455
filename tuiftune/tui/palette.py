"""The command palette's entries: whatever has a key here, so that there is one list of what can be done."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.dom import DOMNode
from textual.screen import Screen

from tuiftune.tui.places import PLACES

MORE = "more."
"""The id of a binding begins so that is in the palette and the help, and for which the row of keys has no room."""


def keyed_actions(screen: Screen[Any], hidden_too: bool = False) -> Iterator[tuple[str, str, DOMNode, str]]:
    """(description, key, node, action) of what the footer shows on a screen, nearest first; `hidden_too`: and of what
    it has no room for, whose id begins with MORE."""
    for active in screen.active_bindings.values():
        binding = active.binding
        if (
            (binding.show or (hidden_too and str(binding.id).startswith(MORE)))
            and active.enabled
            and binding.description
        ):
            yield binding.description, screen.app.get_key_display(binding), active.node, binding.action


class KeyedCommands(Provider):
    """Every action with a key on the screen below the palette, by its description."""

    def _entries(self) -> Iterator[tuple[str, str, Any]]:
        seen: set[str] = set()
        for description, key, node, action in keyed_actions(self.screen, hidden_too=True):
            if description not in seen:  # a window that several keys close is closed by one entry
                seen.add(description)
                yield description, f"key: {key}", partial(self.app.run_action, action, node)
        for place in PLACES:
            yield (
                f"Go to: {place.title}",
                f"key: {place.key}   {place.about}",
                partial(self.app.run_action, f"go({place.name!r})", self.app),
            )
        yield "Theme", "other colours, from now on", self.app.action_change_theme

    async def discover(self) -> Hits:
        for description, text, command in self._entries():
            yield DiscoveryHit(description, command, help=text)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for description, text, command in self._entries():
            score = matcher.match(description)
            if score > 0:
                yield Hit(score, matcher.highlight(description), command, help=text)
