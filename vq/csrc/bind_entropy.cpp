#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace fieldwright {
void bind_entropy(nb::module_&) {}
}  // namespace fieldwright
