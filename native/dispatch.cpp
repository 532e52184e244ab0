#include "dispatch.hpp"

#include <cstdlib>
#include <stdexcept>

namespace fieldwright {
namespace {

bool cpu_has(Isa isa) {
#if HAVE_avx512
  __builtin_cpu_init();
  if (isa == Isa::avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (isa == Isa::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return isa == Isa::portable;
}

Isa choose(const std::string& name) {
  if (name == "portable") return Isa::portable;
  if (name == "avx2" || name == "avx512") {
    const Isa isa = name == "avx2" ? Isa::avx2 : Isa::avx512;
    if (!cpu_has(isa)) throw std::invalid_argument("this CPU or build has no " + name);
    return isa;
  }
  if (name != "auto")
    throw std::invalid_argument("isa must be auto, portable, avx2 or avx512, got " + name);
  if (cpu_has(Isa::avx512)) return Isa::avx512;
  return cpu_has(Isa::avx2) ? Isa::avx2 : Isa::portable;
}

Isa& current() {
  static Isa isa = [] {
    const char* name = std::getenv("FIELDWRIGHT_ISA");
    return choose(name ? name : "auto");
  }();
  return isa;
}

}  // namespace

Isa active_isa() { return current(); }
void set_isa(const std::string& name) { current() = choose(name); }
std::string isa_name() {
  switch (active_isa()) {
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    default: return "portable";
  }
}

}  // namespace fieldwright
