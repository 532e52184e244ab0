// The Python module splats._native: plain arrays in, plain arrays out.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "dispatch.hpp"
#include "thread_pool.hpp"

namespace nb = nanobind;

namespace fieldwright {
void bind_formats(nb::module_& m);
void bind_hash_grid(nb::module_& m);
void bind_rasterizer(nb::module_& m);
void bind_training(nb::module_& m);
}  // namespace fieldwright

namespace {

// A training step frees and asks again for the same few hundred megabytes. By default glibc maps
// such blocks anew each time, and every page of them faults again. Freed memory is therefore kept
// for the next call.
void keep_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

}  // namespace

NB_MODULE(_native, m) {
  keep_freed_memory();
  m.doc() = "CPU kernels of Fieldwright's splats.";
  m.def("set_num_threads", &fieldwright::set_num_threads, nb::arg("count"),
        "Threads the kernels use, the caller included; 0 means one per available core.");
  m.def("num_threads", &fieldwright::num_threads, "Threads in use.");
  m.def("set_isa", &fieldwright::set_isa, nb::arg("name"),
        "Instruction set: auto, portable, avx2 or avx512.");
  m.def("isa", &fieldwright::isa_name, "Name of the instruction set in use.");
  fieldwright::bind_formats(m);
  fieldwright::bind_hash_grid(m);
  fieldwright::bind_rasterizer(m);
  fieldwright::bind_training(m);
}
