"""Small widgets that get plain data through `show(...)` and repaint only what changed."""
