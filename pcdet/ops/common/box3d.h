// Geometry of boxes, for the CPU and CUDA alike; the only C++ that knows the columns of a box.
//
// LiDAR box: [x, y, z, w, l, h, rz], z at the bottom face. BEV box: [x1, y1, x2, y2, rz], the
// corners before the turn. At rz = 0 the width lies along x and the length along y; a positive rz
// turns clockwise seen from above:
//   world_x = local_x * cos(rz) + local_y * sin(rz),  world_y = local_y * cos(rz) - local_x *
//   sin(rz)
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace pcdet {

constexpr int kBoxColumns = 7;
constexpr int kBevColumns = 5;
constexpr double kHalfPi = 1.57079632679489661923;

template <typename T>
PCDET_HD T lesser(T a, T b) {
  return b < a ? b : a;
}

template <typename T>
PCDET_HD T greater(T a, T b) {
  return a < b ? b : a;
}

// A rectangle in the BEV plane: centre, half sizes along its own axes, and its turn.
template <typename T>
struct Footprint {
  T x, y, half_w, half_l, cos, sin, radius;

  static PCDET_HD Footprint make(T x, T y, T w, T l, T rz) {
    const T half_w = w / 2, half_l = l / 2;
    const T radius = std::sqrt(half_w * half_w + half_l * half_l);
    return {x, y, half_w, half_l, std::cos(rz), std::sin(rz), radius};
  }
  static PCDET_HD Footprint from_bev(const T* box) {
    return make((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1],
                box[4]);
  }
  static PCDET_HD Footprint from_box3d(const T* box) {
    return make(box[0], box[1], box[3], box[4], box[6]);
  }
  // The corners taken as they are: a rectangle along the axes, whatever its rz.
  static PCDET_HD Footprint from_bev_unturned(const T* box) {
    return make((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1],
                T(0));
  }
  PCDET_HD T area() const { return half_w * half_l * 4; }
};

// Rectangle b as a sees it: centre and turn of b in the frame of a, and the half sizes of the
// smallest rectangle along a's axes that holds b.
template <typename T>
struct RelativeFootprint {
  T x, y, cos, sin, reach_x, reach_y;

  PCDET_HD RelativeFootprint(const Footprint<T>& a, const Footprint<T>& b) {
    const T dx = b.x - a.x, dy = b.y - a.y;
    x = dx * a.cos - dy * a.sin;
    y = dx * a.sin + dy * a.cos;
    cos = b.cos * a.cos + b.sin * a.sin;
    sin = b.sin * a.cos - b.cos * a.sin;
    const T abs_cos = std::abs(cos), abs_sin = std::abs(sin);
    reach_x = abs_cos * b.half_w + abs_sin * b.half_l;
    reach_y = abs_sin * b.half_w + abs_cos * b.half_l;
  }

  // Upper bound of the overlap with a; not positive if they are apart.
  PCDET_HD T overlap_bound(const Footprint<T>& a) const {
    const T span_x = lesser(a.half_w, x + reach_x) - greater(-a.half_w, x - reach_x);
    const T span_y = lesser(a.half_l, y + reach_y) - greater(-a.half_l, y - reach_y);
    return span_x > 0 && span_y > 0 ? span_x * span_y : T(0);
  }
};

// A convex polygon; clipping a quadrilateral by four half-planes leaves at most eight vertices.
template <typename T>
struct Polygon {
  T x[8], y[8];
  int size = 0;

  PCDET_HD void push(T px, T py) {
    x[size] = px;
    y[size] = py;
    ++size;
  }
};

// Cuts off what lies beyond x = limit and turns the rest by a quarter, (x, y) -> (y, -x).
//
// The y of a new vertex is kept between those of its edge: rounding then never adds a second
// maximum to a coordinate along the outline, so each cut adds at most one vertex.
template <typename T>
PCDET_HD Polygon<T> clip_and_turn(const Polygon<T>& polygon, T limit) {
  Polygon<T> kept;
  for (int i = 0; i < polygon.size; ++i) {
    const int next = i + 1 < polygon.size ? i + 1 : 0;
    const T x0 = polygon.x[i], y0 = polygon.y[i], x1 = polygon.x[next], y1 = polygon.y[next];
    const bool inside0 = x0 <= limit, inside1 = x1 <= limit;
    if (inside0) kept.push(y0, -x0);
    if (inside0 != inside1) {
      const T cut = y0 + (y1 - y0) * ((limit - x0) / (x1 - x0));
      kept.push(lesser(greater(cut, lesser(y0, y1)), greater(y0, y1)), -limit);
    }
  }
  return kept;
}

// Sum over the triangles at the first vertex: exact for a rectangle along the axes.
template <typename T>
PCDET_HD T polygon_area(const Polygon<T>& polygon) {
  T doubled = 0;
  for (int i = 2; i < polygon.size; ++i) {
    const T ux = polygon.x[i - 1] - polygon.x[0], uy = polygon.y[i - 1] - polygon.y[0];
    const T vx = polygon.x[i] - polygon.x[0], vy = polygon.y[i] - polygon.y[0];
    doubled += ux * vy - uy * vx;
  }
  return std::abs(doubled) / 2;
}

template <typename T>
PCDET_HD T clipped_area(const Footprint<T>& a, const Footprint<T>& b,
                        const RelativeFootprint<T>& seen) {
  const T wx = seen.cos * b.half_w, wy = -seen.sin * b.half_w;  // half the width of b, in a's frame
  const T lx = seen.sin * b.half_l, ly = seen.cos * b.half_l;   // half the length
  Polygon<T> polygon;
  polygon.push(seen.x - wx - lx, seen.y - wy - ly);
  polygon.push(seen.x + wx - lx, seen.y + wy - ly);
  polygon.push(seen.x + wx + lx, seen.y + wy + ly);
  polygon.push(seen.x - wx + lx, seen.y - wy + ly);
  for (int side = 0; side < 4; ++side) {
    polygon = clip_and_turn(polygon, side % 2 == 0 ? a.half_w : a.half_l);
  }
  return polygon_area(polygon);
}

// False if no area can be shared; also where a number is not finite or a size is not positive.
template <typename T>
PCDET_HD bool may_touch(const Footprint<T>& a, const Footprint<T>& b) {
  const T dx = b.x - a.x, dy = b.y - a.y, reach = a.radius + b.radius;
  return dx * dx + dy * dy < reach * reach && std::isfinite(reach) && a.half_w > 0 &&
         a.half_l > 0 && b.half_w > 0 && b.half_l > 0;
}

// Area that two rectangles share, in square metres.
template <typename T>
PCDET_HD T overlap_area(const Footprint<T>& a, const Footprint<T>& b) {
  if (!may_touch(a, b)) return T(0);
  const RelativeFootprint<T> seen(a, b);
  if (!(seen.overlap_bound(a) > 0)) return T(0);
  return clipped_area(a, b, seen);
}

// Intersection over union from the shared part and both totals; 0 where both are empty.
template <typename T>
PCDET_HD T ratio_to_union(T shared, T total_a, T total_b) {
  const T united = total_a + total_b - shared;
  return united > 0 ? shared / united : T(0);
}

template <typename T>
PCDET_HD T iou(const Footprint<T>& a, const Footprint<T>& b) {
  const T shared = overlap_area(a, b);
  return shared > 0 ? ratio_to_union(shared, a.area(), b.area()) : T(0);
}

// The same answer as iou(a, b) > threshold for a threshold of 0 or more, mostly without the
// clipping: a bound of the overlap decides where it is clear by more than rounding.
template <typename T>
PCDET_HD bool iou_exceeds(const Footprint<T>& a, const Footprint<T>& b, T threshold) {
  if (!may_touch(a, b)) return false;
  const RelativeFootprint<T> seen(a, b);
  const T total_a = a.area(), total_b = b.area();
  const T bound = lesser(seen.overlap_bound(a), lesser(total_a, total_b)) * T(1.001);
  if (!(bound > 0) || ratio_to_union(bound, total_a, total_b) < threshold) return false;
  return ratio_to_union(clipped_area(a, b, seen), total_a, total_b) > threshold;
}

// A box with its height, for the overlap of volumes.
template <typename T>
struct Solid {
  Footprint<T> footprint;
  T bottom, top;

  static PCDET_HD Solid from_box3d(const T* box) {
    return {Footprint<T>::from_box3d(box), box[2], box[2] + box[5]};
  }
};

template <typename T>
PCDET_HD T iou(const Solid<T>& a, const Solid<T>& b) {
  const T height = lesser(a.top, b.top) - greater(a.bottom, b.bottom);
  if (!(height > 0)) return T(0);
  const T shared = overlap_area(a.footprint, b.footprint) * height;
  return shared > 0 ? ratio_to_union(shared, a.footprint.area() * (a.top - a.bottom),
                                     b.footprint.area() * (b.top - b.bottom))
                    : T(0);
}

// Tells which points lie in a box: strictly inside along its length and width, in or on its faces
// along z. `local_x` runs along the length, `local_y` along the width.
template <typename T>
struct BoxInterior {
  T x, y, z, bottom, half_w, half_l, half_h, cos, sin;  // z of the centre

  static PCDET_HD BoxInterior from_box3d(const T* box) {
    const T angle = T(double(box[6]) + kHalfPi);
    return {box[0],     box[1],     box[2] + box[5] / 2, box[2],         box[3] / 2,
            box[4] / 2, box[5] / 2, std::cos(angle),     std::sin(angle)};
  }
  PCDET_HD T local_x(T px, T py) const { return (px - x) * cos - (py - y) * sin; }
  PCDET_HD T local_y(T px, T py) const { return (px - x) * sin + (py - y) * cos; }
  // Without branches, so that the CPU tests several points in one instruction.
  PCDET_HD bool contains(T px, T py, T pz) const {
    const int in_height = std::abs(pz - z) <= half_h;
    const int in_length = std::abs(local_x(px, py)) < half_l;
    const int in_width = std::abs(local_y(px, py)) < half_w;
    return in_height & in_length & in_width;
  }
};

// The box cut into cells_x parts along its length, cells_y along its width, cells_z along its
// height.
struct BoxGrid {
  int32_t cells_x, cells_y, cells_z;

  PCDET_HD int64_t cells() const { return int64_t(cells_x) * cells_y * cells_z; }

  // Index of the cell, z fastest, of a point that the box contains.
  template <typename T>
  PCDET_HD int32_t cell_of(const BoxInterior<T>& box, T px, T py, T pz) const {
    const int32_t x = part(box.local_x(px, py) + box.half_l, box.half_l * 2, cells_x);
    const int32_t y = part(box.local_y(px, py) + box.half_w, box.half_w * 2, cells_y);
    const int32_t z = part(pz - box.bottom, box.half_h * 2, cells_z);
    return (x * cells_y + y) * cells_z + z;
  }

 private:
  // Which of the equal parts of [0, extent] holds the offset. The limits come before the cast: at a
  // face, or in a box without extent, the quotient may be the number of parts, or no number. And
  // after it, as T may round the last part's number up.
  template <typename T>
  static PCDET_HD int32_t part(T offset, T extent, int32_t parts) {
    const int64_t last = parts - 1;
    const T place = lesser(greater(T(0), offset / (extent / parts)), T(last));
    return static_cast<int32_t>(lesser(static_cast<int64_t>(place), last));
  }
};

}  // namespace pcdet
