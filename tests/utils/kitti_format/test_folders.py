"""Images of any usual ending, and files that only look like them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcdet.utils.kitti_format.folders import has_images, image_path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPG", ".JPEG", ".PNG"])
def test_images_are_found_whatever_their_ending(tmp_path, suffix):
    folder = tmp_path / "image_2"
    folder.mkdir()
    (folder / "._000000.png").touch()  # of macOS
    assert not has_images(tmp_path)
    (folder / f"000000{suffix}").touch()
    assert has_images(tmp_path)
    assert Path(image_path(tmp_path, "000000")).name == f"000000{suffix}"
