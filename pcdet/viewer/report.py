"""The report of a run: one HTML page with tables, curves, pictures and how to repeat the run."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import numpy as np

from pcdet.evaluation import rules
from pcdet.evaluation.found import labelled_objects
from pcdet.evaluation.plots import plot_class
from pcdet.evaluation.result import EvalResult
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.run_starts import trained_start
from pcdet.viewer.charts import draw_found, draw_training, figure_url
from pcdet.viewer.packing import image_url
from pcdet.viewer.page import ASSETS, FIRST_SCORE, write_page
from pcdet.viewer.pictures import draw_frames
from pcdet.viewer.results import REPORT, SCENES
from pcdet.viewer.scene import Counts, count_outcomes, detections_of, objects_of, rules_of
from pcdet.viewer.sources import evenly_spread, scenes_of_split

_NUM_WORST, _NUM_PICTURES = 5, 3


@dataclass
class Tested:
    """A test of a checkpoint, and what a report says besides.

    Attributes:
        title: such as "second/default, epoch 80".
        dataset: of the split.
        annos: detections of all its frames.
        scores_are_logits: the annotations hold logits (USE_RAW_SCORE).
        limit_range: what the pictures from above show.
        record: of run.json, or an empty one.
        curves: by name (step, value), see `read_curves`.
        num_scenes: frames of the scene viewer's page beside the report; 0 for none.
        checkpoint: name and sha256 of the one that was tested; empty if they are not known.
    """

    title: str
    dataset: Any
    annos: Sequence[Mapping[str, Any]]
    scores_are_logits: bool
    limit_range: Sequence[float]
    record: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    num_scenes: int = 20
    checkpoint: Mapping[str, str] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        """Whether all frames have labels."""
        return all("annos" in info for info in self.dataset.infos)


def write_report(tested: Tested, folder: Path) -> Path:
    """Write report.html and, beside it, scenes.html with the worst frames and others.

    Args:
        tested: what to report.
        folder: of the run.

    Returns:
        The report.
    """
    worst = worst_frames(tested) if tested.labelled else []
    shown = _frames_of_page(worst, tested)
    if shown:
        scenes = scenes_of_split(
            tested.dataset, shown, {tested.title: tested.annos}, tested.scores_are_logits
        )
        write_page(scenes, tested.dataset.class_names, folder / SCENES, tested.title)
    body = "\n".join(
        [
            *_head(tested, bool(shown)),
            *(_results(tested) if tested.labelled else ()),
            *_training(tested),
            *_worst(tested, worst, shown),
            *_pictures(tested, shown),
            *_how_to_repeat(tested.record),
        ]
    )
    page = Template((ASSETS / "report.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(f"Report of {tested.title}"),
        css=(ASSETS / "report.css").read_text(encoding="utf-8"),
        body=body,
    )
    with atomic_write(folder / REPORT) as file:
        file.write(page.encode())
    return folder / REPORT


def worst_frames(tested: Tested) -> list[tuple[int, Counts]]:
    """The frames with most misses and false positives: index and counts, worst first."""
    names, hits = tested.dataset.class_names, rules_of(tested.dataset)
    counts = [
        count_outcomes(
            objects_of(info),
            detections_of(anno, tested.scores_are_logits),
            names,
            FIRST_SCORE,
            hits,
        )
        for info, anno in zip(tested.dataset.infos, tested.annos)
    ]
    worst = sorted(range(len(counts)), key=lambda k: -counts[k].mistakes)
    return [(k, counts[k]) for k in worst[:_NUM_WORST] if counts[k].mistakes]


def _frames_of_page(worst: list[tuple[int, Counts]], tested: Tested) -> list[int]:
    """Indices of the frames in the viewer's page: the worst, filled up with others."""
    first = [k for k, _ in worst][: tested.num_scenes]
    spread = evenly_spread(tested.num_scenes, len(tested.annos)) if tested.num_scenes else []
    others = [k for k in spread if k not in first]
    return sorted([*first, *others[: tested.num_scenes - len(first)]])


# The parts of the page; each yields HTML.


