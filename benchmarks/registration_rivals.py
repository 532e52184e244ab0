"""Other programs that register clouds, called as their users would; absent ones are left out."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

Register = Callable[[NDArray[np.float64], NDArray[np.float64], float], "Claim"]
"""From source, target and a voxel size to a pose; rivals must be told the voxel size, which is the
one that ours finds by itself."""

_KISS_VOXEL = 0.3  # meters, that of its examples on streets
_AGREEMENT = 0.3  # share of inliers from which users of Open3D usually accept a pose


class Claim:
    """A pose and whether the program calls it good."""

    def __init__(self, pose: NDArray[np.float64], accepted: bool) -> None:
        self.pose, self.accepted = pose, accepted


def rivals() -> dict[str, Register]:
    """Installed rivals by name, to be run by `within`.

    splatreg 1.5.0 is left out: on this class of machine its registrar for partial overlap
    (`init="features"`) took more than eight minutes for one pair of 5,000 points.
    """
    found: dict[str, Register] = {}
    if find_spec("open3d") and _open3d_loads():
        found["Open3D RANSAC + ICP"] = ransac
        found["Open3D FGR + ICP"] = fast_global
    if find_spec("kiss_matcher") and find_spec("small_gicp"):
        found["KISS-Matcher + GICP"] = kiss_matcher
    return found


def within(seconds: float, method: Register, *inputs: Any) -> Claim:
    """The claim of a method, or none if it takes too long; it runs in a process of its own.

    Raises:
        RuntimeError: It failed.
    """
    # A fork of this process would inherit locks of libraries that have used threads in it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "open3d", "kiss_matcher", "small_gicp"])
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_claim, args=(there, method, inputs), daemon=True)
    child.start()
    there.close()
    try:
        if not here.poll(seconds):
            return Claim(np.eye(4), False)
        return Claim(*here.recv())
    except EOFError:
        raise RuntimeError("it ended without a pose") from None
    finally:
        child.kill()
        child.join()


def _claim(there: Connection, method: Register, inputs: tuple[Any, ...]) -> None:
    claim = method(*inputs)
    there.send((claim.pose, claim.accepted))


def _open3d_loads() -> bool:
    """False where its system libraries are missing."""
    try:
        import open3d

        return bool(open3d.__version__)
    except (ImportError, OSError):
        return False


def _features(points: NDArray[np.float64], voxel: float) -> tuple[Any, Any]:
    import open3d as o3d

    whole: Any = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud = whole.voxel_down_sample(voxel)
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamHybrid(radius=2 * voxel, max_nn=30))
    search = o3d.geometry.KDTreeSearchParamHybrid(radius=5 * voxel, max_nn=100)
    compute: Any = o3d.pipelines.registration.compute_fpfh_feature
    return cloud, compute(cloud, search)


def _icp(source: Any, target: Any, pose: NDArray[np.float64], voxel: float) -> Claim:
    import open3d as o3d

    reg = o3d.pipelines.registration
    done = reg.registration_icp(
        source, target, 1.5 * voxel, pose, reg.TransformationEstimationPointToPlane()
    )
    return Claim(np.array(done.transformation), done.fitness > _AGREEMENT)


def ransac(source: NDArray[np.float64], target: NDArray[np.float64], voxel: float) -> Claim:
    """FPFH and RANSAC as in Open3D's tutorial, point-to-plane ICP."""
    import open3d as o3d

    reg = o3d.pipelines.registration
    o3d.utility.random.seed(0)
    (a, fa), (b, fb) = _features(source, voxel), _features(target, voxel)
    checkers = [
        reg.CorrespondenceCheckerBasedOnEdgeLength(0.9),
        reg.CorrespondenceCheckerBasedOnDistance(1.5 * voxel),
    ]
    done = reg.registration_ransac_based_on_feature_matching(
        a, b, fa, fb, True, 1.5 * voxel, reg.TransformationEstimationPointToPoint(False), 3,
        checkers, reg.RANSACConvergenceCriteria(100_000, 0.999),
    )  # fmt: skip
    return _icp(a, b, done.transformation, voxel)


def fast_global(source: NDArray[np.float64], target: NDArray[np.float64], voxel: float) -> Claim:
    """Fast global registration as in Open3D's tutorial, point-to-plane ICP."""
    import open3d as o3d

    reg = o3d.pipelines.registration
    o3d.utility.random.seed(0)
    (a, fa), (b, fb) = _features(source, voxel), _features(target, voxel)
    option = reg.FastGlobalRegistrationOption(maximum_correspondence_distance=0.5 * voxel)
    done = reg.registration_fgr_based_on_feature_matching(a, b, fa, fb, option)
    return _icp(a, b, done.transformation, voxel)


def kiss_matcher(source: NDArray[np.float64], target: NDArray[np.float64], voxel: float) -> Claim:
    """KISS-Matcher and small_gicp; accepted from 5 final inliers, as in its examples.

    It refuses voxels below a few millimeters, so clouds are rescaled to those of streets.
    """
    import small_gicp

    km: Any = import_module("kiss_matcher")
    unit = _KISS_VOXEL / voxel
    matcher = km.KISSMatcher(km.KISSMatcherConfig(_KISS_VOXEL))
    solution = matcher.estimate(*(np.float32(unit * points) for points in (source, target)))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = solution.rotation, np.ravel(solution.translation) / unit
    done = small_gicp.align(
        target, source, pose, downsampling_resolution=voxel / 2,
        max_correspondence_distance=2 * voxel, num_threads=2,
    )  # fmt: skip
    return Claim(np.array(done.T_target_source), matcher.get_num_final_inliers() >= 5)
