"""The page that a browser is given: Textual's terminal, and nothing from any other server."""

from __future__ import annotations

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the token is in the address
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "font-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
}
"""Of every answer: only what this server sends is shown, and no other page may show or read it."""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>{title}</title>
<link rel="stylesheet" href="{base}/static/css/xterm.css">
<script src="{base}/static/js/textual.js"></script>
<script src="{base}/keys.js"></script>
<style>
@font-face {{
  font-family: "Roboto Mono"; font-weight: 100 700; font-style: normal;
  src: url("{base}/static/fonts/RobotoMono-VariableFont_wght.ttf");
}}
@font-face {{
  font-family: "Roboto Mono"; font-weight: 100 700; font-style: italic;
  src: url("{base}/static/fonts/RobotoMono-Italic-VariableFont_wght.ttf");
}}
html, body {{ margin: 0; height: 100%; overflow: hidden; background: #121212; }}
body {{ color: #e0e0e0; font: 16px "Roboto Mono", monospace; }}
.textual-terminal {{ position: absolute; inset: 0; }}
.note {{ position: absolute; inset: 0; display: flex; align-items: center; justify-content: center; z-index: 2; }}
.note, .note a {{ background: #121212; color: inherit; }}
.ended, .-first-byte .starting {{ display: none; }}
.-closed .ended {{ display: flex; }}
</style>
</head>
<body>
<div class="note starting">tuiftune <b>&nbsp;starts</b><i>&nbsp;…</i></div>
<div class="note ended"><p>This view has ended; runs go on. <a href="">Open it again</a></p></div>
<div class="textual-terminal" data-session-websocket-url="{websocket}" data-font-size="{font_size}"></div>
</body>
</html>
"""
"""Classes and data-attributes are those that textual.js looks for. The note's words make the browser load the fonts
before the terminal measures them."""

KEYS = """\
// The terminal has the keys as soon as the page is there, and again when the window is come back to.
function takeKeys() {
  const keys = document.querySelector(".xterm-helper-textarea");
  if (keys) keys.focus();
}
window.addEventListener("load", takeKeys);
window.addEventListener("focus", takeKeys);
"""
