"""The program that shows the brain of section Look, and what it shows, as the page holds them.

The program is niivue [1]_, of which the package jupyterlab_niivue carries a build. The page
takes from it what draws volumes, compressed, under a hash that its policy names; nothing of it
is a part of this repository.

References
----------
.. [1] Taylor et al. (2021), NiiVue, https://github.com/niivue/niivue.
"""

import base64
import gzip
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from handhold.errors import StudyError
from handhold.io import read_json, replacing, write_json

PACKAGE = "jupyterlab_niivue"
PROGRAM = "jupyterlab_niivue/labextension/static/niivue/index.js"
# What stands behind niivue in that file is the JupyterLab application and a DICOM converter.
END = re.compile(r'^var \w+ = Symbol\.for\("preact-signals"\);$', re.MULTILINE)
CLASS = re.compile(
    r"\b(\w+) = class extends EventTarget \{\s*/\*\*\s*\* @param options +- options object to "
    r"set modifiable Niivue properties"
)
VERSION = re.compile(r'\bversion: "(\d+\.\d+\.\d+)"')
# Libraries inside niivue's build, by its source map; each under the MIT licence but the last.
INSIDE = (
    "preact, gl-matrix, @lukeed/uuid, array-equal, fflate, nifti-reader-js and zarrita (MIT), "
    "@ungap/structured-clone (ISC)"
)
# Colours from weak to strong on black, as red, green and blue (0 to 255). Warm and blue are told
# apart in every common colour vision; lightness rises with strength in each.
COLOURS = {
    "warm": ((110, 28, 0), (213, 94, 0), (255, 176, 66), (255, 240, 190)),
    "blue": ((0, 40, 110), (0, 114, 178), (86, 180, 233), (205, 240, 255)),
    "green": ((10, 50, 30), (0, 130, 90), (90, 195, 120), (225, 250, 170)),
}
# In the order of `drawing.COLOURS`, so that an ROI that is green in a figure is not purple here;
# its blue and vermilion, which the maps have, are white and yellow.
OF_ROIS = (
    *((255, 255, 255), (240, 228, 66), (0, 200, 150), (204, 121, 167)),
    *((86, 180, 233), (230, 159, 0), (190, 190, 190), (180, 130, 255)),
)


class Program(NamedTuple):
    """Niivue as the page holds it: `version`, `script` (what runs), `licence` (its text)."""

    version: str
    script: str
    licence: str


@dataclass(frozen=True)
class View:
    """What the brain shows: `facts` (as view.json has them) and `files`, gzipped NIfTI by name."""

    facts: dict
    files: dict[str, bytes]


def read_program() -> Program | None:
    """Read niivue from the installed package; None where it is not installed.

    Raises
    ------
    StudyError
        If the package holds something else than the version that this was written for.
    """
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError:
        return None
    path = Path(found.locate_file(PROGRAM))
    licences = [f for f in found.files or () if f.name == "LICENSE"]
    if not path.is_file() or not licences:
        raise StudyError(
            f"{PACKAGE} {found.version} has no {'licence' if path.is_file() else PROGRAM}, from "
            "which the report takes its interactive brain. Install the version that pyproject.toml "
            "names."
        )
    text = path.read_text(encoding="utf-8")
    licence = Path(found.locate_file(licences[0])).read_text(encoding="utf-8")
    return cut_program(text, licence, f"{PACKAGE} {found.version}")


def cut_program(text: str, licence: str, where: str) -> Program:
    """Cut niivue out of the application that it is built into.

    Parameters
    ----------
    text : str
        The application: a module without exports.
    licence : str
    where : str
        Package and version, for the error.

    Returns
    -------
    Program
        Its script leaves the class as `globalThis.handholdNiivue`, and nothing else.

    Raises
    ------
    StudyError
        If the file is not laid out as expected.
    """
    end, found, version = END.search(text), CLASS.search(text), VERSION.search(text)
    body = text[: end.start()] if end else ""
    faults = [
        *(["the end of niivue"] if not end else []),
        *(["its class"] if not found or found.start() > len(body) else []),
        *(["its version"] if not version else []),
        *(
            ["a script that can stand alone"]
            if re.search(
                r"\bimport\.meta\b|^(im|ex)port\b|</script", body, re.MULTILINE
            )
            else []
        ),
    ]
    if faults:
        raise StudyError(
            f"{where}: {', '.join(faults)} not found in {PROGRAM}, from which the report takes "
            "its interactive brain. Install the version that pyproject.toml names."
        )
    script = f'(() => {{\n"use strict";\n{body}\nglobalThis.handholdNiivue = {found[1]};\n}})();\n'
    # A browser hashes what it parsed, in which line ends are single.
    return Program(version[1], script.replace("\r\n", "\n"), licence.strip())


def write_view(view: View, folder: str | Path) -> None:
    """Write the volumes, and view.json, which says what they are."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in view.files.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    write_json(view.facts, folder / "view.json")


def read_view(folder: str | Path) -> View:
    """Read what `write_view` wrote."""
    folder = Path(folder)
    facts = read_json(folder / "view.json")
    names = [
        facts["template"]["file"],
        *(own["file"] for own in facts["attenuation"]["maps"]),
        facts["receptor"]["file"],
        facts["rois"]["file"],
    ]
    return View(facts, {name: (folder / name).read_bytes() for name in names})


def embed(view: View, program: Program | None) -> dict:
    """Turn volumes and program into what the page holds.

    Returns
    -------
    dict
        facts; data, for the page's own script: facts, colours, and volumes as base64; bars and
        legend, the colours as the page explains them; size and step of the voxels in words; niivue,
        the gzipped script as base64 (empty without a program), script, its text, which the
        policy has to allow, version, licence, and inside, what else niivue's build holds.
    """
    facts = view.facts
    volumes = {name: _text(content) for name, content in view.files.items()}
    colours = {**COLOURS, "rois": OF_ROIS}
    embedded = {
        "facts": facts,
        "data": {**facts, "colours": colours, "volumes": volumes},
        "bars": {
            "attenuation": _bar(
                [*COLOURS["blue"][::-1], (0, 0, 0), *COLOURS["warm"]],
                [-facts["attenuation"]["limit"], 0, facts["attenuation"]["limit"]],
            ),
            "receptor": _bar(COLOURS["green"], [0, facts["receptor"]["limit"]]),
        },
        "legend": [
            {"name": name, "colour": _hex(OF_ROIS[i % len(OF_ROIS)])}
            for i, name in enumerate(facts["rois"]["names"])
        ],
        "size": " x ".join(
            f"{size * facts['grid']['step']:.3g}" for size in facts["grid"]["size_mm"]
        ),
        "step": {2: "2nd", 3: "3rd"}.get(
            facts["grid"]["step"], f"{facts['grid']['step']}th"
        ),
        "niivue": "",
        "package": PACKAGE,
    }
    if program is None:
        return embedded
    return embedded | {
        "niivue": _text(gzip.compress(program.script.encode("utf-8"), 9, mtime=0)),
        "script": program.script,
        "version": program.version,
        # inside a comment, which two hyphens may end
        "licence": Markup(program.licence.replace("--", "- -")),
        "inside": INSIDE,
    }


def _bar(stops: list[tuple], ends: list[float]) -> dict:
    """Describe a colour bar: stops along it, and the numbers below it."""
    last = len(stops) - 1
    return {
        "stops": [
            {"at": f"{i / last:.3f}", "colour": _hex(stop)}
            for i, stop in enumerate(stops)
        ],
        "ends": [f"{end:g}".replace("-", "\N{MINUS SIGN}") for end in ends],
    }


def _hex(colour: tuple) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
