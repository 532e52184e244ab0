// A small pool of threads of our own, so that no second OpenMP runtime meets torch's.
#pragma once
#include <functional>

namespace fieldwright {

// Number of threads the pool uses, the caller included; 0 means one per available core.
void set_num_threads(int count);
int num_threads();

// Calls body(i) for i in [0, count), in any order, on all threads; returns when all are done.
// Work is handed out one index at a time: make each index large enough (tens of microseconds).
// Nested calls run on the calling thread. An exception in body is rethrown to the caller.
void parallel_for(int count, const std::function<void(int)>& body);

// Calls body(begin, end, range) on contiguous ranges that cover [0, size), at least `grain` long
// each. The ranges depend on `size` and `grain` only, never on the number of threads, and there
// are at most kMaxRanges of them: sums kept per range and added in order are deterministic.
constexpr int kMaxRanges = 64;
void parallel_ranges(long size, long grain, const std::function<void(long, long, int)>& body);

}  // namespace fieldwright
