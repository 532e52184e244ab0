// The Python module vq._native: plain arrays in, plain arrays out.
#include <nanobind/nanobind.h>

#include "bind_machine.hpp"

namespace nb = nanobind;

namespace fieldwright {
void bind_coefficients(nb::module_& m);
void bind_entropy(nb::module_& m);
void bind_kmeans(nb::module_& m);
void bind_sets(nb::module_& m);
}  // namespace fieldwright

NB_MODULE(_native, m) {
  m.doc() = "CPU kernels of Fieldwright's codecs.";
  fieldwright::bind_machine(m);
  fieldwright::bind_coefficients(m);
  fieldwright::bind_entropy(m);
  fieldwright::bind_kmeans(m);
  fieldwright::bind_sets(m);
}
