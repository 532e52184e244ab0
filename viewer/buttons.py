"""Buttons that act for the browser they were pressed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import viser


def add_button(gui: viser.GuiApi, label: str, action: Callable[[viser.ClientHandle], None]) -> None:
    """A button that calls `action` with the browser that pressed it; errors are shown there."""
    button = gui.add_button(label)

    @button.on_click
    def _(event: viser.GuiEvent) -> None:
        if event.client is None:
            return
        try:
            action(event.client)
        except Exception as error:  # shown where the button was pressed
            event.client.add_notification(f"{label} failed", str(error), color="red")
