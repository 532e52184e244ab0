// A blocked product of points and codes that keeps only the best score of each point.
//
// score = x . c - |c|^2 / 2 is largest where |x - c|^2 is smallest. Codes are turned so that a
// register holds one coordinate of kLanes codes; kPoints points times kPanel registers of scores
// stay in registers while all coordinates are gone through.
#include "group_search.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "simd.hpp"

namespace fieldwright::ISA {
namespace {

#if ISA_avx512
constexpr int kPoints = 12;  // 24 sums in 32 registers
#elif ISA_avx2
constexpr int kPoints = 6;  // 12 sums in 16 registers
#else
constexpr int kPoints = 4;
#endif
constexpr int kPanel = 2;
constexpr int kPanelCodes = kPanel * kLanes;
constexpr long kBlock = 10 * kPoints;  // points whose rows stay in the first cache

struct alignas(64) Best {
  vf score;
  vi code;
};

// Codes of a group in panels: [panel][coordinate][kPanelCodes], and half their squared lengths.
class Panels {
 public:
  Panels(const float* codes, long count, int width)
      : count_((count + kPanelCodes - 1) / kPanelCodes), width_(width),
        values_(count_ * width * kPanelCodes), halves_(count_ * kPanelCodes, kNever) {
    for (long c = 0; c < count; ++c) {
      const long panel = c / kPanelCodes, lane = c % kPanelCodes;
      float squares = 0;
      for (int j = 0; j < width; ++j) {
        const float value = codes[c * width + j];
        values_[(panel * width + j) * kPanelCodes + lane] = value;
        squares += value * value;
      }
      halves_[c] = -0.5f * squares;
    }
  }

  long count() const { return count_; }

  // Takes the scores of one panel into account for kPoints rows.
  void score(const float* rows, long panel, Best* best) const {
    vf sums[kPoints][kPanel];
    const float* values = values_.data() + panel * width_ * kPanelCodes;
    for (int i = 0; i < kPoints; ++i)
      for (int p = 0; p < kPanel; ++p)
        sums[i][p] = load(halves_.data() + panel * kPanelCodes + p * kLanes);
    for (int j = 0; j < width_; ++j, values += kPanelCodes) {
      vf code[kPanel];
      for (int p = 0; p < kPanel; ++p) code[p] = load(values + p * kLanes);
      for (int i = 0; i < kPoints; ++i) {
        const vf value = splat(rows[i * width_ + j]);
        for (int p = 0; p < kPanel; ++p) sums[i][p] = fma(value, code[p], sums[i][p]);
      }
    }
    for (int p = 0; p < kPanel; ++p) {
      vi code;
      for (int lane = 0; lane < kLanes; ++lane)
        code[lane] = static_cast<int32_t>(panel * kPanelCodes + p * kLanes + lane);
      for (int i = 0; i < kPoints; ++i) {
        const auto better = gt(sums[i][p], best[i].score);
        best[i].score = select(better, sums[i][p], best[i].score);
        best[i].code = (vi)select(better, (vf)code, (vf)best[i].code);
      }
    }
  }

 private:
  static constexpr float kNever = -std::numeric_limits<float>::infinity();

  long count_;
  int width_;
  std::vector<float> values_, halves_;
};

// The lane with the highest score, the lowest code among equals.
int32_t winner(const Best& best) {
  float score = best.score[0];
  int32_t code = best.code[0];
  for (int lane = 1; lane < kLanes; ++lane)
    if (best.score[lane] > score || (best.score[lane] == score && best.code[lane] < code)) {
      score = best.score[lane];
      code = best.code[lane];
    }
  return code;
}

float squared_distance(const float* a, const float* b, int width) {
  float total = 0;
  for (int j = 0; j < width; ++j) total += (a[j] - b[j]) * (a[j] - b[j]);
  return total;
}

}  // namespace

void search_group(const GroupSearch& problem, long group, long begin, long end) {
  const int width = problem.width;
  const long first = problem.code_starts[group], count = problem.code_starts[group + 1] - first;
  if (count == 0) {
    std::fill(problem.indices + begin, problem.indices + end, -1);
    std::fill(problem.costs + begin, problem.costs + end, std::numeric_limits<float>::infinity());
    return;
  }
  const float* codes = problem.codes + first * width;
  const Panels panels(codes, count, width);
  std::vector<float> rows(kBlock * width);
  for (long start = begin; start < end; start += kBlock) {
    const long size = std::min(kBlock, end - start);
    for (long i = 0; i < size; ++i) {
      const float* row = problem.points + static_cast<long>(problem.rows[start + i]) * width;
      std::copy(row, row + width, rows.data() + i * width);
    }
    Best best[kBlock];
    for (Best& one : best) one = {splat(-std::numeric_limits<float>::infinity()), vi{}};
    for (long panel = 0; panel < panels.count(); ++panel)
      for (long i = 0; i < size; i += kPoints)
        panels.score(rows.data() + i * width, panel, best + i);
    for (long i = 0; i < size; ++i) {
      const int32_t code = winner(best[i]);
      problem.indices[start + i] = static_cast<int32_t>(first) + code;
      problem.costs[start + i] =
          squared_distance(rows.data() + i * width, codes + static_cast<long>(code) * width, width);
    }
  }
}

}  // namespace fieldwright::ISA
