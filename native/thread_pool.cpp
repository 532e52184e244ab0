#include "thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <pthread.h>

namespace fieldwright {
namespace {

thread_local bool inside_pool = false;

// Workers sleep on a condition variable and spin a little first: a training step makes about
// twenty short calls, and a wake-up costs as much as some of them.
class Pool {
 public:
  explicit Pool(int workers) {
    for (int i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
  }

  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  void run(int count, const std::function<void(int)>& body) {
    std::lock_guard one_at_a_time(callers_);
    body_ = &body;
    count_ = count;
    error_ = nullptr;
    next_.store(0, std::memory_order_relaxed);
    busy_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
    {
      std::lock_guard lock(mutex_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    drain();
    for (int spin = 0; busy_.load(std::memory_order_acquire) != 0; ++spin)
      if (spin > kSpins) std::this_thread::yield();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  static constexpr int kSpins = 2000;

  void drain() {
    inside_pool = true;
    for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) {
      try {
        (*body_)(i);
      } catch (...) {
        std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
      }
    }
    inside_pool = false;
  }

  void work() {
    unsigned seen = 0;
    while (true) {
      for (int spin = 0; spin < kSpins; ++spin) {
        if (generation_.load(std::memory_order_acquire) != seen) break;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
        seen = generation_.load(std::memory_order_acquire);
        if (stopping_) return;
      }
      drain();
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::vector<std::thread> threads_;
  std::mutex callers_, mutex_;
  std::condition_variable wake_;
  std::atomic<unsigned> generation_{0};
  std::atomic<int> next_{0}, busy_{0};
  const std::function<void(int)>* body_ = nullptr;
  int count_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
};

int requested_threads = 0;
Pool* pool = nullptr;  // leaked at exit on purpose: joining in a static destructor can hang
std::mutex pool_mutex;

Pool& get_pool() {
  std::lock_guard lock(pool_mutex);
  static const bool fork_handler = [] {
    // Threads do not survive fork(); a child starts a pool of its own on first use.
    pthread_atfork(nullptr, nullptr, [] { pool = nullptr; });
    return true;
  }();
  (void)fork_handler;
  if (!pool) {
    int cores = requested_threads;
    if (cores <= 0) {
      cpu_set_t set;
      cores = sched_getaffinity(0, sizeof(set), &set) == 0
                  ? CPU_COUNT(&set)
                  : static_cast<int>(std::thread::hardware_concurrency());
    }
    pool = new Pool(std::max(1, cores) - 1);
  }
  return *pool;
}

}  // namespace

void set_num_threads(int count) {
  std::lock_guard lock(pool_mutex);
  requested_threads = count;
  delete pool;
  pool = nullptr;
}

int num_threads() { return get_pool().size(); }

void parallel_for(int count, const std::function<void(int)>& body) {
  if (count <= 0) return;
  if (inside_pool || count == 1 || get_pool().size() == 1) {
    for (int i = 0; i < count; ++i) body(i);
    return;
  }
  get_pool().run(count, body);
}

void parallel_ranges(long size, long grain, const std::function<void(long, long, int)>& body) {
  if (size <= 0) return;
  const long ranges = std::clamp<long>(size / std::max<long>(grain, 1), 1, kMaxRanges);
  parallel_for(static_cast<int>(ranges), [&](int i) {
    body(size * i / ranges, size * (i + 1) / ranges, i);
  });
}

}  // namespace fieldwright
