#include "grading.hpp"

#include <algorithm>
#include <cmath>

namespace fieldwright::ISA {
namespace {

int coarseness(const GradingRule& rule, int64_t base, int64_t value) {
  const int64_t upper = value >> rule.most << rule.most;
  return static_cast<int>(std::clamp<int64_t>((base + rule.own * upper) >> 16, 0, rule.most));
}

int64_t sum_of_terms(const GradingRule& rule, const int64_t* known) {
  int64_t total = 0;
  for (const GradingTerm& term : rule.terms) {
    int64_t sum = 0;
    for (size_t f = 0; f < term.factors.size(); ++f)
      sum += term.factors[f] * known[term.columns[f]];
    total += std::clamp(sum, term.low, term.high);
  }
  return total;
}

}  // namespace

// Rows [begin, end). Ties go to even, as torch rounds.
void grade_rows(const GradingProblem& problem, long begin, long end) {
  const long width = static_cast<long>(problem.rules.size());
  for (long row = begin; row < end; ++row) {
    const double* numbers = problem.numbers + row * width;
    int64_t* found = problem.integers + row * width;
    int64_t terms = 0;
    for (long column = 0; column < width; ++column) {
      const GradingRule& rule = problem.rules[static_cast<size_t>(column)];
      if (!rule.repeats) terms = sum_of_terms(rule, found);
      const int64_t base = rule.constant + terms;
      const double number = numbers[column];
      int k = coarseness(rule, base, static_cast<int64_t>(std::nearbyint(number)));
      const double step = static_cast<double>(int64_t{1} << k);
      int64_t value = static_cast<int64_t>(std::nearbyint(number / step)) << k;
      // Rounded more coarsely than this one, the one before could fall below it.
      if (rule.descends && value > found[column - 1]) {
        k = coarseness(rule, base, found[column - 1]);
        value = found[column - 1] >> k << k;
      }
      found[column] = value;
    }
  }
}

}  // namespace fieldwright::ISA
