// What every Python module of kernels says of the machine: threads and instruction set.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "dispatch.hpp"
#include "thread_pool.hpp"

namespace fieldwright {

inline void bind_machine(nanobind::module_& m) {
  m.def("set_num_threads", &set_num_threads, nanobind::arg("count"),
        "Threads the kernels use, the caller included; 0 means one per available core.");
  m.def("num_threads", &num_threads, "Threads in use.");
  m.def("set_isa", &set_isa, nanobind::arg("name"),
        "Instruction set: auto, portable, avx2 or avx512.");
  m.def("isa", &isa_name, "Name of the instruction set in use.");
}

}  // namespace fieldwright
