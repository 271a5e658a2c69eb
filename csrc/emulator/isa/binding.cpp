// Python entry points of the shader cores: decode and disassemble bytes, run code over a flat
// address space without a GPU around it. For tests and benchmarks.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "emulator/debug/debug.h"
#include "emulator/isa/counters_binding.h"
#include "emulator/isa/decode.h"
#include "emulator/isa/dispatch.h"
#include "emulator/isa/flat_memory.h"
#include "emulator/isa/handlers.h"
#include "emulator/isa/lower.h"

namespace py = pybind11;

namespace usbgpu::emulator {
namespace {

Arch arch_of(const std::string& name) {
  if (name.starts_with("gfx11")) return Arch::gfx11;
  if (name.starts_with("gfx12")) return Arch::gfx12;
  throw std::invalid_argument("no decode tables for " + name);
}

std::vector<uint32_t> words_of(const std::string& bytes) {
  std::vector<uint32_t> words(bytes.size() / 4);
  std::memcpy(words.data(), bytes.data(), words.size() * 4);
  return words;
}

// [(offset, length, mnemonic or None, text)]
py::list disassemble_all(const py::bytes& code, const std::string& arch, uint64_t va) {
  const std::vector<uint32_t> words = words_of(code);
  py::list out;
  for (size_t n = 0; n < words.size();) {
    const std::span<const uint32_t> rest(words.data() + n, words.size() - n);
    const isa::Decoded d = isa::decode(arch_of(arch), rest);
    const std::string text = isa::disassemble(d, rest, va + 4 * n);
    out.append(py::make_tuple(4 * n, d.bytes, d.row ? py::object(py::str(d.row->name)) : py::object(py::none()), text));
    n += d.bytes / 4;
  }
  return out;
}

// {mnemonic or text: reason} of instructions that would raise an illegal instruction fault
py::dict unsupported_in(const py::bytes& code, const std::string& arch) {
  const std::vector<uint32_t> words = words_of(code);
  py::dict out;
  for (size_t n = 0; n < words.size();) {
    const std::span<const uint32_t> rest(words.data() + n, words.size() - n);
    const isa::Decoded d = isa::decode(arch_of(arch), rest);
    const std::string why = isa::unsupported(d);
    if (!why.empty()) out[py::str(isa::disassemble(d, rest, 4 * n))] = why;
    n += d.bytes / 4;
  }
  return out;
}

const char* name_of(WaveFault::Kind kind) {
  switch (kind) {
    case WaveFault::Kind::illegal_instruction: return "illegal_instruction";
    case WaveFault::Kind::memory_violation: return "memory_violation";
    case WaveFault::Kind::misaligned_atomic: return "misaligned_atomic";
    case WaveFault::Kind::trap: return "trap";
    case WaveFault::Kind::wmma_exec: return "wmma_exec";
    case WaveFault::Kind::lds_address: return "lds_address";
  }
  return "unknown";
}

const char* name_of(Access access) {
  switch (access) {
    case Access::read: return "read";
    case Access::write: return "write";
    case Access::execute: return "execute";
    case Access::atomic: return "atomic";
  }
  return "unknown";
}

py::dict result_of(const DispatchResult& r, const ChipRates* rates) {
  using namespace pybind11::literals;
  py::dict out("end"_a = r.end == DispatchResult::End::complete ? "complete" : r.end == DispatchResult::End::fault ? "fault" : "cancelled",
               "counters"_a = counters_of(r.counters), "fault"_a = py::none());
  if (rates) {
    const LaunchModel model = model_launch(*rates, r.shape, r.counters);
    py::dict figures;
    put_model(figures, model, model.seconds());
    out["model"] = figures;
  }
  if (r.fault) {
    const WaveFault& f = *r.fault;
    out["fault"] = py::dict("kind"_a = name_of(f.kind), "pc"_a = f.pc, "address"_a = f.address, "access"_a = name_of(f.access),
                            "group"_a = py::make_tuple(f.group[0], f.group[1], f.group[2]), "wave"_a = f.wave_in_group,
                            "exec"_a = f.exec, "text"_a = f.text);
  }
  return out;
}

class Cores {
 public:
  Cores(const ShaderOptions& options, const std::string& chip) : array_(ShaderArray::create(options)), rates_(rates_of(chip)) {}

