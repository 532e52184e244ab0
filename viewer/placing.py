"""Placing scenes by clicks: gravity, meters from a known length, and one scene onto another."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from captures import Renderable, Similarity
from registration import align_gravity, align_points, metric_scale

from .buttons import add_button
from .camera import ViewPose
from .frames import render_in_strips

if TYPE_CHECKING:
    import viser

_PICK_SIZE = 512  # pixels of the depth image's longer side
_MARKER_SIZE = 0.006  # of the distance from the eye


@dataclass(frozen=True)
class Pick:
    """A clicked point of a surface."""

    scene: str
    """Name of the scene it lies on."""
    point: Float[np.ndarray, "3"]
    """In the scene's present frame."""
    eye: Float[np.ndarray, "3"]
    """Where it was seen from."""


class Placement:
    """Picked points, the transforms they ask for, and where every scene has been moved so far."""

    def __init__(self) -> None:
        self.picks: list[Pick] = []
        """In the order of the clicks."""
        self.moved: dict[str, Similarity] = {}
        """From each moved scene's file to where it is now."""

    def points_on(self, scene: str) -> Float[np.ndarray, "n 3"]:
        """The picks on one scene."""
        return np.array([pick.point for pick in self.picks if pick.scene == scene]).reshape(-1, 3)

    def upright(self, scene: str) -> Similarity:
        """The turn about the last pick that makes the last three picks lie on level ground.

        Raises:
            ValueError: Fewer than three picks on the scene, or three on one line.
        """
        picks = [pick for pick in self.picks if pick.scene == scene][-3:]
        if len(picks) < 3:
            raise ValueError(f"Pick three points of the ground of {scene}; {len(picks)} are there.")
        a, b, c = (pick.point for pick in picks)
        normal = np.cross(b - a, c - a)
        if np.linalg.norm(normal) < 1e-9 * np.linalg.norm(b - a) * np.linalg.norm(c - a):
            raise ValueError("The three points lie on one line; pick one beside it.")
        seen_from_above = normal @ (picks[-1].eye - c) > 0
        return align_gravity(normal if seen_from_above else -normal, origin=c)

    def metric(self, scene: str, meters: float) -> Similarity:
        """The scale that makes the last two picks so many meters apart.

        Raises:
            ValueError: Fewer than two picks on the scene, coinciding ones, or no positive length.
        """
        points = self.points_on(scene)
        if len(points) < 2:
            raise ValueError(f"Pick the two ends of the length on {scene}.")
        return metric_scale(points[-2], points[-1], meters)

    def onto(self, scene: str, target: str, *, with_scale: bool) -> tuple[Similarity, float]:
        """The similarity of the picks on `scene` to those on `target`, in the order of the clicks.

        Returns:
            It and the root mean square distance that remains.

        Raises:
            ValueError: One scene twice, unequal numbers of picks, or fewer than three pairs.
        """
        if scene == target:
            raise ValueError("Choose another scene to align to; this one is shown.")
        return align_points(self.points_on(scene), self.points_on(target), with_scale=with_scale)

    def move(self, scene: str, similarity: Similarity) -> None:
        """Note that a scene was moved; its picks move along."""
        self.moved[scene] = similarity.compose(self.moved.get(scene, Similarity()))
        self.picks = [
            replace(
                pick,
                point=similarity.apply(torch.from_numpy(pick.point)).numpy(),
                eye=similarity.apply(torch.from_numpy(pick.eye)).numpy(),
            )
            if pick.scene == scene
            else pick
            for pick in self.picks
        ]

    def to_json(self) -> bytes:
        """Where every moved scene went: matrices as `fieldwright convert --transform` takes them.

        Raises:
            ValueError: Nothing was moved.
        """
        if not self.moved:
            raise ValueError("No scene has been moved yet.")
        content = {
            name: {"T_target_source": found.matrix().tolist(), "scale": found.scale}
            for name, found in self.moved.items()
        }
        return json.dumps(content, indent=1).encode()


def surface_point(
    renderable: Renderable, pose: ViewPose, aspect: float, screen: tuple[float, float]
) -> Float[Tensor, "3"]:
    """The point of the surface that a browser shows at `screen`, (0, 0) to (1, 1) from upper left.

    Args:
        renderable: The scene shown.
        pose: Where it is seen from.
        aspect: Width over height of the browser's picture.
        screen: Where it was clicked.

    Raises:
        ValueError: There is nothing solid.
    """
    height = round(_PICK_SIZE / max(aspect, 1.0))
    cameras = pose.cameras(max(1, round(height * aspect)), height)
    output = render_in_strips(
        renderable, cameras, channels=("rgb", "alpha", "depth"), background=torch.zeros(3)
    )
    assert output is not None
    column = min(int(screen[0] * cameras.width), cameras.width - 1)
    row = min(int(screen[1] * cameras.height), cameras.height - 1)
    if float(output.channel("alpha")[0, row, column, 0]) < 0.5:
        raise ValueError("There is no surface at this place.")
    depth = float(output.channel("depth")[0, row, column, 0])
    pixel = torch.tensor([column + 0.5, row + 0.5, 1.0], dtype=torch.float64)
    ray = torch.linalg.inv(cameras.Ks[0]) @ pixel
    return pose.camtoworld[:3, :3] @ (depth * ray) + pose.position


