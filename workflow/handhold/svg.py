"""SVG whose marks say who they are, and that can stand inside a page without acting there.

A figure is a file of its own and a part of the page. As a file it carries a tooltip on every
mark; inside a page its marks can be chosen, its names must not meet those of other figures,
and nothing that it holds may run, load or style what is outside of it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
ElementTree.register_namespace("", SVG[1:-1])
ElementTree.register_namespace("xlink", HREF[1 : -len("}href")])

# What may stand in a page; anything else is left out with what it holds.
ELEMENTS = {
    *("g", "defs", "symbol", "use", "image", "title", "desc", "text", "tspan"),
    *("path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
    *("clipPath", "mask", "marker", "pattern", "stop"),
    *("linearGradient", "radialGradient"),
}
# Numbers, lists of numbers and keywords: nothing in them can name another file.
GEOMETRY = {
    *("d", "points", "transform", "viewBox", "preserveAspectRatio"),
    *("x", "y", "width", "height", "dx", "dy", "rotate", "offset"),
    *("x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "fx", "fy", "refX", "refY"),
    *("markerWidth", "markerHeight", "markerUnits", "orient", "spreadMethod"),
    *("clipPathUnits", "maskUnits", "maskContentUnits"),
    *("patternUnits", "patternContentUnits", "patternTransform"),
    *("gradientUnits", "gradientTransform"),
}
PRESENTATION = {
    *("fill", "fill-opacity", "fill-rule", "opacity", "color", "display", "visibility"),
    *("stroke", "stroke-width", "stroke-opacity", "stroke-linecap", "stroke-linejoin"),
    *("stroke-dasharray", "stroke-dashoffset", "stroke-miterlimit", "paint-order"),
    *("clip-path", "clip-rule", "mask", "marker-start", "marker-mid", "marker-end"),
    *("stop-color", "stop-opacity", "image-rendering", "vector-effect"),
    *("font-family", "font-size", "font-style", "font-weight"),
    *("text-anchor", "dominant-baseline"),
}
NAMES = {"data-subject", "data-label"}
# Words, numbers, colours. No quote, backslash or slash: CSS could hide an address in them.
HARMLESS = re.compile(r"(?!url)[\w\s#%.,+-]*|(?:rgb|hsl)a?\([\d\s.,%]*\)")
REFERENCE = re.compile(r"url\(\s*[\"']?#([^\"')]+)[\"']?\s*\)")
PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]+")
# XML has no way to write these, escaped or not.
UNWRITABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Hundredths of a point are finer than any printer.
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")


class Mark(NamedTuple):
    """Whom or what a mark stands for, and what its tooltip says."""

    title: str
    subject: str = ""
    label: str = ""


def identify(svg_text: str, marks: Mapping[str, Sequence[Mark]]) -> str:
    """Write names and tooltips onto the marks of an SVG.

    Parameters
    ----------
    svg_text : str
        An SVG as matplotlib writes it.
    marks : mapping of str to sequence of Mark
        By id of a group, what its marks stand for, in the order in which they are drawn.

    Returns
    -------
    str
        The SVG: each mark has data-subject or data-label and a <title>. Coordinates are
        rounded to hundredths of a point, and a picture that comes again is kept once.

    Raises
    ------
    ValueError
        If a group is missing or does not hold as many marks as it has names: a name
        would stand on the wrong mark.
    """
    root = _parse(svg_text)
    groups = {group.get("id"): group for group in root.iter(f"{SVG}g")}
    for name, named in marks.items():
        drawn = list(_shapes(groups[name])) if name in groups else []
        if len(drawn) != len(named):
            raise ValueError(f"{name}: {len(drawn)} marks for {len(named)} names")
        for shape, mark in zip(drawn, named, strict=True):
            for key in ("subject", "label"):
                if getattr(mark, key):
                    shape.set(f"data-{key}", _writable(getattr(mark, key)))
            ElementTree.SubElement(shape, f"{SVG}title").text = _writable(mark.title)
        if drawn:
            _share_style(groups[name], drawn)
    _share_pictures(root)
    wanted = {name for element in root.iter() for name in _references(element)}
    wanted |= {*marks}
    for element in root.iter():
        if element.get("id") not in wanted:
            # matplotlib names everything, and panels alike
            element.attrib.pop("id", None)
        for key in {"d", "x", "y"} & {*element.attrib}:
            element.set(key, LONG_NUMBER.sub(_round, element.get(key)))
    written = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{written}\n'


def inline(svg_text: str, prefix: str) -> str:
    """Make an SVG fit to stand inside an HTML page.

    Parameters
    ----------
    svg_text : str
        The SVG; it may be hostile.
    prefix : str
        Letters, digits and hyphens that no other figure of the page has. Ids become
        `prefix`-1, `prefix`-2 and so on. The text that says what the figure shows is
        the caller's, in an element with the id `prefix`-alt.

    Returns
    -------
    str
        An <svg> element. It has no script, no event attribute, no address of another file,
        no style element or attribute (they became presentation attributes), and no size
        but its viewBox.

    Raises
    ------
    ValueError
        If the text is not an SVG, or declares entities.

    Examples
    --------
    >>> drawing = '<path style="fill: red" onclick="x()" d="M0 0"/><script/>'
    >>> inline(f'<svg xmlns="{SVG[1:-1]}" viewBox="0 0 9 4">{drawing}</svg>', "a")
    '<svg role="img" aria-labelledby="a-alt" viewBox="0 0 9 4"><path d="M0 0" fill="red"/></svg>'
    """
    root = _parse(svg_text)
    box = root.get("viewBox") or f"0 0 {_size(root, 'width')} {_size(root, 'height')}"
    if not re.fullmatch(r"[\d\s.,eE+-]+", box):
        raise ValueError(f"viewBox {box!r} is not four numbers")
    opening = {"role": "img", "aria-labelledby": f"{prefix}-alt", "viewBox": box}
    for style in root.iter(f"{SVG}style"):
        # matplotlib's only rule, for all elements: what is set on the root they inherit
        found = re.fullmatch(r"\s*\*\s*\{([^{}]*)\}\s*", style.text or "")
        opening |= _presented(_declared(found[1] if found else ""), {})
    wanted = {name for element in root.iter() for name in _references(element)}
    found = [
        element.get("id") for element in root.iter() if element.get("id") in wanted
    ]
    ids = {name: f"{prefix}-{i + 1}" for i, name in enumerate(dict.fromkeys(found))}
    written: set[str] = set()
    inside = "".join(
        _write(child, ids, written)
        for child in root
        if child.tag not in {f"{SVG}title", f"{SVG}desc"}
    )
    return f"<svg{_attributes(opening)}>{inside}</svg>"


def _parse(svg_text: str) -> Element:
    if "<!ENTITY" in svg_text:
        raise ValueError("an SVG that declares entities is not read")
    try:
        root = ElementTree.fromstring(svg_text)
    except ElementTree.ParseError as error:
        raise ValueError(f"this is not an SVG: {error}") from None
    if root.tag != f"{SVG}svg":
        raise ValueError(f"this is not an SVG: its root is {root.tag}")
    return root


def _shapes(group: Element) -> Iterator[Element]:
    """Walk what a group draws, in order; what it defines is not drawn."""
    for child in group:
        if child.tag in {f"{SVG}use", f"{SVG}path"}:
            yield child
        elif child.tag != f"{SVG}defs":
            yield from _shapes(child)


def _share_style(group: Element, drawn: Sequence[Element]) -> None:
    """Say what all marks of a group look like once, where all look the same."""
    styles = {shape.get("style") for shape in drawn}
    # the opacity of a group is not that of each of its marks
    if len(styles) == 1 and not re.search(r"(^|[ ;])opacity", min(styles) or "opacity"):
        for shape in drawn:
            group.set("style", shape.attrib.pop("style"))


def _share_pictures(root: Element) -> None:
    """Keep a picture that comes again once, under definitions, and refer to it."""
    places: dict[str | None, list[Element]] = {}
    for image in root.iter(f"{SVG}image"):
        places.setdefault(image.get(HREF), []).append(image)
    shared = [images for images in places.values() if len(images) > 1]
    for images in shared:
        name = images[0].get("id", "")
        kept = Element(images[0].tag, dict(images[0].attrib))
        kept.attrib.pop("transform", None)
        for image in images:
            place = {"transform": image.get("transform", ""), HREF: f"#{name}"}
            image.tag = f"{SVG}use"
            image.attrib.clear()
            image.attrib.update(place)
        root.insert(0, Element(f"{SVG}defs"))
        root[0].append(kept)


def _round(number: re.Match) -> str:
    rounded = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if rounded == "-0" else rounded


def _writable(text: object) -> str:
    return UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", str(text))


def _size(root: Element, name: str) -> str:
    found = re.match(r"[\d.]+", root.get(name, ""))
    return found[0] if found else "0"


def _references(element: Element) -> Iterator[str]:
    """List the ids that an element refers to."""
    target = element.get(HREF) or element.get("href") or ""
    if target.startswith("#"):
        yield target[1:]
    for value in element.attrib.values():
        yield from REFERENCE.findall(value)


def _write(element: Element, ids: Mapping[str, str], written: set[str]) -> str:
    """Write an element and what it holds, as far as a page may have it."""
    name = str(element.tag).removeprefix(SVG)
    if name not in ELEMENTS:
        return ""
    kept = _kept(element, ids)
    if name in {"use", "image"} and "href" not in kept:
        return ""
    own = ids.get(element.get("id"))
    # Of two with the same id the first is meant; a page may not have it twice.
    if own and own not in written:
        written.add(own)
        kept = {"id": own} | kept
    text = escape(element.text.strip()) if (element.text or "").strip() else ""
    # A browser reads what is in a title as HTML: letters only.
    inside = "" if name in {"title", "desc"} else _inside(element, ids, written)
    body = text + inside
    end = f">{body}</{name}>" if body else "/>"
    return f"<{name}{_attributes(kept)}{end}"


def _inside(element: Element, ids: Mapping[str, str], written: set[str]) -> str:
    parts = []
    for child in element:
        parts.append(_write(child, ids, written))
        parts.append(escape((child.tail or "").strip()))
    return "".join(parts)


def _kept(element: Element, ids: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes that a page may have, references under their new names."""
    given = element.attrib
    kept = {key: given[key] for key in given if key in GEOMETRY | NAMES}
    styled = {key: given[key] for key in given if key in PRESENTATION}
    kept |= _presented(styled | _declared(given.get("style", "")), ids)
    target = given.get(HREF) or given.get("href") or ""
    if target.startswith("#") and target[1:] in ids:
        kept["href"] = f"#{ids[target[1:]]}"
    elif element.tag == f"{SVG}image" and PICTURE.fullmatch(target):
        kept["href"] = "".join(target.split())
    return kept


def _declared(style: str) -> dict[str, str]:
    """Read the declarations of a style."""
    pairs = [part.partition(":")[::2] for part in style.split(";")]
    return {key.strip(): value.strip() for key, value in pairs}


def _presented(styled: Mapping[str, str], ids: Mapping[str, str]) -> dict[str, str]:
    """Keep what a presentation attribute may say."""
    kept = {}
    for key, value in styled.items():
        target = REFERENCE.fullmatch(value)
        if key not in PRESENTATION:
            continue
        if target and target[1] in ids:
            kept[key] = f"url(#{ids[target[1]]})"
        elif HARMLESS.fullmatch(value):
            kept[key] = value
    return kept


def _attributes(given: Mapping[str, str]) -> str:
    return "".join(f" {key}={quoteattr(value)}" for key, value in given.items())
