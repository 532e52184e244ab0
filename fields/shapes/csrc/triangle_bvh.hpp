// A bounding-volume hierarchy over triangles that answers what a signed distance needs: the nearest
// point, the number of crossings of a ray, and the generalised winding number.
#pragma once
#include <cstdint>
#include <vector>

namespace fieldwright {

struct Vec {
  double x, y, z;
};

struct Triangle {
  Vec a, b, c;
};

struct Box {
  float low[3], high[3];
};

// An inner node has children `first` and `first + 1`; a leaf has `count` triangles from `first`.
struct BvhNode {
  Box box;
  int32_t first;
  int32_t count;
  Vec normal;    // sum of area-weighted normals, for the dipole of the winding number
  Vec center;    // area-weighted centroid
  double radius; // of a ball about `center` that holds all triangles
};

class TriangleBvh {
 public:
  TriangleBvh(const float* vertices, long num_vertices, const int32_t* faces, long num_faces);

  long num_faces() const { return static_cast<long>(triangles_.size()); }

  // Distance to the surface and the face that is nearest, for each point [count, 3].
  void closest(const float* points, long count, float* distances, int32_t* faces) const;

  // How many triangles the ray from each point along `direction` crosses.
  void crossings(const float* points, long count, const double direction[3], int32_t* out) const;

  // Generalised winding number of each point; nodes farther than `beta` radii count as dipoles.
  void winding(const float* points, long count, double beta, float* out) const;

 private:
  void build();
  void summarize(int32_t node);

  std::vector<Triangle> triangles_;
  std::vector<int32_t> order_;  // original face of each triangle
  std::vector<BvhNode> nodes_;
};

}  // namespace fieldwright
