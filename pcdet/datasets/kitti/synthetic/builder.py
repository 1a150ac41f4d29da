"""Puts things on the ground of a scene, one by one, where they do not stand in each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pcdet.datasets.kitti.synthetic import people, vehicles
from pcdet.datasets.kitti.synthetic.foliage import Volume
from pcdet.datasets.kitti.synthetic.ground import Ground
from pcdet.datasets.kitti.synthetic.mesh import Mesh
from pcdet.datasets.kitti.synthetic.scene import SceneObject

Shape = Callable[[np.random.Generator], "tuple[Mesh, np.ndarray]"]
SHAPES: dict[str, Shape] = {
    "Car": vehicles.car,
    "Van": vehicles.van,
    "Truck": vehicles.truck,
    "Tram": vehicles.tram,
    "Misc": vehicles.trailer,
    "Pedestrian": people.pedestrian,
    "Person_sitting": people.sitting_person,
    "Cyclist": people.cyclist,
}
_RECORDING_CAR = (-0.3, 0.0, 5.4, 2.3, 0.0)  # x, y, length, width, heading, with some air
REACH = 78.0  # nothing is placed farther away, metres


class Builder:
    """Collects the parts of a scene.

    Attributes:
        ground: the terrain, its field built.
        objects: what gets a label.
        statics: meshes of all else, in the LiDAR frame.
        volumes: foliage.
    """

    def __init__(self, ground: Ground, rng: np.random.Generator) -> None:
        self.ground = ground
        self.rng = rng
        self.objects: list[SceneObject] = []
        self.statics: list[Mesh] = []
        self.volumes: list[Volume] = []
        self._taken: list[tuple[float, float, float, float, float]] = [_RECORDING_CAR]

    def is_free(self, x: float, y: float, length: float, width: float, heading: float) -> bool:
        """Whether a rectangle touches nothing placed before, by the separating axis theorem."""
        taken = np.array(self._taken)
        offset = np.stack([taken[:, 0] - x, taken[:, 1] - y], axis=1)
        mine = np.array([[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]])
        c, s = np.cos(taken[:, 4]), np.sin(taken[:, 4])
        theirs = np.stack([np.stack([c, s], axis=1), np.stack([-s, c], axis=1)], axis=1)
        half_mine, half_theirs = np.array([length, width]) / 2, taken[:, 2:4] / 2
        mixed = np.abs(np.einsum("ai,tbi->tab", mine, theirs))  # (taken, my axes, their axes)
        on_mine = np.abs(offset @ mine.T)
        apart = (on_mine > half_mine + np.einsum("tab,tb->ta", mixed, half_theirs)).any(axis=1)
        on_theirs = np.abs(np.einsum("ti,tbi->tb", offset, theirs))
        apart |= (on_theirs > half_theirs + np.einsum("tab,a->tb", mixed, half_mine)).any(axis=1)
        return bool(apart.all())

    def take(self, x: float, y: float, length: float, width: float, heading: float) -> None:
        """Mark a rectangle of the ground as occupied."""
        self._taken.append((x, y, length, width, heading))

    def add_object(self, name: str, x: float, y: float, heading: float, gap: float = 0.3) -> bool:
        """Place a thing of class `name`; returns whether there was room.

        Args:
            name: key of `SHAPES`.
            x: its centre, metres.
            y: its centre, metres.
            heading: direction of its front, rad.
            gap: least distance from its neighbours, metres.
        """
        if np.hypot(x, y) > REACH:
            return False
        mesh, size = SHAPES[name](self.rng)
        if not self.is_free(x, y, size[0] + gap, size[1] + gap, heading):
            return False
        self.take(x, y, size[0], size[1], heading)
        slope = self.ground.slope_at(x, y) if size[0] > 2.5 else (0.0, 0.0)
        position = np.array([x, y, self.ground.at(x, y)])
        placed = mesh.moved(position, heading, slope)
        self.objects.append(SceneObject(name, placed, position, np.asarray(size), heading))
        return True

    def add_static(
        self, mesh: Mesh, x: float, y: float, heading: float, solid: bool = True
    ) -> bool:
        """Place a mesh that gets no label; returns whether there was room.

        Args:
            mesh: in its own frame.
            x: where its origin goes, metres.
            y: where its origin goes, metres.
            heading: direction of its x axis, rad.
            solid: also keep other things away from it.
        """
        if np.hypot(x, y) > REACH + 20:
            return False
        low, high = mesh.extent
        size, middle = high - low, (high + low) / 2
        c, s = np.cos(heading), np.sin(heading)
        centre = (x + c * middle[0] - s * middle[1], y + s * middle[0] + c * middle[1])
        if solid:
            if not self.is_free(*centre, size[0], size[1], heading):
                return False
            self.take(*centre, size[0], size[1], heading)
        slope = self.ground.slope_at(x, y) if size[0] > 3.0 else (0.0, 0.0)
        self.statics.append(mesh.moved((x, y, self.ground.at(x, y)), heading, slope))
        return True

    def add_volumes(self, volumes: Sequence[Volume]) -> None:
        """Add foliage; it may overlap anything but the recording car."""
        for volume in volumes:
            if np.hypot(volume.x, volume.y) > max(volume.rx, volume.ry) + 2.0:
                self.volumes.append(volume)

    def height(self, x: float, y: float) -> float:
        """Height of the ground, metres."""
        return self.ground.at(x, y)
