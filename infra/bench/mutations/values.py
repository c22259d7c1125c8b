"""Mutations of a record's value: of its bytes, and of the JSON in it."""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from infra.bench.mutations.json_text import Members, Token, objects, parse, write
from infra.bench.mutations.odd import odd_text, odd_token

Change = Callable[[bytes, bytes, random.Random], bytes]
"""(a value, that of another record, randomness) → another value, or the same where it is not for
values of this kind."""


def flip_bits(value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Flip one to sixteen bits."""
    if not value:
        return value
    changed = bytearray(value)
    for _ in range(rng.randrange(1, 17)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Keep the beginning, or the end."""
    place = rng.randrange(len(value) + 1)
    return value[:place] if rng.random() < 0.7 else value[place:]


def splice(value: bytes, other: bytes, rng: random.Random) -> bytes:
    """Go on as another record's value from somewhere in it."""
    return value[: rng.randrange(len(value) + 1)] + other[rng.randrange(len(other) + 1) :]


def insert_bytes(value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Insert random bytes, zeros, or a control character."""
    place = rng.randrange(len(value) + 1)
    some = (rng.randbytes(rng.randrange(1, 40)), b"\0" * rng.randrange(1, 400), b"\x1b", b"\xff")
    return value[:place] + rng.choice(some) + value[place:]


def repeat_part(value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Let a part of the value stand twice, or many times."""
    begin, end = sorted(rng.randrange(len(value) + 1) for _ in range(2))
    end = min(end, begin + 2_000)
    return value[:end] + value[begin:end] * rng.choice((1, 1, 2, 50)) + value[end:]


def drop_part(value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Leave a part out."""
    begin, end = sorted(rng.randrange(len(value) + 1) for _ in range(2))
    return value[:begin] + value[end:]


def wrap(value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Put a byte order mark, white space, a comma or another value around it."""
    marks = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
    before = (*marks, b" \n", b"\0", b"[", b"{}", b"\f", b")]}'\n")
    after = (b"", b"\n", b",", b"]", b"{}", b"\0", b" null", b"\x1a")
    return rng.choice(before) + value + rng.choice(after)


def recode(value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Write a text in another encoding."""
    with suppress(UnicodeError):
        text, codes = value.decode(), ("utf-16", "utf-16-le", "utf-32", "latin-1", "gb18030")
        return text.encode(rng.choice(codes))
    return value


def blank(_value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Send hardly anything in its place."""
    heads = (b"RIFF", b"OggS", b"\x89PNG\r\n\x1a\n")
    return rng.choice((b"", b" ", b"null", b"{}", b"[]", b'""', b"0", b"true", *heads))


BYTES: Final[tuple[Change, ...]] = (
    flip_bits, truncate, splice, insert_bytes, repeat_part, drop_part, wrap, recode, blank,
)  # fmt: skip


def _replace(found: Members, place: int, rng: random.Random) -> None:
    found[place] = (found[place][0], Token(odd_token(rng)))


def _say(found: Members, place: int, rng: random.Random) -> None:
    found[place] = (found[place][0], odd_text(rng))


def _rename(found: Members, place: int, rng: random.Random) -> None:
    name = found[place][0]
    forms = (name.upper(), name.title(), f" {name}", f"{name}\0", name.replace("_", "-"))
    found[place] = (rng.choice((odd_text(rng), *forms)), found[place][1])


def _repeat(found: Members, place: int, rng: random.Random) -> None:
    name = found[place][0] if rng.random() < 0.5 else found[place][0].upper()
    found.insert(rng.randrange(len(found) + 1), (name, Token(odd_token(rng))))


def _remove(found: Members, place: int, _rng: random.Random) -> None:
    del found[place]


def _enclose(found: Members, place: int, rng: random.Random) -> None:
    name, value = found[place]
    forms = ([value], [value, value], [], Members([("value", value)]), write(value, escape=True))
    found[place] = (name, rng.choice(forms))


def _add(found: Members, _place: int, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 1, 300))):
        found.append((odd_text(rng)[:300], Token(odd_token(rng)[:300])))


_EDITS: Final = (_replace, _replace, _say, _say, _rename, _repeat, _remove, _enclose, _add)


def edit_json(value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Change one member: its value, type, name or case; repeat it, remove it, or add others."""
    tree = parse(value)
    filled = [found for found in objects(tree) if found]
    if not filled:
        return value
    chosen = rng.choice(filled)
    rng.choice(_EDITS)(chosen, rng.randrange(len(chosen)), rng)
    return write(tree, escape=rng.random() < 0.3).encode("utf-8", "surrogatepass")


def swap_members(value: bytes, other: bytes, rng: random.Random) -> bytes:
    """Take a member's value from another record's JSON, or from another member."""
    tree = parse(value)
    mine = [found for found in objects(tree) if found]
    theirs = [found for found in objects(parse(other)) if found] or mine
    if not mine:
        return value
    target, source = rng.choice(mine), rng.choice(theirs)
    place = rng.randrange(len(target))
    target[place] = (target[place][0], rng.choice(source)[1])
    return write(tree).encode("utf-8", "surrogatepass")


def damage_base64(value: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Damage a structured event's media: alphabet, padding, length, white space."""
    tree = parse(value)
    found = [
        (members, place)
        for members in objects(tree)
        for place, (name, item) in enumerate(members)
        if name == "data_base64" and isinstance(item, str)
    ]
    if not found:
        return value
    members, place = found[0]
    text = members[place][1]
    cut = rng.randrange(len(text) + 1)
    forms = (
        text.replace("+", "-").replace("/", "_"), text.rstrip("="), text + "=", text[:cut],
        *(text[:cut] + sign + text[cut:] for sign in "\n=é"), text + text, text[::-1],
        "data:;base64," + text, "",
    )  # fmt: skip
    members[place] = ("data_base64", rng.choice(forms))
    return write(tree).encode("utf-8", "surrogatepass")


JSON: Final[tuple[Change, ...]] = (edit_json, edit_json, edit_json, swap_members, damage_base64)
