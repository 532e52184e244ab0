"""Viewing graphs from COLMAP databases, and their cleaning before mapping."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .cleaning import CleanedGraph, clean
from .fundamental import estimate_fundamental
from .graph import ViewingGraph

_MIN_MATCHES = 24  # three times what an estimate needs
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatabaseGraph:
    """The viewing graph of a database and the names behind its numbers."""

    graph: ViewingGraph
    """Matrices in coordinates centered and divided by half the image's longer side."""
    image_ids: tuple[int, ...]
    """COLMAP's number of each view."""
    names: tuple[str, ...]
    """File name of each view."""


@dataclass(frozen=True)
class GraphReport:
    """What `clean_database` did."""

    num_pairs: int
    """Verified pairs with enough matches and a determined fundamental matrix."""
    removed: tuple[tuple[str, str], ...]
    """Pairs taken out of the database."""
    num_triples: int
    """Triangles that were checked."""
    num_quadruples: int
    """Complete quadruples that could tell."""
    num_components: int
    """Parts of the graph afterwards; views in different parts cannot be mapped together."""

    @property
    def verdict(self) -> str:
        """One line for people."""
        removed = ", ".join(f"{a} - {b}" for a, b in self.removed) or "none"
        return (
            f"Viewing graph: {self.num_pairs} pairs, {self.num_triples} triples and "
            f"{self.num_quadruples} quadruples checked; removed: {removed}."
        )


def read_graph(database: Path) -> DatabaseGraph:
    """The verified pairs of a COLMAP database as a viewing graph.

    Fundamental matrices and their covariances are estimated anew from the inlier matches. Pairs
    whose matches lie on a plane or come from a turn on the spot determine none and are left out.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: pycolmap is not installed.
    """
    if not database.is_file():
        raise FileNotFoundError(f"{database} does not exist; expected a COLMAP database.")
    pycolmap = _pycolmap()
    usable = pycolmap.TwoViewGeometryConfiguration
    with pycolmap.Database.open(str(database)) as opened:
        images = sorted(opened.read_all_images(), key=lambda image: image.name)
        number = {image.image_id: n for n, image in enumerate(images)}
        cameras = {camera.camera_id: camera for camera in opened.read_all_cameras()}
        points, units = [], []
        for image in images:
            camera = cameras[image.camera_id]
            half = max(camera.width, camera.height) / 2
            pixels = np.asarray(opened.read_keypoints(image.image_id), np.float64)[:, :2]
            points.append((pixels - [camera.width / 2, camera.height / 2]) / half)
            units.append(1 / half)
        pair_ids, geometries = opened.read_two_view_geometries()
    edges, estimates, counts = [], [], []
    for pair_id, geometry in zip(pair_ids, geometries, strict=True):
        matches = np.asarray(geometry.inlier_matches, np.int64)
        determined = geometry.config in (usable.CALIBRATED, usable.UNCALIBRATED)
        if len(matches) < _MIN_MATCHES or not determined:
            continue
        a, b = (number[image_id] for image_id in pycolmap.pair_id_to_image_pair(pair_id))
        if a > b:
            a, b, matches = b, a, matches[:, ::-1]
        x_a, x_b = points[a][matches[:, 0]], points[b][matches[:, 1]]
        estimates.append(estimate_fundamental(x_a, x_b, unit=max(units[a], units[b])))
        edges.append((a, b))
        counts.append(len(matches))
    graph = ViewingGraph(
        len(images),
        np.array(edges, np.int64).reshape(-1, 2),
        np.array([estimate.F for estimate in estimates]).reshape(-1, 3, 3),
        np.array([estimate.deviations for estimate in estimates]).reshape(-1, 7, 3, 3),
        np.array(counts, np.int64),
    )
    ids = tuple(image.image_id for image in images)
    return DatabaseGraph(graph, ids, tuple(image.name for image in images))


def clean_database(database: Path) -> GraphReport:
    """Remove the pairs that cycles contradict from a COLMAP database, before mapping.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: pycolmap is not installed.
    """
    read = read_graph(database)
    cleaned = clean(read.graph)
    removed = remove_pairs(database, read, cleaned)
    return GraphReport(
        num_pairs=len(read.graph.edges),
        removed=removed,
        num_triples=len(cleaned.triples.scores),
        num_quadruples=int(np.isfinite(cleaned.quadruples.scores).sum()),
        num_components=int(cleaned.components.max()) + 1,
    )


def remove_pairs(
    database: Path, read: DatabaseGraph, cleaned: CleanedGraph
) -> tuple[tuple[str, str], ...]:
    """Delete matches and geometries of the edges that are not kept; returns their names."""
    pycolmap = _pycolmap()
    bad = read.graph.edges[~cleaned.keep].tolist()
    with pycolmap.Database.open(str(database)) as opened:
        for a, b in bad:
            pair = read.image_ids[a], read.image_ids[b]
            opened.delete_two_view_geometry(*pair)
            opened.delete_matches(*pair)
            logger.info("Removed the pair %s, %s.", read.names[a], read.names[b])
    return tuple((read.names[a], read.names[b]) for a, b in bad)


def _pycolmap():
    try:
        import pycolmap
    except ImportError as error:
        raise ImportError(
            "Viewing graphs of photos need pycolmap; install it with pip install "
            '"fieldwright[capture]".'
        ) from error
    return pycolmap
