"""A folder with report.html: scores, facts, and photo, render, error and depth side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from .capture import Capture, View
from .colormaps import colorize_depth, turbo
from .evaluation import Evaluation, to_8_bit
from .renderable import RenderOutput

ERROR_SCALE = 0.25
"""Mean absolute error of the channels that the error map shows as its last colour."""

_COLUMNS = (("truth", "Photo"), ("render", "Render"), ("error", "Error"), ("depth", "Depth"))


class ReportFolder:
    """Writes the pictures while an evaluation runs, then the page."""

    def __init__(self, folder: Path) -> None:
        """Make `folder` and its `images`; files of the same names are replaced."""
        self.folder = folder
        self._names: list[str] = []
        (folder / "images").mkdir(parents=True, exist_ok=True)

    def picture_writer(
        self, capture: Capture, background: Float[Tensor, "3"]
    ) -> Callable[[int, View, RenderOutput], None]:
        """The `on_image` of `evaluate` that writes the four pictures of each photo."""

        def write(index: int, view: View, output: RenderOutput) -> None:
            stem = f"{len(self._names):04d}_{Path(capture.image_names[index]).stem}"
            self._names.append(stem)
            truth, image = to_8_bit(view.over(background)), to_8_bit(output.channel("rgb")[0])
            error = (image - truth).abs().mean(-1)
            if view.mask is not None:
                error = error * view.mask
            self._save(stem, "truth", truth)
            self._save(stem, "render", image)
            self._save(stem, "error", turbo(error / ERROR_SCALE))
            depth, alpha = output.channel("depth"), output.channel("alpha")
            self._save(stem, "depth", colorize_depth(depth[0, ..., 0], alpha[0, ..., 0]))

        return write

    def write(self, result: Evaluation, *, facts: Mapping[str, str]) -> Path:
        """Write report.html and scores.json; returns the page."""
        scores = {
            "psnr": result.psnr,
            "ssim": result.ssim,
            "lpips": result.lpips,
            "num_bytes": result.num_bytes,
            "num_primitives": result.num_primitives,
            "facts": dict(facts),
            "images": [vars(image) for image in result.images],
        }
        (self.folder / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
        page = self.folder / "report.html"
        page.write_text(self._page(result, facts), encoding="utf-8")
        return page

    def _save(self, stem: str, kind: str, image: Float[Tensor, "H W 3"]) -> None:
        array = (image * 255).round().to(torch.uint8).numpy()
        Image.fromarray(np.ascontiguousarray(array)).save(self._image(stem, kind))

    def _image(self, stem: str, kind: str) -> Path:
        return self.folder / "images" / f"{stem}_{kind}.png"

    def _page(self, result: Evaluation, facts: Mapping[str, str]) -> str:
        cards = [
            ("PSNR", f"{result.psnr:.2f}", "dB"),
            ("SSIM", f"{result.ssim:.4f}", ""),
            ("LPIPS", "–" if result.lpips is None else f"{result.lpips:.4f}", ""),
            ("File", *_size(result.num_bytes)),
            ("Speed", f"{result.frames_per_second:.1f}", "frames/s"),
        ]
        if result.num_primitives is not None:
            cards.insert(4, ("Primitives", f"{result.num_primitives:,}", ""))
        if result.bits_per_primitive is not None:
            cards.insert(5, ("Density", f"{result.bits_per_primitive:.0f}", "bit each"))
        tiles = "".join(
            f"<div><small>{name}</small><b>{value}</b> <i>{unit}</i></div>"
            for name, value, unit in cards
        )
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>"
            for name, text in facts.items()
        )
        curve = "<h2>Training</h2><img class=curve src='curve.svg' alt='training curve'>"
        if not (self.folder / "curve.svg").exists():
            curve = ""
        return _PAGE.format(
            tiles=tiles,
            facts=rows,
            curve=curve,
            images="".join(self._figure(i, result) for i in range(len(result.images))),
            count=len(result.images),
            scale=ERROR_SCALE,
            colors=", ".join(_css_color(step / 10) for step in range(11)),
        )

    def _figure(self, index: int, result: Evaluation) -> str:
        score = result.images[index]
        lpips = "" if score.lpips is None else f" · LPIPS {score.lpips:.4f}"
        pictures = ""
        for kind, title in _COLUMNS:
            if index < len(self._names) and self._image(self._names[index], kind).exists():
                source = escape(f"images/{self._names[index]}_{kind}.png", quote=True)
                pictures += (
                    f"<figure><a href='{source}'><img loading=lazy src='{source}' alt='{title}'>"
                    f"</a><figcaption>{title}</figcaption></figure>"
                )
        return (
            f"<section><h3>{escape(score.name)}<span>{score.psnr:.2f} dB · "
            f"SSIM {score.ssim:.4f}{lpips}</span></h3><div class=row>{pictures}</div></section>"
        )


def _size(num_bytes: int) -> tuple[str, str]:
    return (
        (f"{num_bytes / 1e6:.2f}", "MB") if num_bytes >= 1e5 else (f"{num_bytes / 1e3:.1f}", "kB")
    )


def _css_color(value: float) -> str:
    red, green, blue = (turbo(torch.tensor(value)) * 255).round().int().tolist()
    return f"rgb({red} {green} {blue})"


_PAGE = """<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>Fieldwright report</title>
<style>
:root {{ color-scheme: light dark; --line: #8883; --soft: #8881; --dim: #888; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1320px; margin: 2.5rem auto;
  padding: 0 1.5rem; }}
h1 {{ font-size: 1.9rem; letter-spacing: -.02em; margin: 0 0 1.2rem; }}
h2 {{ font-size: 1.2rem; margin: 2.4rem 0 .8rem; }}
h3 {{ font-size: .95rem; font-weight: 600; display: flex; justify-content: space-between;
  margin: 1.6rem 0 .5rem; font-variant-numeric: tabular-nums; }}
h3 span {{ color: var(--dim); font-weight: 400; }}
.tiles {{ display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); }}
.tiles div {{ background: var(--soft); border: 1px solid var(--line); border-radius: 12px;
  padding: .8rem 1rem; }}
.tiles small {{ display: block; color: var(--dim); }}
.tiles b {{ font-size: 1.5rem; font-variant-numeric: tabular-nums; }}
.tiles i {{ font-style: normal; color: var(--dim); }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }}
th {{ font-weight: 500; color: var(--dim); width: 9rem; }}
td {{ overflow-wrap: anywhere; }}
.row {{ display: grid; grid-template-columns: repeat(4, 1fr); gap: .6rem; }}
figure {{ margin: 0; }}
img {{ width: 100%; border-radius: 6px; display: block; }}
.curve {{ max-width: 900px; background: #fff; }}
figcaption {{ font-size: .8rem; color: var(--dim); text-align: center; margin-top: .2rem; }}
.bar {{ height: 10px; border-radius: 5px; background: linear-gradient(90deg, {colors}); }}
.scale {{ display: flex; justify-content: space-between; font-size: .8rem; color: var(--dim); }}
@media (max-width: 700px) {{ .row {{ grid-template-columns: 1fr 1fr; }} }}
</style>
<h1>Evaluation on {count} held-out images</h1>
<div class=tiles>{tiles}</div>
<h2>Where these numbers come from</h2>
<table>{facts}</table>
{curve}
<h2>Image by image</h2>
<div class=bar></div>
<div class=scale><span>error 0</span><span>mean absolute error of the colour channels</span>
<span>{scale} and above</span></div>
{images}
</html>
"""
