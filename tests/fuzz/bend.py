"""Right inputs, and what is done to them: the same code draws from a seed, Hypothesis or atheris.

Every function takes a `random.Random`, or something that draws as one does.
"""

import struct

# Cells, labels and words that tables, names and configurations have been seen with, or should not.
ODD = (
    *(
        "",
        " ",
        "n/a",
        "NaN",
        "nan",
        "inf",
        "-inf",
        "None",
        "0",
        "-1",
        "1e400",
        "1e-400",
        "-0.0",
    ),
    *(
        "1_000",
        "1,5",
        "0x1A",
        "True",
        "9" * 400,
        "9" * 5000,
        "01",
        "1.0",
        "+1",
        "\u0661\u0662",
    ),
    *(
        "\u00e9",
        "\u624b",
        "e\u0301",
        "\u202e",
        "\ufeff",
        "\x0b",
        "\x1c",
        "\x85",
        "\u2028",
        "\x7f",
    ),
    *(
        "../../x",
        "/abs/x",
        "a/b",
        "a\\b",
        ".",
        "..",
        "~",
        "CON",
        "nul.tsv",
        "-rf",
        "--option",
    ),
    *("x" * 300, "x" * 70000, "sub-01", "sub-", "alone", "threat", "safe", "partner"),
    *(
        "=cmd|' /C calc'!A0",
        "@SUM(A1)",
        "+1+1",
        "<script>alert(1)</script>",
        "</script>",
        "&lt;",
    ),
    *(
        "{0.__class__}",
        "{subject!r:>99}",
        "{}",
        "{",
        "%s",
        "$(id)",
        "`id`",
        "; id",
        "| id",
        "\n",
    ),
    *(
        "'",
        '"',
        '""',
        'a"b',
        '"a',
        "\t",
        "\r",
        "\x00",
        "a\x00b",
        "\ud800",
        "[](",
        "(a+)+$",
        "\\",
    ),
)
PLAIN = (
    "01",
    "1.5",
    "-2",
    "n/a",
    "alone",
    "threat",
    "partner",
    "é",
    "手 Ünal",
    "a b",
    "=1+1",
    "3e2",
)
# Bytes that mean something to a reader.
BYTES = (
    b"\x00",
    b"\xff",
    b"\x80",
    b"\t",
    b"\n",
    b"\r",
    b'"',
    b",",
    b"{",
    b"[",
    b":",
    b"-",
    b"9",
)
ENDS = ("\n", "\r\n", "\r")
NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    127,
    255,
    32767,
    -32768,
    65535,
    2**31 - 1,
    -(2**31),
    2**40,
    2**62,
)
REALS = (
    0.0,
    -1.0,
    1e-30,
    1e30,
    3e38,
    float("nan"),
    float("inf"),
    float("-inf"),
    1.5,
    -0.0,
)


def bend(rng, content: bytes, most: int = 4) -> bytes:
    """Change some bytes: flip, put, cut, repeat, insert, truncate, swap."""
    content = bytearray(content)
    for _ in range(rng.randint(1, most)):
        if not content:
            return rng.randbytes(rng.randint(0, 20))
        start = rng.randrange(len(content))
        stop = min(len(content), start + rng.choice((1, 1, 2, 4, 8, 40)))
        kind = rng.randrange(8)
        if kind == 0:
            content[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[start:stop] = rng.choice(BYTES) * rng.choice((1, 1, 3))
        elif kind == 2:
            del content[start:stop]
        elif kind == 3:
            content[start:start] = content[start:stop] * rng.choice((1, 2, 20))
        elif kind == 4:
            content[start:start] = rng.randbytes(rng.randint(1, 8))
        elif kind == 5:
            del content[start:]
        elif kind == 6:
            other = rng.randrange(len(content))
            content[start], content[other] = content[other], content[start]
        else:
            content[start:stop] = rng.choice(ODD[:60]).encode("utf-8", "surrogatepass")
    return bytes(content)


def draw_rows(rng, columns=(), words=PLAIN) -> list[list[str]]:
    """Draw a table: a header (those `columns`, or some), and rows with a first cell."""
    header = list(columns) or [f"c{i}" for i in range(rng.randint(1, 6))]
    rows = [
        [f"s{i}", *(rng.choice(words) for _ in header[1:])]
        for i in range(rng.randint(1, 8))
    ]
    return [header, *rows]


def bend_rows(rng, rows: list[list[str]]) -> list[list[str]]:
    """Change some cells, rows or columns of a table."""
    rows = [list(row) for row in rows]
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows)
        kind = rng.randrange(9)
        if kind < 4 and row:
            row[rng.randrange(len(row))] = rng.choice(ODD)
        elif kind == 4 and row:
            row.pop(rng.randrange(len(row)))
        elif kind == 5:
            row.insert(rng.randint(0, len(row)), rng.choice(ODD))
        elif kind == 6:
            rows.append(list(row))
        elif kind == 7 and rows[0]:
            rows[0].append(rng.choice(rows[0]))
        elif len(rows) > 1:
            rows.remove(row)
    return rows


