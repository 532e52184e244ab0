"""Recording a camera path and writing it in the form that `fieldwright render --path` reads."""

from __future__ import annotations

import json
import math

import torch

from captures.paths import interpolate_cameras

from .camera import ViewPose


class KeyframeRecorder:
    """Poses at even times."""

    def __init__(self) -> None:
        self.poses: list[ViewPose] = []
        """In order."""

    def to_json(self, *, seconds_per_keyframe: float, fps: float = 30.0) -> bytes:
        """The path as a JSON file; see `captures.path_file` for its fields."""
        keyframes = [
            {
                "time": index * seconds_per_keyframe,
                "fov_y_deg": math.degrees(pose.fov_y),
                "camtoworld": pose.camtoworld.tolist(),
            }
            for index, pose in enumerate(self.poses)
        ]
        content = {"version": 1, "fps": fps, "keyframes": keyframes}
        return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()

    def interpolated(self, num_frames: int) -> list[ViewPose]:
        """The poses of a smooth flight through all keyframes."""
        if len(self.poses) < 2:
            return list(self.poses)
        views = [pose.cameras(2, 2) for pose in self.poses]
        keyed = views[0]
        keyed = type(keyed)(
            torch.cat([view.viewmats for view in views]), torch.cat([v.Ks for v in views]), 2, 2
        )
        times = torch.arange(len(views), dtype=torch.float64)
        path = interpolate_cameras(
            keyed, times, torch.linspace(0, len(views) - 1, num_frames).double()
        )
        depth = float((self.poses[0].look_at - self.poses[0].position).norm())
        result = []
        for camtoworld, K in zip(path.camtoworlds, path.Ks, strict=True):
            look_at = camtoworld[:3, 3] + depth * camtoworld[:3, 2]
            result.append(ViewPose(camtoworld, 2 * math.atan(1 / float(K[1, 1])), look_at))
        return result
