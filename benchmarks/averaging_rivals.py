"""Rotation averaging by others: gtsam's Shonan averaging and COLMAP's L1-IRLS."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from registration.averaging import RotationGraph


def shonan(graph: RotationGraph, *, huber: bool = False) -> np.ndarray | None:
    """Certified least squares by gtsam; None where it is not installed or does not converge.

    With `huber` the least squares are robust, which gives up the certificate.
    """
    if find_spec("gtsam") is None:
        return None
    import gtsam  # pyright: ignore[reportMissingImports]

    # 0.1 rad: what counts as noise in Huber's kernel; without it only a factor.
    model = gtsam.noiseModel.Isotropic.Sigma(6, 0.1)
    factors = gtsam.BetweenFactorPose3s()
    for (i, j), R in zip(graph.edges.tolist(), graph.rotations, strict=True):
        pose = gtsam.Pose3(gtsam.Rot3(R), np.zeros(3))
        factors.append(gtsam.BetweenFactorPose3(i, j, pose, model))
    parameters = gtsam.ShonanAveragingParameters3(gtsam.LevenbergMarquardtParams.CeresDefaults())
    parameters.setUseHuber(huber)
    parameters.setCertifyOptimality(not huber)
    solver = gtsam.ShonanAveraging3(factors, parameters)
    try:
        found, _ = solver.run(solver.initializeRandomly(), 3, 3 if huber else 20)
    except RuntimeError:  # no certificate up to that rank
        return None
    return np.stack([found.atRot3(n).matrix() for n in range(graph.num_nodes)])


def colmap(graph: RotationGraph) -> np.ndarray | None:
    """L1 followed by IRLS by pycolmap with its defaults; None where it is not installed."""
    if find_spec("pycolmap") is None:
        return None
    import pycolmap

    pycolmap.logging.minloglevel = pycolmap.logging.Level.FATAL.value
    model = pycolmap.Reconstruction()
    camera = pycolmap.Camera.create(1, pycolmap.CameraModelId.SIMPLE_PINHOLE, 500.0, 1000, 1000)
    model.add_camera_with_trivial_rig(camera)
    for n in range(graph.num_nodes):
        image = pycolmap.Image(name=str(n), image_id=n + 1, camera_id=1)
        model.add_image_with_trivial_frame(image)
    poses = pycolmap.PoseGraph()
    for (i, j), R in zip(graph.edges.tolist(), graph.rotations, strict=True):
        # cam_from_world is the transpose of R_world_i: from i to j that is R_j^T R_i = R_ij^T.
        edge = pycolmap.PoseGraphEdge(pycolmap.Rigid3d(pycolmap.Rotation3d(R.T), np.zeros(3)))
        edge.num_matches = 100
        poses.add_edge(i + 1, j + 1, edge)
    options = pycolmap.RotationEstimatorOptions()
    options.random_seed = 0
    if not pycolmap.run_rotation_averaging(options, poses, model, []):
        return None
    found = np.tile(np.eye(3), (graph.num_nodes, 1, 1))
    for image in model.images.values():
        if image.has_pose:
            found[image.image_id - 1] = image.cam_from_world().rotation.matrix().T
    return found