def as_text(
    rng, rows: list[list[str]], separator: str = "\t", *, mixed: bool = False
) -> str:
    """Write rows with the line ends of some system, or of several."""
    end = rng.choice(ENDS)
    lines = (separator.join(row) for row in rows)
    return "".join(line + (rng.choice(ENDS) if mixed else end) for line in lines)


def encode(rng, text: str) -> tuple[bytes, str]:
    """Encode text as programs do, UTF-8 mostly; what cannot be encoded so becomes UTF-8."""
    name = rng.choice(
        ("utf-8",) * 6
        + ("utf-8-sig",) * 2
        + ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1")
    )
    try:
        return text.encode(name), name
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass"), "utf-8"


def odd_value(rng):
    """Draw what YAML or JSON may hold in place of what was meant."""
    kind = rng.randrange(9)
    if kind < 3:
        return rng.choice(ODD)
    if kind == 3:
        return rng.choice(REALS)
    if kind == 4:
        return rng.choice(NUMBERS) * rng.choice((1, 1, 10**30, 10**400))
    if kind == 5:
        return rng.choice((None, True, False))
    if kind == 6:
        return [rng.choice(ODD) for _ in range(rng.randint(0, 3))]
    if kind == 7:
        return {rng.choice((*ODD, 1, None, True, 1.5)): rng.choice(ODD)}
    deep: object = rng.choice(ODD)
    for _ in range(rng.choice((3, 30, 90))):
        deep = rng.choice(([deep], {"a": deep}))
    return deep


def bend_tree(rng, tree, most: int = 3):
    """Change some leaves or branches of nested dicts and lists, in place; return the tree."""
    for _ in range(rng.randint(1, most)):
        place = tree
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = rng.choice(keys)
            below = place[key]
            if isinstance(below, dict | list) and below and rng.random() < 0.7:
                place = below
                continue
            kind = rng.randrange(6)
            if kind == 0:
                del place[key]
            elif kind == 1 and isinstance(place, dict):
                place[rng.choice((*ODD, 1, None, 2.5, True))] = odd_value(rng)
            elif kind == 2 and isinstance(place, dict) and isinstance(key, str):
                place[key[:-1] + rng.choice("xyz")] = place.pop(key)
            else:
                place[key] = odd_value(rng)
            break
    return tree


def set_field(
    rng, content: bytes, fields: dict[str, tuple[int, str]], endian: str = "<"
) -> bytes:
    """Put a number into a field (offset and struct format) of a binary header."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        offset, form = fields[rng.choice(sorted(fields))]
        if form in "fd":
            packed = _packed(
                endian + form, rng.choice(REALS + tuple(map(float, NUMBERS)))
            )
        else:
            size = struct.calcsize(form)
            number = rng.choice((*NUMBERS, rng.randrange(2000)))
            packed = (number % 256**size).to_bytes(
                size, "little" if endian == "<" else "big"
            )
        content[offset : offset + len(packed)] = packed
    return bytes(content)


def _packed(form: str, number: float) -> bytes:
    try:
        return struct.pack(form, number)
    except OverflowError:
        return struct.pack(form, float("inf"))
