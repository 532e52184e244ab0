#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace fieldwright {
void bind_kmeans(nb::module_&) {}
}  // namespace fieldwright
