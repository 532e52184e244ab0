// The Python module fields._native: addresses of dense arrays in, results written in place.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "dispatch.hpp"
#include "thread_pool.hpp"

namespace nb = nanobind;

namespace fieldwright {
void bind_meshes(nb::module_& m);
void bind_tensors(nb::module_& m);
void bind_volume(nb::module_& m);
void bind_trivec(nb::module_& m);
}  // namespace fieldwright

NB_MODULE(_native, m) {
  m.doc() = "CPU kernels of Fieldwright's fields.";
  m.def("set_num_threads", &fieldwright::set_num_threads, nb::arg("count"),
        "Threads the kernels use, the caller included; 0 means one per available core.");
  m.def("num_threads", &fieldwright::num_threads, "Threads in use.");
  m.def("set_isa", &fieldwright::set_isa, nb::arg("name"),
        "Instruction set: auto, portable, avx2 or avx512.");
  m.def("isa", &fieldwright::isa_name, "Name of the instruction set in use.");
  fieldwright::bind_meshes(m);
  fieldwright::bind_tensors(m);
  fieldwright::bind_volume(m);
  fieldwright::bind_trivec(m);
}
