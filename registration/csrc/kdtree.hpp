// A balanced k-d tree: points are reordered so that every leaf is one contiguous run.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

namespace fieldwright {

struct KdNode {
  float split;  // points with a smaller coordinate lie left
  int8_t axis;  // -1: a leaf
  int32_t begin, end;
};

class KdTree {
 public:
  static constexpr int kLeaf = 16;  // one AVX-512 vector
  static constexpr int kMaxDepth = 40;

  KdTree(const float* points, long count);

  long count() const { return count_; }
  const KdNode* nodes() const { return nodes_.data(); }
  // Coordinates of the reordered points, kLeaf of padding (infinitely far) behind the last.
  const float* x() const { return coordinates_.data(); }
  const float* y() const { return x() + stride_; }
  const float* z() const { return y() + stride_; }
  const int32_t* order() const { return order_.data(); }  // reordered position -> index
  const float* low() const { return low_; }
  const float* high() const { return high_; }

 private:
  void build(const float* points, int node, long begin, long end, int depth);

  long count_, stride_;
  int parallel_depth_ = 0;
  std::vector<KdNode> nodes_;  // children of i: 2 i + 1 and 2 i + 2
  std::vector<float> coordinates_;
  std::vector<int32_t> order_;
  float low_[3], high_[3];
};

struct Found {
  float squared;
  int32_t index;  // -1: nothing within reach
};

#define FIELDWRIGHT_DECLARE(isa)                                                                 \
  namespace isa {                                                                                \
  void nearest_points(const KdTree& tree, const float* queries, long begin, long end,           \
                      float max_squared, int32_t* indices, float* squared);                     \
  void nearest_lists(const KdTree& tree, const float* queries, long begin, long end, int k,      \
                     float max_squared, int32_t* indices, float* squared);                       \
  void within_radius(const KdTree& tree, const float* queries, long begin, long end, int limit,  \
                     float max_squared, int32_t* counts, std::vector<Found>& found);             \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
