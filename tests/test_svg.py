"""An SVG inside the page: marks keep their names, and nothing in it acts."""

import re
from xml.etree import ElementTree

import pytest

from handhold import svg
from handhold.svg import Mark

SPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def drawing(inside, opening=""):
    return f'<svg {SPACES} width="20pt" height="10pt" {opening}>{inside}</svg>'


def inlined(inside, prefix="f"):
    """Inline a drawing; what a page gets has to be well formed as well."""
    found = svg.inline(drawing(inside), prefix)
    ElementTree.fromstring(found)
    return found


GROUP = (
    '<g id="people"><defs><path id="m" d="M 0 1.23456 L 1 0"/></defs><g id="axes">'
    '<use xlink:href="#m" x="1.00049" y="2"/><use xlink:href="#m" x="3" y="4"/></g></g>'
)


def test_marks_get_their_names_in_the_order_in_which_they_are_drawn():
    marks = [Mark("01: 0.12", subject="01"), Mark('02 <b>"&', subject='0"2', label="a")]
    root = ElementTree.fromstring(svg.identify(drawing(GROUP), {"people": marks}))
    first, second = root.iter(f"{svg.SVG}use")
    assert first.attrib == {
        svg.HREF: "#m", "x": "1", "y": "2", "data-subject": "01"
    }  # fmt: skip
    assert second.get("data-subject") == '0"2'
    assert second.get("data-label") == "a"
    assert [use.find(f"{svg.SVG}title").text for use in (first, second)] == [
        "01: 0.12",
        '02 <b>"&',
    ]
    assert [e.get("id") for e in root.iter() if e.get("id")] == ["people", "m"]
    # Neither the definition nor anything else is taken for a mark.
    assert len(list(root.iter(f"{svg.SVG}title"))) == 2
    assert root.find(f".//{svg.SVG}path").get("d") == "M 0 1.23 L 1 0"


@pytest.mark.parametrize("name", ["people", "nobody"])
def test_names_that_do_not_fit_the_marks_are_refused(name):
    with pytest.raises(ValueError, match=r"marks for 1 names"):
        svg.identify(drawing(GROUP), {name: [Mark("one")]})


def test_what_xml_cannot_write_is_replaced():
    marks = [Mark("a\x00b\ud800", subject="\x1b"), Mark("", subject="手")]
    text = svg.identify(drawing(GROUP), {"people": marks})
    shown = ElementTree.fromstring(text).find(f".//{svg.SVG}title").text
    assert shown == "a\ufffdb\ufffd"
    assert 'data-subject="手"' in text


HOSTILE = [
    "<script>alert(1)</script>",
    "<foreignObject><b>alert(1)</b></foreignObject>",
    "<style>@import 'http://alert';</style>",
    '<g onload="alert(1)"/>',
    '<a xlink:href="javascript:alert(1)"><path d="M0 0"/></a>',
    '<use xlink:href="http://alert/x.svg#a"/>',
    '<use href="data:image/svg+xml;base64,alert"/>',
    '<image xlink:href="http://alert/x.png"/>',
    '<image href="data:image/svg+xml;base64,alert"/>',
    '<path style="fill: url(http://alert)"/>',
    "<path fill=\"url('http://alert')\"/>",
    '<path mask="image-set(&quot;http://alert&quot;)"/>',
    '<path fill="u\\72l(//alert)"/>',
    '<path style="background: alert; --x: alert"/>',
    '<animate attributeName="href" values="javascript:alert(1)"/>',
    '<set attributeName="onclick" to="alert(1)"/>',
    "<title><b>alert</b></title><g><title><script>alert(1)</script></title></g>",
    "<g><title>a<text>alert</text></title></g>",
    '<html xmlns="http://www.w3.org/1999/xhtml"><b>alert(1)</b></html>',
    '<path xmlns:x="http://www.w3.org/2001/xml-events" x:onclick="alert(1)"/>',
    "<?xml-stylesheet href='http://alert'?><!-- alert --><metadata>alert</metadata>",
]


@pytest.mark.parametrize("inside", HOSTILE)
def test_nothing_in_a_page_runs_loads_or_styles(inside):
    found = inlined(inside + '<path d="M 1 1" fill="none"/>')
    assert "alert" not in found
    assert '<path d="M 1 1" fill="none"/>' in found
    # Also at the root, and behind a harmless name.
    assert "alert" not in svg.inline(
        drawing("", 'onload="alert(1)" style="alert"'), "f"
    )


def test_letters_of_a_tooltip_stay_letters():
    mark = Mark("</title><script>alert(1)</script>", subject='"><script>')
    text = svg.identify(drawing(GROUP), {"people": [mark, Mark("b")]})
    found = svg.inline(text, "f")
    assert "<script" not in found
    titles = ElementTree.fromstring(found).iter("title")
    assert [title.text for title in titles] == [mark.title, "b"]
    subjects = [
        use.get("data-subject") for use in ElementTree.fromstring(found).iter("use")
    ]
    assert subjects == [mark.subject, None]


def test_entities_and_what_is_no_svg_are_refused():
    bomb = '<!DOCTYPE svg [<!ENTITY a "aaaa">]>' + drawing("<text>&a;</text>")
    for text in (bomb, "", "<svg", "<html/>", drawing("", 'viewBox="0 0 1 &quot;"')):
        with pytest.raises(ValueError, match=r"SVG|viewBox"):
            svg.inline(text, "f")


def test_two_figures_of_a_page_do_not_share_an_id():
    clipped = '<clipPath id="c"><rect/></clipPath><g id="g g" clip-path="url(#c)"/>'
    both = inlined(GROUP + clipped, "a") + inlined(GROUP + clipped, "b")
    ids = re.findall(r' id="([^"]*)"', both)
    assert sorted(ids) == ["a-1", "a-2", "b-1", "b-2"]
    referred = set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', both))
    assert {name for pair in referred for name in pair if name} == set(ids)
    # Twice the same id in one figure: the page has it once.
    assert inlined(GROUP + GROUP).count(' id="f-1"') == 1


def test_a_style_becomes_attributes():
    found = inlined(
        "<style>*{stroke-linejoin: round; stroke-linecap: butt}</style>"
        '<path style="fill: #aabbcc; fill-opacity: 0.5; stroke: rgb(1, 2, 3); position: fixed"/>'
    )
    assert 'stroke-linejoin="round" stroke-linecap="butt">' in found
    assert '<path fill="#aabbcc" fill-opacity="0.5" stroke="rgb(1, 2, 3)"/>' in found
    assert "style" not in found
    assert found.startswith(
        '<svg role="img" aria-labelledby="f-alt" viewBox="0 0 20 10"'
    )


@pytest.mark.parametrize(
    ("looks", "shared"),
    [
        (("fill: red; fill-opacity: 0.5",) * 2, "fill: red; fill-opacity: 0.5"),
        (("fill: red", "fill: blue"), None),
        # Half of all marks at once is not half of each.
        (("fill: red; opacity: 0.5",) * 2, None),
    ],
)
def test_a_look_that_all_marks_share_is_written_once(looks, shared):
    uses = "".join(f'<use xlink:href="#m" style="{look}"/>' for look in looks)
    named = {"people": [Mark("a"), Mark("b")]}
    text = svg.identify(drawing(f'<g id="people">{uses}</g>'), named)
    group = ElementTree.fromstring(text).find(f"{svg.SVG}g")
    assert group.get("style") == shared
    assert [use.get("style") for use in group] == [
        look * (not shared) or None for look in looks
    ]