def placed(renderable: Any, similarity: Similarity) -> Any:
    """A moved scene of Gaussians.

    Raises:
        ValueError: Another kind of scene.
    """
    gaussians = getattr(renderable, "gaussians", None)
    if gaussians is None or not is_dataclass(renderable) or isinstance(renderable, type):
        raise ValueError("Only scenes of Gaussians can be moved here; use fieldwright place.")
    return replace(renderable, **{"gaussians": gaussians.transformed(similarity)})


@dataclass(frozen=True)
class PlacingActions:
    """What the controls need of the viewer."""

    shown: Callable[[], str]
    """Name of the scene shown."""
    pick: Callable[[viser.ClientHandle, tuple[float, float]], Pick]
    """The surface that a browser shows at a place of its picture."""
    apply: Callable[[str, Similarity], None]
    """Move a scene."""


class PlacingPanel:
    """A folder of the panel; a click picks a point while "Pick points" is on."""

    def __init__(
        self, server: viser.ViserServer, scenes: tuple[str, ...], actions: PlacingActions
    ) -> None:
        self.placement = Placement()
        """What was picked and moved."""
        self._server, self._actions = server, actions
        self._markers: list[Any] = []
        gui = server.gui
        with gui.add_folder("Place", expand_by_default=False):
            self.status = gui.add_markdown("No points.")
            self._picking = gui.add_checkbox("Pick points", False, hint="Click on surfaces")
            add_button(gui, "Level by the last three", lambda _: self._level())
            self._meters = gui.add_number("Length, m", 1.0, min=1e-6)
            add_button(gui, "Scale by the last two", lambda _: self._scale())
            self._target = gui.add_dropdown("Align to", scenes, visible=len(scenes) > 1)
            if len(scenes) > 1:
                self._with_scale = gui.add_checkbox("With scale", True)
                add_button(gui, "Align the shown scene", lambda _: self._align())
            add_button(gui, "Clear points", lambda _: self._clear())
            add_button(gui, "Save as JSON", self._save)
        self._picking.on_update(lambda _: self._switch())

    def add(self, pick: Pick) -> None:
        """Take a point and mark it."""
        self.placement.picks.append(pick)
        self._mark()

    def _switch(self) -> None:
        if self._picking.value:
            self._server.scene.on_click()(self._clicked)
        else:
            self._server.scene.remove_click_callback(self._clicked)

    def _clicked(self, event: Any) -> None:
        try:
            self.add(self._actions.pick(event.client, tuple(event.screen_pos)))
        except ValueError as error:
            event.client.add_notification("Nothing picked", str(error), color="red")

    def _level(self) -> None:
        scene = self._actions.shown()
        self._move(scene, self.placement.upright(scene))

    def _scale(self) -> None:
        scene = self._actions.shown()
        self._move(scene, self.placement.metric(scene, self._meters.value))

    def _align(self) -> None:
        scene, target = self._actions.shown(), self._target.value
        found, rmse = self.placement.onto(scene, target, with_scale=self._with_scale.value)
        self._move(scene, found)
        self.status.content += f"  \nThe pairs are {rmse:.4g} apart (rms)."

    def _move(self, scene: str, similarity: Similarity) -> None:
        self._actions.apply(scene, similarity)
        self.placement.move(scene, similarity)
        self._mark()

    def _clear(self) -> None:
        self.placement.picks.clear()
        self._mark()

    def _save(self, client: viser.ClientHandle) -> None:
        client.send_file_download("placement.json", self.placement.to_json())

    def _mark(self) -> None:
        """Draw all picks and count them."""
        for marker in self._markers:
            marker.remove()
        self._markers = [
            self._server.scene.add_icosphere(
                f"/picks/{number}",
                radius=_MARKER_SIZE * float(np.linalg.norm(pick.point - pick.eye)),
                position=pick.point,
                color=(230, 120, 20),
            )
            for number, pick in enumerate(self.placement.picks)
        ]
        names = dict.fromkeys(pick.scene for pick in self.placement.picks)
        counts = [f"{name}: {len(self.placement.points_on(name))}" for name in names]
        self.status.content = "Points on " + ", ".join(counts) if counts else "No points."
