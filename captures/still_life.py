"""The scene of the sample capture: a table with porcelain, fruit, books and toys in a room."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from .lighting import Item, Lamp
from .patterns import (
    Apple,
    Book,
    Cloth,
    Doughnut,
    Orange,
    Plain,
    Porcelain,
    PuzzleCube,
    RoomPaint,
    Stripes,
    Wood,
)
from .raycast import Box, Lathe, Room, Sphere, Torus

ROOM_HALF = (7.5, 7.5, 4.2)
ROOM_CENTER = (0.0, 0.0, 1.4)
"""The table top is the plane z = 0; one scene unit is about ten centimetres."""

LAMPS = (
    Lamp((-3.2, -0.4, 5.6), ((3.4, 0.0, 0.0), (0.0, 3.4, 0.0)), (11.0, 10.2, 9.0)),
    Lamp((7.5, -3.5, 1.2), ((0.0, 4.0, 0.0), (0.0, 0.0, 3.0)), (7.0, 8.0, 9.6)),
)
"""A warm panel on the ceiling and a cool window."""


def turn_z(degrees: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about z."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def turn_x(degrees: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about x."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)


def still_life() -> tuple[Item, ...]:
    """All solids of the scene, the room first."""
    room = Item("room", Room(half=ROOM_HALF, center=ROOM_CENTER), RoomPaint(ROOM_HALF), 28.0, 3.0)
    return (room, *_table(), *_porcelain(), *_books(), *_fruit(), *_toys())


def _table() -> tuple[Item, ...]:
    top = Box(half=(2.5, 2.1, 0.11), center=(0.0, 0.0, -0.11), rounding=0.06)
    cloth = Cloth(Wood(), half=1.62, angle=0.42)
    items = [Item("table", top, cloth, 80.0, 20.0)]
    for x in (-2.2, 2.2):
        for y in (-1.8, 1.8):
            leg = Box(half=(0.14, 0.14, 1.29), center=(x, y, -1.51), rounding=0.04)
            items.append(Item("leg", leg, Wood("7a5230", "4a2d18", plank=0.5), 40.0, 8.0))
    return tuple(items)


def _porcelain() -> tuple[Item, ...]:
    jar = Lathe.from_outline(
        [
            (0.0, 0.34), (0.1, 0.38), (0.5, 0.64), (0.85, 0.7), (1.15, 0.56), (1.3, 0.36),
            (1.4, 0.34), (1.46, 0.44), (1.56, 0.4), (1.7, 0.2), (1.76, 0.09), (1.84, 0.13),
            (1.92, 0.0),
        ],
        smoothing=0.025,
    )  # fmt: skip
    pot = Lathe.from_outline(
        [
            (0.0, 0.36), (0.06, 0.42), (0.34, 0.6), (0.62, 0.52), (0.74, 0.36), (0.78, 0.36),
            (0.86, 0.27), (0.92, 0.08), (0.97, 0.11), (1.05, 0.0),
        ],
        smoothing=0.03,
    )  # fmt: skip
    spout = Lathe.from_outline([(0.0, 0.17), (0.35, 0.1), (0.6, 0.075), (0.64, 0.05)])
    heading = turn_z(-25.0)
    at = np.array([-0.62, -0.72, 0.0])
    spout_at = at + heading @ np.array([0.0, 0.4, 0.26])
    handle_at = at + heading @ np.array([0.0, -0.6, 0.42])
    green = Porcelain("1d6b4f", lobes=12, seed=57)
    upright = heading @ turn_z(90.0) @ turn_x(90.0)
    return (
        Item("jar", jar.placed((-0.75, 0.75, 0.0)), Porcelain(), 80.0, 16.0, 0.05),
        Item("teapot", pot.placed(tuple(at), heading), green, 80.0, 16.0, 0.05),
        Item("spout", spout.placed(tuple(spout_at), heading @ turn_x(-42.0)),
             Plain("f1efe6", 0.05), 60.0, 16.0, 0.05),
        Item("handle", Torus(ring=0.26, tube=0.055, center=tuple(handle_at), rotation=upright),
             Plain("1d6b4f", 0.1), 60.0, 16.0, 0.05),
    )  # fmt: skip


def _books() -> tuple[Item, ...]:
    items, height = [], 0.0
    covers = (
        ("24466b", "d9b45b", (0.8, 0.58, 0.12), 12.0),
        ("7b2331", "e6d3a3", (0.68, 0.5, 0.1), 27.0),
        ("3d5b37", "f0e2b6", (0.56, 0.42, 0.13), 4.0),
    )
    for number, (cover, ornament, half, angle) in enumerate(covers):
        height += half[2]
        solid = Box(half=half, center=(0.95, 0.85, height), rotation=turn_z(angle), rounding=0.025)
        pattern = Book(cover, ornament, half, seed=71 + number)
        items.append(Item("book", solid, pattern, 120.0, 20.0, 0.015))
        height += half[2]
    return tuple(items)


def _fruit() -> tuple[Item, ...]:
    apple = Torus(ring=0.17, tube=0.27, center=(1.1, 0.82, 0.97), rotation=turn_x(8.0))
    stem = Lathe.from_outline([(0.0, 0.022), (0.26, 0.03), (0.27, 0.0)]).placed(
        (1.1, 0.8, 1.12), turn_x(-14.0)
    )
    return (
        Item("orange", Sphere(radius=0.34, center=(0.28, -0.32, 0.34), rotation=turn_x(20.0)),
             Orange(), 100.0, 20.0, 0.02),
        Item("orange", Sphere(radius=0.31, center=(0.72, 0.02, 0.31), rotation=turn_x(-50.0)),
             Orange("f59b25", 36), 100.0, 20.0, 0.02),
        Item("apple", apple, Apple(), 100.0, 20.0, 0.035),
        Item("stem", stem, Plain("4a331c"), 60.0, 16.0),
    )  # fmt: skip


def _toys() -> tuple[Item, ...]:
    doughnut = Torus(ring=0.32, tube=0.17, center=(0.55, -1.1, 0.165), rotation=turn_x(3.0))
    cube = Box(half=(0.3, 0.3, 0.3), center=(1.5, -0.55, 0.3), rotation=turn_z(33.0), rounding=0.04)
    ball = Sphere(radius=0.26, center=(-1.5, -0.15, 0.26), rotation=turn_x(35.0) @ turn_z(20.0))
    return (
        Item("doughnut", doughnut, Doughnut(), 120.0, 18.0, 0.03),
        Item("cube", cube, PuzzleCube(), 160.0, 28.0, 0.03),
        Item("ball", ball, Stripes("c8322f", "f2c230"), 100.0, 20.0, 0.045),
    )