  py::dict run(FlatMemory& memory, uint64_t entry, uint32_t rsrc1, uint32_t rsrc2, const std::vector<uint32_t>& user_data,
               std::array<uint32_t, 3> groups, std::array<uint32_t, 3> threads, uint64_t scratch_base, uint32_t tmpring_size,
               uint32_t sh_mem_bases, uint32_t initiator, const std::string& arch) {
    DispatchState s;
    s.arch = arch_of(arch);
    s.pgm_address = entry;
    s.pgm_rsrc1 = rsrc1;
    s.pgm_rsrc2 = rsrc2;
    if (user_data.size() > s.user_data.size()) throw std::invalid_argument("more than 16 user SGPRs");
    std::copy(user_data.begin(), user_data.end(), s.user_data.begin());
    s.groups = groups;
    s.threads = threads;
    s.scratch_base = scratch_base;
    s.tmpring_size = tmpring_size;
    s.sh_mem_bases = sh_mem_bases;
    s.initiator = initiator;
    std::mutex mutex;
    std::vector<uint32_t> messages;
    s.interrupt = [&](const WaveMessage& m) {
      const std::lock_guard lock(mutex);
      messages.push_back(m.data);
    };
    cancel_ = false;
    DispatchResult r;
    {
      py::gil_scoped_release release;
      r = array_->run(s, memory, cancel_);
    }
    py::dict result = result_of(r, rates_);
    result["interrupts"] = messages;
    return result;
  }
  void cancel() { cancel_ = true; }
  void watch(debug::Session* session) { array_->watch(session); }
  void invalidate_code() { array_->invalidate_code(); }

 private:
  std::unique_ptr<ShaderArray> array_;
  const ChipRates* rates_;  // whose times are modelled; nullptr: nobody's
  std::atomic<bool> cancel_{false};
};

}  // namespace

void bind_isa(py::module_& m) {
  using namespace pybind11::literals;
  m.def("disassemble", &disassemble_all, "code"_a, "arch"_a = "gfx1100", "va"_a = 0,
        "[(offset, length, mnemonic or None, text)] of all instructions in `code`.");
  m.def("unsupported", &unsupported_in, "code"_a, "arch"_a = "gfx1100", "{text: reason} of instructions in `code` that cannot execute.");
  m.def("implements", [](const std::string& mnemonic) { return isa::find_handler(mnemonic.c_str()) != nullptr; }, "mnemonic"_a);
  m.def("mnemonics", [](const std::string& arch) {
    const isa::ArchTables& t = isa::tables_of(arch_of(arch));
    py::list out;
    for (unsigned n = 0; n < t.op_count; ++n)
      if (!t.ops[n].absent) out.append(py::str(t.ops[n].name));
    return out;
  }, "arch"_a = "gfx1100");
  m.attr("level") = isa::isa_level();

  py::class_<FlatMemory>(m, "FlatMemory", "An address space of separate regions, for running code without a GPU.")
      .def(py::init<>())
      .def("map", &FlatMemory::map, "va"_a, "bytes"_a, "write"_a = true, "execute"_a = false, "bridge"_a = false,
           "Zeroed memory at `va`. `bridge`: reached by load/store only, like memory behind the PCIe bridge.")
      .def("unmap", &FlatMemory::unmap, "va"_a)
      .def("write", [](FlatMemory& self, uint64_t va, const py::buffer& data) {
        const py::buffer_info info = data.request();
        const auto bytes = static_cast<size_t>(info.size * info.itemsize);
        std::memcpy(self.at(va, bytes).data(), info.ptr, bytes);
      }, "va"_a, "data"_a)
      .def("read", [](FlatMemory& self, uint64_t va, size_t bytes) {
        return py::bytes(reinterpret_cast<const char*>(self.at(va, bytes).data()), bytes);
      }, "va"_a, "bytes"_a)
      .def_property_readonly("faults", &FlatMemory::faults);

  py::class_<Cores>(m, "Cores", "Shader cores; dispatches run to their end.")
      .def(py::init([](unsigned threads, bool strict_waits, bool poison, uint64_t shuffle_seed, bool jitter, bool counters, const std::string& chip) {
             ShaderOptions options;
             options.threads = threads;
             options.strict_waits = strict_waits;
             options.poison = poison;
             options.shuffle_seed = shuffle_seed;
             options.jitter_transcendentals = jitter;
             options.counters = counters;
             return std::make_unique<Cores>(options, chip);
           }),
           "threads"_a = 1, "strict_waits"_a = false, "poison"_a = false, "shuffle_seed"_a = 0, "jitter_transcendentals"_a = false,
           "counters"_a = false, "chip"_a = "")
      .def("run", &Cores::run, "memory"_a, "entry"_a, "rsrc1"_a, "rsrc2"_a, "user_data"_a, "groups"_a, "threads"_a, "scratch_base"_a = 0,
           "tmpring_size"_a = 0, "sh_mem_bases"_a = 0, "initiator"_a = 0x8005, "arch"_a = "gfx1100",
           "{'end': complete|fault|cancelled, 'fault': ..., 'counters': ..., and 'model' of the chip if one was named}")
      .def("cancel", &Cores::cancel)
      .def("watch", &Cores::watch, "session"_a = py::none(), py::keep_alive<1, 2>(), py::call_guard<py::gil_scoped_release>(),
           "The debugger session that sees the waves; None: no more.")
      .def("invalidate_code", &Cores::invalidate_code);
}

}  // namespace usbgpu::emulator
