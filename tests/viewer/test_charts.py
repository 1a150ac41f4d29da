"""Charts of the report."""

from __future__ import annotations

import numpy as np

from pcdet.viewer.charts import draw_training, figure_url


def test_terms_of_both_stages_share_a_scale_and_have_names_of_their_own():
    """The first steps lie far above all others, and are not what the scale is for."""
    steps = np.arange(400)
    sizes = {"rpn_loss_cls": 8.0, "rpn_loss_loc": 2.0, "rcnn_loss_cls": 4.0, "rcnn_loss_corner": 1}
    curves = {
        f"train/{name}": list(zip(steps, np.where(steps < 4, 1000, size)))
        for name, size in sizes.items()
    }
    curves |= {f"val/{name}_3d/moderate_R40": [(1, 30.0), (2, 60.0)] for name in ("Car", "$_a$")}
    figure = draw_training(curves, "val")
    terms, aps = figure.axes
    names = {text.get_text() for text in terms.get_legend().get_texts()}
    assert names == {"rpn cls", "rpn loc", "rcnn cls", "rcnn corner"}
    assert terms.get_ylim() == (0, 1.1 * 8)
    texts = aps.get_legend().get_texts()
    assert [text.get_text() for text in texts] == ["Car", "$_a$"]
    assert not any(text.get_parse_math() for text in texts)
    assert figure_url(figure).startswith("data:image/svg+xml")
