// The Python module fields._native: addresses of dense arrays in, results written in place.
#include <nanobind/nanobind.h>

#include "bind_machine.hpp"

namespace nb = nanobind;

namespace fieldwright {
void bind_meshes(nb::module_& m);
void bind_sampling(nb::module_& m);
void bind_tensors(nb::module_& m);
void bind_volume(nb::module_& m);
void bind_trivec(nb::module_& m);
}  // namespace fieldwright

NB_MODULE(_native, m) {
  m.doc() = "CPU kernels of Fieldwright's fields.";
  fieldwright::bind_machine(m);
  fieldwright::bind_meshes(m);
  fieldwright::bind_sampling(m);
  fieldwright::bind_tensors(m);
  fieldwright::bind_volume(m);
  fieldwright::bind_trivec(m);
}