def _head(tested: Tested, with_scenes: bool) -> list[str]:
    lines = [f"<h1>{html.escape(tested.title)}</h1>"]
    split, frames = html.escape(tested.dataset.split), len(tested.annos)
    line = f"{frames} frames of the split <b>{split}</b>"
    if with_scenes:
        line += f' · <a href="{SCENES}">look at scenes in 3D</a>'
    if tested.checkpoint:
        line += f"<br>tested: {html.escape(_named(tested.checkpoint))}"
    return [*lines, f'<p class="soft">{line}</p>']


def _named(checkpoint: Mapping[str, str]) -> str:
    return f"{checkpoint.get('file')}, sha256 {checkpoint.get('sha256')}"


def _results(tested: Tested) -> list[str]:
    dataset = tested.dataset
    strict, loose = dataset.results(tested.annos, dataset.class_names)
    objects = {
        name: labelled_objects(dataset.infos, tested.annos, name, dataset.overlap_sets[0])
        for name in dataset.class_names
    }
    curves = [_image(figure_url(plot_class(strict, name))) for name in strict.class_names]
    notes = [note for of_class in strict.reasons.values() for note in of_class]
    return [
        _cards(strict),
        "<h2>Average precision</h2>",
        f'<p class="soft">R40 in percent. {html.escape(strict.protocol.title)}</p>',
        _ap_table([strict, loose], "R40"),
        *(_older_ap(strict, loose) if "R11" in strict.protocol.recall_sets else ()),
        *(f'<p class="soft">{html.escape(note)}</p>' for note in notes),
        "<h2>Precision over recall</h2>",
        *curves,
        "<h2>What was found</h2>",
        '<p class="soft">Share of all labelled objects that a detection of their class overlaps '
        "by more than the 3D IoU that AP asks for; over each bar the number of objects.</p>",
        _image(figure_url(draw_found(objects))),
    ]


def _older_ap(strict: EvalResult, loose: EvalResult) -> list[str]:
    return [
        "<details><summary>R11, the benchmark's before 2019</summary>",
        _ap_table([strict, loose], "R11"),
        "</details>",
    ]


def _cards(result: EvalResult) -> str:
    """3D AP at the main level, of each class, and the mean of those that have one."""
    values, level = {}, result.protocol.level_names.index(result.protocol.main)
    for name in result.class_names:
        of_class = result.ap("R40", "3d", name)
        values[name] = np.nan if of_class is None else of_class[level]
    known = [value for value in values.values() if not np.isnan(value)]
    title = f"mean of {'the' if len(known) == len(values) else f'{len(known)} of {len(values)}'}"
    cards = [(f"{title} classes", np.mean(known) if known else np.nan, " main")]
    cards += [(name, value, "") for name, value in values.items()]
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card{kind}"><b>{"-" if np.isnan(value) else f"{value:.2f}"}</b>'
            f'{html.escape(name)}<br><span class="soft">3D AP, {result.protocol.main}, R40</span>'
            "</div>"
            for name, value, kind in cards
        )
        + "</div>"
    )


def _ap_table(results: Sequence[EvalResult], recall_set: str) -> str:
    """A row a class, metric and overlap; columns for the levels."""
    levels = results[0].protocol.level_names
    rows = [["class", "metric", "overlap", *levels]]
    for name in results[0].class_names:
        for result in results:
            for metric in result.metrics:
                values = result.ap(recall_set, metric, name)
                cells = (
                    ["-"] * len(levels) if values is None else [f"{value:.2f}" for value in values]
                )
                first = name if result is results[0] and metric == result.metrics[0] else ""
                overlap = f"> {result.overlaps[name]:.2f}"
                rows.append([first, rules.METRIC_TITLES[metric], overlap, *cells])
    return _table(rows)


def _training(tested: Tested) -> list[str]:
    figure = draw_training(tested.curves, tested.dataset.split)
    if figure is None:
        return []
    return ["<h2>Training</h2>", _image(figure_url(figure))]


