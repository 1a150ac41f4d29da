"""Puts things on the ground of a scene, one by one, where they do not stand in each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from pcdet.simulator import bicycles, people, vehicles
from pcdet.simulator.foliage import Volume
from pcdet.simulator.forklift import forklift
from pcdet.simulator.ground import Ground
from pcdet.simulator.mesh import Mesh
from pcdet.simulator.scene import SceneObject
from pcdet.utils.rectangles import overlaps_any

Shape = Callable[[np.random.Generator], "tuple[Mesh, np.ndarray]"]
SHAPES: dict[str, Shape] = {
    "Car": vehicles.car,
    "Van": vehicles.van,
    "Truck": vehicles.truck,
    "Tram": vehicles.tram,
    "Misc": vehicles.trailer,
    "Forklift": forklift,
    "Pedestrian": people.pedestrian,
    "Person_sitting": people.sitting_person,
    "Cyclist": bicycles.cyclist,
}
_RECORDING_CAR = (-0.3, 0.0, 5.4, 2.3, 0.0)  # a rectangle, with some air
REACH = 78.0  # nothing is placed farther away, metres


class Builder:
    """Collects the parts of a scene.

    Attributes:
        ground: the terrain, its field built.
        objects: what gets a label.
        statics: meshes of all else, in the LiDAR frame.
        volumes: foliage.
    """

    def __init__(
        self,
        ground: Ground,
        rng: np.random.Generator,
        stand_ins: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.ground = ground
        self.rng = rng
        self._stand_ins = stand_ins
        self.objects: list[SceneObject] = []
        self.statics: list[Mesh] = []
        self.volumes: list[Volume] = []
        # (K, 5), see `rectangles`; the first axis of each runs along its length.
        self._taken = np.array([_RECORDING_CAR])

    def is_free(
        self,
        x: float,
        y: float,
        length: float,
        width: float,
        heading: float,
        but_last: bool = False,
    ) -> bool:
        """Tell whether a rectangle overlaps nothing placed before; `but_last` leaves one out."""
        wanted = np.array([x, y, length, width, heading], dtype=np.float64)
        return not overlaps_any(wanted, self._taken[:-1] if but_last else self._taken)

    def take(self, x: float, y: float, length: float, width: float, heading: float) -> None:
        """Mark a rectangle of the ground as occupied."""
        self._taken = np.concatenate([self._taken, [(x, y, length, width, heading)]])

    def add_object(
        self,
        name: str,
        x: float,
        y: float,
        heading: float,
        gap: float = 0.3,
        speed: float = 0.0,
        shape: Shape | None = None,
    ) -> bool:
        """Place a thing of class `name`; returns whether there was room.

        Args:
            name: key of `SHAPES`; of a class that another one stands in for, that one is placed.
            x: its centre, metres.
            y: its centre, metres.
            heading: direction of its front, rad.
            gap: least distance from its neighbours, metres.
            speed: metres a second along its heading.
            shape: what makes it, in place of that of its class.
        """
        if np.hypot(x, y) > REACH:
            return False
        name = self._stand_ins.get(name, name)
        mesh, size = (shape or SHAPES[name])(self.rng)
        if not self.is_free(x, y, size[0] + gap, size[1] + gap, heading):
            return False
        self.take(x, y, size[0], size[1], heading)
        slope = self.ground.slope_at(x, y) if size[0] > 2.5 else (0.0, 0.0)
        position = np.array([x, y, self.ground.at(x, y)])
        placed = mesh.moved(position, heading, slope)
        self.objects.append(SceneObject(name, placed, position, np.asarray(size), heading, speed))
        return True

    def add_static(
        self,
        mesh: Mesh,
        x: float,
        y: float,
        heading: float,
        solid: bool = True,
        with_last: bool = False,
    ) -> bool:
        """Place a mesh that gets no label; returns whether there was room.

        Args:
            mesh: in its own frame.
            x: where its origin goes, metres.
            y: where its origin goes, metres.
            heading: direction of its x axis, rad.
            solid: also keep other things away from it.
            with_last: it may touch what was placed last.
        """
        if np.hypot(x, y) > REACH + 20:
            return False
        low, high = mesh.extent
        size, middle = high - low, (high + low) / 2
        c, s = np.cos(heading), np.sin(heading)
        centre = (x + c * middle[0] - s * middle[1], y + s * middle[0] + c * middle[1])
        if solid:
            if not self.is_free(*centre, size[0], size[1], heading, with_last):
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
        """Return the height of the ground, metres."""
        return self.ground.at(x, y)
