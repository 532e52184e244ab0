// Nearest integers on grids whose coarseness follows from columns before (vq/sets/coarsening.py).
#pragma once
#include <cstdint>
#include <vector>

namespace fieldwright {

// A sum of factors times columns, within bounds.
struct GradingTerm {
  std::vector<int64_t> columns, factors;
  int64_t low, high;
};

// k = clip(floor(constant + own * upper + sum of terms), 0, most); units of 2^-16.
struct GradingRule {
  int most;
  int64_t constant, own;
  std::vector<GradingTerm> terms;
  bool descends;  // values are at most that of the column before
  bool repeats;   // the terms are those of the column before
};

struct GradingProblem {
  const double* numbers;  // [rows, columns], in units of the integers
  int64_t* integers;      // likewise
  const std::vector<GradingRule>& rules;  // one per column
};

#define FIELDWRIGHT_DECLARE(isa) \
  namespace isa {                \
  void grade_rows(const GradingProblem& problem, long begin, long end); \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