def _worst(tested: Tested, worst: list[tuple[int, Counts]], shown: Sequence[int]) -> list[str]:
    if not worst:
        return []
    lines = [
        "<h2>The worst frames</h2>",
        f'<p class="soft">Most misses and false positives, of detections with a score of '
        f"{FIRST_SCORE} or more, at the overlaps of AP.</p>",
    ]
    for k, counts in worst:
        link = _named_frame(tested, k, shown)
        lines.append(
            f"<p><b>{link}</b>: {counts.missed} missed, {counts.false_positives} false positives, "
            f"{counts.found} found</p>"
        )
        lines.append(_frame_pictures(tested, k))
    return lines


def _named_frame(tested: Tested, k: int, shown: Sequence[int]) -> str:
    """The name of frame k, a link if scenes.html shows it."""
    name = tested.dataset.sample_ids[k]
    if k not in shown:
        return html.escape(name)
    return f'<a href="{SCENES}#frame={quote(name, safe="")}">{html.escape(name)}</a>'


def _pictures(tested: Tested, shown: Sequence[int]) -> list[str]:
    lines = ["<h2>Other frames</h2>"]
    for k in evenly_spread(_NUM_PICTURES, len(tested.annos)):
        lines.append(f"<p>{_named_frame(tested, k, shown)}</p>" if k in shown else "")
        lines.append(_frame_pictures(tested, k))
    return lines


def _frame_pictures(tested: Tested, k: int) -> str:
    """A frame from above and, if it has an image, on the camera's image."""
    arguments = [k], tested.limit_range, FIRST_SCORE, tested.scores_are_logits
    pictures = [
        _image(image_url(pixels), "bev" if name.endswith("_bev") else "camera")
        for name, pixels in draw_frames(tested.dataset, tested.annos, *arguments)
    ]
    return f'<div class="frame">{"".join(pictures)}</div>'


def _how_to_repeat(record: Mapping[str, Any]) -> list[str]:
    """The last start that trained: command, seed, machine, and in full its configuration."""
    last = trained_start(record)
    if last is None:
        told = "The run's folder has no run.json that tells of a training."
        return ["<h2>How to repeat it</h2>", f"<p>{told}</p>"]
    machine, packages = last.get("machine") or {}, last.get("packages") or {}
    git = last.get("git") or {}
    revision = f"{git.get('revision')}{', with changes' if git.get('dirty') else ''}"
    facts = {
        "seed": last.get("seed"),
        "started, ended": f"{last.get('started')}, {last.get('ended')}: {last.get('outcome')}",
        "starts": len(record["starts"]),
        "processes": last.get("processes"),
        "source": revision if git else None,
        "python, torch": f"{machine.get('python')}, {packages.get('torch')}",
        "GPUs": ", ".join(machine.get("gpus") or []) or "none",
        "cores, system": f"{machine.get('cores')}, {machine.get('system')}",
    }
    checkpoint = record.get("final_checkpoint") or {}
    if checkpoint:
        facts["last checkpoint"] = _named(checkpoint)
    rows = [[name, "-" if value is None else str(value)] for name, value in facts.items()]
    return [
        "<h2>How to repeat it</h2>",
        f"<pre>{html.escape(str(last.get('command')))}</pre>",
        _table(rows, header=False),
        _details("configuration", json.dumps(last.get("config"), indent=1)),
        _details("packages", "\n".join(f"{name} {packages[name]}" for name in sorted(packages))),
    ]


def _details(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary><pre>{html.escape(text)}</pre></details>"


def _image(url: str, kind: str = "") -> str:
    return f'<img class="{kind}" src="{url}" alt="">'


def _table(rows: Sequence[Sequence[str]], header: bool = True) -> str:
    """Rows as a table; a row whose first cell is not empty begins a group."""
    lines = []
    for k, row in enumerate(rows):
        tag = "th" if header and k == 0 else "td"
        kind = "" if header else ' class="words"'
        cells = "".join(f"<{tag}{kind}>{html.escape(str(cell))}</{tag}>" for cell in row)
        lines.append(f'<tr class="{"first" if row[0] else ""}">{cells}</tr>')
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'
