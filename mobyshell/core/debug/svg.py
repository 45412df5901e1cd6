"""A flame graph as one SVG file: callers below, what they call upon them, as wide as the time.

Self-contained: a browser shows names and times by pointing, and widens a frame by a click (escape,
or a click on the lowest: all of it again). Without a browser it is a picture. Colours follow the
file, so that two graphs of the same program look alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from zlib import crc32

from mobyshell.core.debug.tree import Node, grow
from mobyshell.core.debug.values import Profile, visible

WIDTH = 1200
_ROW, _TOP, _FOOT, _SIDE = 18, 44, 12, 10
_LETTER = 6.6
"""Pixels of a letter of the font below, at most."""
_NARROWEST = 0.3
"""Pixels of the narrowest frame that is drawn."""
_MOST = 20_000
"""Frames of a picture: a browser should still be able to show it."""

_STYLE = (
    "text{font:11px monospace;fill:#222;pointer-events:none}"
    ".title{font-size:14px;font-weight:bold}.f rect{stroke:#fff;stroke-width:.5;cursor:pointer}"
    ".f:hover rect{stroke:#222}.off{display:none}.past rect{opacity:.55}"
)

_SCRIPT = """
(function(){
var all=[].slice.call(document.querySelectorAll('.f')),side=%d,width=%d,letter=%s;
function show(x0,w0,depth){all.forEach(function(g){
var x=+g.getAttribute('data-x'),w=+g.getAttribute('data-w'),d=+g.getAttribute('data-d');
var l=Math.max(0,(x-x0)/w0),r=Math.min(1,(x+w-x0)/w0),c=g.classList;
c.toggle('off',r-l<1e-4);c.toggle('past',d<depth);if(r-l<1e-4)return;
var px=side+l*width,pw=(r-l)*width,b=g.querySelector('rect'),t=g.querySelector('text');
b.setAttribute('x',px);b.setAttribute('width',pw);
var n=g.getAttribute('data-n'),m=Math.floor((pw-6)/letter);
t.setAttribute('x',px+3);t.textContent=m<3?'':n.length<=m?n:n.slice(0,m-1)+'\\u2026';});}
function all_of_it(){show(0,1,0);}
all.forEach(function(g){g.addEventListener('click',function(){
show(+g.getAttribute('data-x'),+g.getAttribute('data-w'),+g.getAttribute('data-d'));});});
document.addEventListener('keydown',function(e){if(e.key==='Escape')all_of_it();});
})();
"""


def draw(profile: Profile, title: str = "") -> str:
    """The graph of a profile; of one without any time, the frame that says so."""
    root = grow(profile)
    boxes = list(_boxes(root))[:_MOST]
    depth = 1 + max(box[2] for box in boxes)
    height = _TOP + depth * _ROW + _FOOT
    title = visible(title or f"process {profile.pid}")
    clock = "of processor time" if profile.clock == "cpu" else "of time"
    told = f"{root.ns / 1e9:.3f} s {clock} in {profile.seconds:.1f} s, {profile.samples} samples"
    if profile.dropped_ns:
        told += f"; {profile.dropped_ns / 1e9:.3f} s in too many different stacks are not shown"
    frames = "\n".join(_frame(box, root.ns, height) for box in boxes)
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}">\n<style>{_STYLE}</style>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fdfdf8"/>\n'
        f'<text class="title" x="{_SIDE}" y="18">{_text(title)}</text>\n'
        f'<text x="{_SIDE}" y="34">{_text(told)}</text>\n'
        f"{frames}\n<script><![CDATA["
        + _SCRIPT % (_SIDE, WIDTH - 2 * _SIDE, _LETTER)
        + "]]></script>\n</svg>\n"
    )


Box = tuple[Node, float, int, float]
"""A node, where it begins, how high it stands, how wide it is; in parts of the whole."""


def _boxes(root: Node) -> Iterator[Box]:
    whole = root.ns or 1
    waiting: list[Box] = [(root, 0.0, 0, 1.0)]
    while waiting:
        box = waiting.pop()
        yield box
        node, x, depth, _ = box
        for child in sorted(
            node.children.values(), key=lambda one: (one.frame.name, one.frame.line)
        ):
            width = child.ns / whole
            if width * WIDTH >= _NARROWEST:
                waiting.append((child, x, depth + 1, width))
            x += width


def _frame(box: Box, whole: int, height: int) -> str:
    node, x, depth, width = box
    frame = node.frame
    left, wide = _SIDE + x * (WIDTH - 2 * _SIDE), width * (WIDTH - 2 * _SIDE)
    top = height - _FOOT - (depth + 1) * _ROW
    name = visible(frame.name)
    room = int((wide - 6) / _LETTER)
    shown = "" if room < 3 else name if len(name) <= room else f"{name[: room - 1]}…"
    place = f"\n{visible(frame.place)}" if frame.file else ""
    part = f"{node.ns / whole:.1%}" if whole else "no time at all"
    told = f"{name}{place}\n{node.ns / 1e6:.1f} ms ({part}), itself {node.own_ns / 1e6:.1f} ms"
    return (
        f'<g class="f" data-x="{x:.6f}" data-w="{width:.6f}" data-d="{depth}" data-n="{_text(name)}">'
        f"<title>{_text(told)}</title>"
        f'<rect x="{left:.2f}" y="{top}" width="{wide:.2f}" height="{_ROW - 1}" '
        f'fill="{_colour(frame.file)}"/>'
        f'<text x="{left + 3:.2f}" y="{top + 13}">{_text(shown)}</text></g>'
    )


def _colour(file: str) -> str:
    """Ours are warm, what comes with Python is cool, what has no file is grey."""
    number = crc32(file.encode())
    if not file:
        return "#c8c8c0"
    ours = "/mobyshell/" in file
    hue = 12 + number % 40 if ours else 190 + number % 50
    return f"hsl({hue},{70 if ours else 40}%,{66 + number // 64 % 10}%)"


def _text(text: str) -> str:
    return escape(text, quote=True)
