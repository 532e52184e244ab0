#include "triangle_bvh.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "thread_pool.hpp"

namespace fieldwright {
namespace {

constexpr int kLeafSize = 4;
constexpr int kStack = 96;  // median splits halve, so 2^31 triangles are 31 levels deep
constexpr long kGrain = 256;
constexpr double kPi = 3.14159265358979323846;

inline Vec operator-(const Vec& a, const Vec& b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec operator+(const Vec& a, const Vec& b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec operator*(double s, const Vec& a) { return {s * a.x, s * a.y, s * a.z}; }
inline double dot(const Vec& a, const Vec& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec cross(const Vec& a, const Vec& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
inline double length(const Vec& a) { return std::sqrt(dot(a, a)); }

// Squared distance to the nearest point of a triangle (Ericson, Real-Time Collision Detection,
// section 5.1.5, by Voronoi regions).
double squared_distance(const Vec& p, const Triangle& t) {
  const Vec ab = t.b - t.a, ac = t.c - t.a, ap = p - t.a;
  const double d1 = dot(ab, ap), d2 = dot(ac, ap);
  if (d1 <= 0 && d2 <= 0) return dot(ap, ap);
  const Vec bp = p - t.b;
  const double d3 = dot(ab, bp), d4 = dot(ac, bp);
  if (d3 >= 0 && d4 <= d3) return dot(bp, bp);
  const double vc = d1 * d4 - d3 * d2;
  if (vc <= 0 && d1 >= 0 && d3 <= 0) {
    const Vec r = ap - (d1 > d3 ? d1 / (d1 - d3) : 0.0) * ab;
    return dot(r, r);
  }
  const Vec cp = p - t.c;
  const double d5 = dot(ab, cp), d6 = dot(ac, cp);
  if (d6 >= 0 && d5 <= d6) return dot(cp, cp);
  const double vb = d5 * d2 - d1 * d6;
  if (vb <= 0 && d2 >= 0 && d6 <= 0) {
    const Vec r = ap - (d2 > d6 ? d2 / (d2 - d6) : 0.0) * ac;
    return dot(r, r);
  }
  const double va = d3 * d6 - d5 * d4, e = d4 - d3, f = d5 - d6;
  if (va <= 0 && e >= 0 && f >= 0) {
    const Vec r = bp - (e + f > 0 ? e / (e + f) : 0.0) * (t.c - t.b);
    return dot(r, r);
  }
  const double total = va + vb + vc;
  if (!(total > 0)) return std::min({dot(ap, ap), dot(bp, bp), dot(cp, cp)});
  const Vec r = ap - (vb / total) * ab - (vc / total) * ac;
  return dot(r, r);
}

double squared_distance(const float* p, const Box& box) {
  double total = 0;
  for (int i = 0; i < 3; ++i) {
    const double gap = std::max({box.low[i] - static_cast<double>(p[i]),
                                 static_cast<double>(p[i]) - box.high[i], 0.0});
    total += gap * gap;
  }
  return total;
}

// Solid angle of a triangle over 4 pi (Van Oosterom and Strackee, 1983).
double winding_of(const Vec& p, const Triangle& t) {
  const Vec a = t.a - p, b = t.b - p, c = t.c - p;
  const double la = length(a), lb = length(b), lc = length(c);
  const double numerator = dot(a, cross(b, c));
  const double denominator = la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb;
  return std::atan2(numerator, denominator) / (2 * kPi);
}

// A ray as axes and shears that turn it into the z axis (Woop, Benthin and Wald, 2013): edge
// functions of a shared edge then differ in sign only, so no ray slips between two triangles.
struct Shear {
  int kx, ky, kz;
  double sx, sy, sz;
};

Shear shear_of(const double d[3]) {
  int kz = 0;
  for (int i = 1; i < 3; ++i)
    if (std::abs(d[i]) > std::abs(d[kz])) kz = i;
  int kx = (kz + 1) % 3, ky = (kx + 1) % 3;
  if (d[kz] < 0) std::swap(kx, ky);
  return {kx, ky, kz, d[kx] / d[kz], d[ky] / d[kz], 1 / d[kz]};
}

inline double at(const Vec& v, int k) { return k == 0 ? v.x : k == 1 ? v.y : v.z; }

bool hits(const Vec& origin, const Shear& s, const Triangle& t) {
  const Vec a = t.a - origin, b = t.b - origin, c = t.c - origin;
  const double az = at(a, s.kz), bz = at(b, s.kz), cz = at(c, s.kz);
  const double ax = at(a, s.kx) - s.sx * az, ay = at(a, s.ky) - s.sy * az;
  const double bx = at(b, s.kx) - s.sx * bz, by = at(b, s.ky) - s.sy * bz;
  const double cx = at(c, s.kx) - s.sx * cz, cy = at(c, s.ky) - s.sy * cz;
  const double u = cx * by - cy * bx, v = ax * cy - ay * cx, w = bx * ay - by * ax;
  if ((u < 0 || v < 0 || w < 0) && (u > 0 || v > 0 || w > 0)) return false;
  const double total = u + v + w;
  if (total == 0) return false;
  return (u * az + v * bz + w * cz) * s.sz / total > 0;
}

bool meets(const float* p, const double inverse[3], const Box& box) {
  double enter = 0, leave = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 3; ++i) {
    const double one = (box.low[i] - static_cast<double>(p[i])) * inverse[i];
    const double two = (box.high[i] - static_cast<double>(p[i])) * inverse[i];
    enter = std::max(enter, std::min(one, two));
    leave = std::min(leave, std::max(one, two));
  }
  return enter <= leave * (1 + 1e-12) + 1e-12;
}

}  // namespace

TriangleBvh::TriangleBvh(const float* vertices, long, const int32_t* faces, long num_faces) {
  const auto vertex = [&](int32_t i) {
    return Vec{vertices[3 * i], vertices[3 * i + 1], vertices[3 * i + 2]};
  };
  triangles_.reserve(num_faces);
  order_.reserve(num_faces);
  for (long i = 0; i < num_faces; ++i) {
    triangles_.push_back({vertex(faces[3 * i]), vertex(faces[3 * i + 1]), vertex(faces[3 * i + 2])});
    order_.push_back(static_cast<int32_t>(i));
  }
  build();
}

void TriangleBvh::build() {
  std::vector<Vec> middles(triangles_.size());
  for (size_t i = 0; i < triangles_.size(); ++i)
    middles[i] = 1 / 3.0 * (triangles_[i].a + triangles_[i].b + triangles_[i].c);
  nodes_.reserve(2 * triangles_.size() / kLeafSize + 4);
  nodes_.push_back({});
  nodes_[0].first = 0;
  nodes_[0].count = static_cast<int32_t>(triangles_.size());
  for (size_t index = 0; index < nodes_.size(); ++index) {
    const int32_t first = nodes_[index].first, count = nodes_[index].count;
    if (count <= kLeafSize) continue;
    Vec low = middles[order_[first]], high = low;
    for (int32_t i = first; i < first + count; ++i) {
      const Vec& m = middles[order_[i]];
      low = {std::min(low.x, m.x), std::min(low.y, m.y), std::min(low.z, m.z)};
      high = {std::max(high.x, m.x), std::max(high.y, m.y), std::max(high.z, m.z)};
    }
    const Vec extent = high - low;
    const int axis = extent.x >= extent.y && extent.x >= extent.z ? 0 : extent.y >= extent.z ? 1 : 2;
    const auto begin = order_.begin() + first, middle = begin + count / 2;
    std::nth_element(begin, middle, begin + count, [&](int32_t i, int32_t j) {
      const double p = at(middles[i], axis), q = at(middles[j], axis);
      return p != q ? p < q : i < j;  // a total order, so that the tree is the same everywhere
    });
    const auto children = static_cast<int32_t>(nodes_.size());
    nodes_.push_back({});
    nodes_.push_back({});
    nodes_[children].first = first;
    nodes_[children].count = count / 2;
    nodes_[children + 1].first = first + count / 2;
    nodes_[children + 1].count = count - count / 2;
    nodes_[index].first = children;
    nodes_[index].count = 0;
  }
  std::vector<Triangle> sorted(triangles_.size());
  for (size_t i = 0; i < order_.size(); ++i) sorted[i] = triangles_[order_[i]];
  triangles_ = std::move(sorted);
  for (size_t i = nodes_.size(); i-- > 0;) summarize(static_cast<int32_t>(i));
}

// Box, dipole and radius of a node whose children are done.
void TriangleBvh::summarize(int32_t index) {
  BvhNode& node = nodes_[index];
  for (int i = 0; i < 3; ++i) {
    node.box.low[i] = std::numeric_limits<float>::infinity();
    node.box.high[i] = -node.box.low[i];
  }
  double area = 0;
  Vec weighted{0, 0, 0}, plain{0, 0, 0};
  node.normal = {0, 0, 0};
  const auto grow = [&](const Vec& v) {
    const double p[3] = {v.x, v.y, v.z};
    for (int i = 0; i < 3; ++i) {
      node.box.low[i] = std::min(node.box.low[i], static_cast<float>(p[i]));
      node.box.high[i] = std::max(node.box.high[i], static_cast<float>(p[i]));
    }
  };
  if (node.count > 0) {
    for (int32_t i = node.first; i < node.first + node.count; ++i) {
      const Triangle& t = triangles_[i];
      for (const Vec* v : {&t.a, &t.b, &t.c}) grow(*v);
      const Vec n = 0.5 * cross(t.b - t.a, t.c - t.a);
      const Vec middle = 1 / 3.0 * (t.a + t.b + t.c);
      node.normal = node.normal + n;
      weighted = weighted + length(n) * middle;
      area += length(n);
      plain = plain + 1.0 / node.count * middle;
    }
    node.center = area > 0 ? 1 / area * weighted : plain;
    node.radius = 0;
    for (int32_t i = node.first; i < node.first + node.count; ++i)
      for (const Vec* v : {&triangles_[i].a, &triangles_[i].b, &triangles_[i].c})
        node.radius = std::max(node.radius, length(*v - node.center));
    return;
  }
  for (int child = 0; child < 2; ++child) {
    const BvhNode& c = nodes_[node.first + child];
    for (int i = 0; i < 3; ++i) {
      node.box.low[i] = std::min(node.box.low[i], c.box.low[i]);
      node.box.high[i] = std::max(node.box.high[i], c.box.high[i]);
    }
    node.normal = node.normal + c.normal;
    plain = plain + 0.5 * c.center;
  }
  node.center = plain;
  node.radius = 0;
  for (int child = 0; child < 2; ++child) {
    const BvhNode& c = nodes_[node.first + child];
    node.radius = std::max(node.radius, length(c.center - node.center) + c.radius);
  }
  Vec farthest{0, 0, 0};
  double* parts[3] = {&farthest.x, &farthest.y, &farthest.z};
  const double middle[3] = {node.center.x, node.center.y, node.center.z};
  for (int i = 0; i < 3; ++i)
    *parts[i] = std::max(middle[i] - node.box.low[i], node.box.high[i] - middle[i]);
  node.radius = std::min(node.radius, length(farthest));
}

void TriangleBvh::closest(const float* points, long count, float* distances,
                          int32_t* faces) const {
  parallel_ranges(count, kGrain, [&](long begin, long end, int) {
    std::pair<double, int32_t> stack[kStack];
    for (long q = begin; q < end; ++q) {
      const float* p = points + 3 * q;
      const Vec point{p[0], p[1], p[2]};
      double best = std::numeric_limits<double>::infinity();
      int32_t face = -1;
      int top = 0;
      stack[top++] = {squared_distance(p, nodes_[0].box), 0};
      while (top > 0) {
        const auto [gap, index] = stack[--top];
        if (gap >= best) continue;
        const BvhNode& node = nodes_[index];
        if (node.count > 0) {
          for (int32_t i = node.first; i < node.first + node.count; ++i) {
            const double d = squared_distance(point, triangles_[i]);
            if (d < best || (d == best && order_[i] < face)) best = d, face = order_[i];
          }
          continue;
        }
        std::pair<double, int32_t> one{squared_distance(p, nodes_[node.first].box), node.first};
        std::pair<double, int32_t> two{squared_distance(p, nodes_[node.first + 1].box),
                                       node.first + 1};
        if (one.first < two.first) std::swap(one, two);
        stack[top++] = one;
        stack[top++] = two;
      }
      distances[q] = static_cast<float>(std::sqrt(best));
      faces[q] = face;
    }
  });
}

void TriangleBvh::crossings(const float* points, long count, const double direction[3],
                            int32_t* out) const {
  const Shear shear = shear_of(direction);
  const double inverse[3] = {1 / direction[0], 1 / direction[1], 1 / direction[2]};
  parallel_ranges(count, kGrain, [&](long begin, long end, int) {
    int32_t stack[kStack];
    for (long q = begin; q < end; ++q) {
      const float* p = points + 3 * q;
      const Vec origin{p[0], p[1], p[2]};
      int32_t found = 0;
      int top = 0;
      stack[top++] = 0;
      while (top > 0) {
        const BvhNode& node = nodes_[stack[--top]];
        if (!meets(p, inverse, node.box)) continue;
        if (node.count > 0) {
          for (int32_t i = node.first; i < node.first + node.count; ++i)
            found += hits(origin, shear, triangles_[i]);
        } else {
          stack[top++] = node.first;
          stack[top++] = node.first + 1;
        }
      }
      out[q] = found;
    }
  });
}

void TriangleBvh::winding(const float* points, long count, double beta, float* out) const {
  parallel_ranges(count, kGrain, [&](long begin, long end, int) {
    int32_t stack[kStack];
    for (long q = begin; q < end; ++q) {
      const Vec point{points[3 * q], points[3 * q + 1], points[3 * q + 2]};
      double total = 0;
      int top = 0;
      stack[top++] = 0;
      while (top > 0) {
        const BvhNode& node = nodes_[stack[--top]];
        const Vec to = node.center - point;
        const double distance = length(to);
        if (distance > beta * node.radius) {
          total += dot(node.normal, to) / (4 * kPi * distance * distance * distance);
        } else if (node.count > 0) {
          for (int32_t i = node.first; i < node.first + node.count; ++i)
            total += winding_of(point, triangles_[i]);
        } else {
          stack[top++] = node.first;
          stack[top++] = node.first + 1;
        }
      }
      out[q] = static_cast<float>(total);
    }
  });
}

}  // namespace fieldwright
