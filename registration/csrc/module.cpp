// The Python module registration._native: plain arrays in, plain arrays out.
#include <nanobind/nanobind.h>

#include "bind_machine.hpp"

namespace nb = nanobind;

namespace fieldwright {
void bind_features(nb::module_& m);
void bind_refine(nb::module_& m);
void bind_search(nb::module_& m);
}  // namespace fieldwright

NB_MODULE(_native, m) {
  m.doc() = "CPU kernels of Fieldwright's registration.";
  fieldwright::bind_machine(m);
  fieldwright::bind_search(m);
  fieldwright::bind_features(m);
  fieldwright::bind_refine(m);
}
