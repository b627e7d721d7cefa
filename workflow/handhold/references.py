r"""Cite works by key, number them in the order cited, list them as text and as BibTeX.

Texts cite as Markdown does for pandoc: `[@coan2006; @kantonen2020]`. The works stand in
workflow/report/references.bib, one field a line. A map or an atlas of a user's own, whose
DOI is not there, is listed as its registry words it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

LIBRARY = Path(__file__).parents[1] / "report" / "references.bib"
ENTRY = re.compile(
    r"^@(?P<kind>\w+)\{(?P<key>[\w-]+),\n(?P<body>.*?)^\}$", re.MULTILINE | re.DOTALL
)
FIELD = re.compile(r"^  (\w+) = \{(.*)\},$", re.MULTILINE)
CITATION = re.compile(r"\[(@[\w-]+(?:; @[\w-]+)*)\]")
NO_DOI = frozenset({"", "n/a"})


@dataclass(frozen=True)
class Reference:
    """One work: its key, its BibTeX type, and its fields as BibTeX has them."""

    key: str
    kind: str
    fields: Mapping[str, str]

    @property
    def bibtex(self) -> str:
        """The entry as BibTeX, one field a line."""
        lines = [f"  {name} = {{{value}}},\n" for name, value in self.fields.items()]
        return f"@{self.kind}{{{self.key},\n{''.join(lines)}}}\n"

    @property
    def plain(self) -> str:
        """The work as a line of a list of references."""
        field = {name: _plain(value) for name, value in self.fields.items()}
        if self.kind == "misc":
            parts = [field["note"]]
        else:
            parts = [f"{_people(field['author'])} ({field['year']})", field["title"]]
            parts.append(_where(field))
        text = ". ".join(part.rstrip(".") for part in parts) + "."
        return text + (f" doi:{field['doi']}" if "doi" in field else "")


def read_references(path: Path = LIBRARY) -> dict[str, Reference]:
    """Read a library of BibTeX entries, one field a line, by key."""
    return parse_references(path.read_text(encoding="utf-8"))


def parse_references(text: str) -> dict[str, Reference]:
    r"""Read BibTeX entries, one field a line, by key.

    Raises
    ------
    ValueError
        If a key stands twice, or an entry is not written as `Reference.bibtex` writes it.

    Examples
    --------
    >>> entry = "@book{a1,\n  author = {Doe, J.},\n  year = {2001},\n}\n"
    >>> parse_references(entry)["a1"].fields
    {'author': 'Doe, J.', 'year': '2001'}
    """
    found = list(ENTRY.finditer(text))
    if len(found) != len(re.findall(r"^@", text, re.MULTILINE)):
        raise ValueError("an entry is not closed by a brace on a line of its own")
    library: dict[str, Reference] = {}
    for match in found:
        key, body = match["key"], match["body"]
        fields = dict(FIELD.findall(body))
        if key in library or len(fields) != body.count("\n"):
            raise ValueError(f"{key} stands twice, or a field is not on one line")
        library[key] = Reference(key, match["kind"], fields)
    return library


def find_works(
    citation: str, dois: str, library: Mapping[str, Reference]
) -> list[Reference]:
    """Return the works of a row of a registry: those of the library by DOI, else as it words it.

    Parameters
    ----------
    citation, dois : str
        As in the row; several DOIs are parted by semicolons.
    library : mapping of str to Reference
        By key.
    """
    by_doi = {
        work.fields["doi"].lower(): work
        for work in library.values()
        if "doi" in work.fields
    }
    asked = [doi.strip() for doi in dois.split(";") if doi.strip() not in NO_DOI]
    known = [by_doi.get(doi.lower()) for doi in asked]
    if known and all(known):
        return [work for work in known if work]
    key = re.sub(r"[^a-z0-9]", "", citation.lower())[:32] or "unnamed"
    fields = {"note": _guard(citation)}
    if asked:
        fields["doi"] = _guard("; ".join(asked))
    return [Reference(key, "misc", fields)]


def cite(works: Iterable[Reference]) -> str:
    """Write a citation of some works, as `number` reads it.

    Examples
    --------
    >>> cite([Reference("a", "book", {}), Reference("b", "book", {})])
    '[@a; @b]'
    """
    return f"[{'; '.join(f'@{work.key}' for work in works)}]"


def cited(text: str) -> list[str]:
    """List the keys that a text cites, in the order of their first citation."""
    keys = [key for group in CITATION.findall(text) for key in _keys(group)]
    return list(dict.fromkeys(keys))


def number(text: str, order: list[str]) -> str:
    """Replace the citations of a text by numbers: the place of each key in `order`.

    What only looks like a citation, such as in a reason that somebody gave, stays as it is.

    Examples
    --------
    >>> number("x [@b], y [@a; @b], z [@c]", ["b", "a"])
    'x [1], y [1, 2], z [@c]'
    """

    def numbers(match: re.Match) -> str:
        keys = _keys(match[1])
        if not set(keys) <= set(order):
            return match[0]
        places = sorted(order.index(key) + 1 for key in keys)
        return f"[{', '.join(map(str, places))}]"

    return CITATION.sub(numbers, text)


def _keys(group: str) -> list[str]:
    return [key.removeprefix("@") for key in group.split("; ")]


def _plain(value: str) -> str:
    return re.sub(r"\\([&%#$_])", r"\1", re.sub(r"[{}]", "", value))


def _guard(text: str) -> str:
    """Make any text safe as a field: no brace, backslash or line end of its own."""
    bare = re.sub(r"[{}\\]", "", " ".join(text.split()))
    return re.sub(r"([&%#$_])", r"\\\1", bare)


def _people(names: str) -> str:
    people = names.split(" and ")
    if people[-1] == "others":
        return ", ".join([*people[:-1], "et al."])
    return " & ".join(filter(None, [", ".join(people[:-1]), people[-1]]))


def _where(field: Mapping[str, str]) -> str:
    if "publisher" in field:
        return f"{field['address']}: {field['publisher']}"
    volume = field.get("volume", "")
    if "number" in field:
        volume += f"({field['number']})"
    place = field.get("journal") or f"In: {field['booktitle']}"
    parts = [f"{place} {volume}".strip(), field.get("pages", "")]
    return ", ".join(part for part in parts if part)
