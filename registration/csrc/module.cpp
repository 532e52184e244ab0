// The Python module registration._native: plain arrays in, plain arrays out.
#include <nanobind/nanobind.h>

#include "thread_pool.hpp"

namespace nb = nanobind;

NB_MODULE(_native, m) {
  m.doc() = "CPU kernels of Fieldwright's registration.";
  m.def("set_num_threads", &fieldwright::set_num_threads, nb::arg("count"),
        "Threads the kernels use, the caller included; 0 means one per available core.");
  m.def("num_threads", &fieldwright::num_threads, "Threads in use.");
}
