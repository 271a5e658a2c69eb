// Python entry points of traces and debugger; wrapped by torch_usbgpu/emulator/debugger.py and torch_usbgpu/cli.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "emulator/debug/code.h"
#include "emulator/debug/debug.h"
#include "emulator/debug/lanes.h"
#include "emulator/isa/host.h"
#include "emulator/isa/sched.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace usbgpu::emulator::debug {
namespace {

const char* name_of(Session::Why why) {
  switch (why) {
    case Session::Why::running: return "running";
    case Session::Why::entry: return "entry";
    case Session::Why::step: return "step";
    case Session::Why::breakpoint: return "breakpoint";
    case Session::Why::paused: return "paused";
    case Session::Why::wave_end: return "end";
    case Session::Why::fault: return "fault";
    case Session::Why::finished: return "finished";
  }
  return "unknown";
}

const char* name_of(Arch arch) { return arch == Arch::gfx12 ? "gfx12" : "gfx11"; }
const char* name_of(DispatchResult::End end) {
  return end == DispatchResult::End::complete ? "complete" : end == DispatchResult::End::fault ? "fault" : "cancelled";
}

isa::Wave& parked(Session& session) {
  isa::Wave* wave = session.wave();
  if (!wave) throw std::runtime_error("no wave is stopped");
  return *wave;
}

// Live registers; `owner` keeps the shader cores, whose memory this is, alive.
template <typename T>
py::array_t<T> view(T* data, std::vector<py::ssize_t> shape, py::object owner) {
  std::vector<py::ssize_t> strides(shape.size(), sizeof(T));
  for (size_t n = shape.size() - 1; n > 0; --n) strides[n - 1] = strides[n] * shape[n];
  return py::array_t<T>(std::move(shape), std::move(strides), data, std::move(owner));
}

// [register, half of the wave, lane of the half]: the halves of a wave64 are a Wave apart.
py::array_t<uint32_t> vgpr_view(isa::Wave& w, py::object owner) {
  return py::array_t<uint32_t>({py::ssize_t{isa::kVgprs}, static_cast<py::ssize_t>(lanes_of(w) / 32), py::ssize_t{32}},
                               {py::ssize_t{sizeof w.vgpr[0]}, py::ssize_t{sizeof w}, py::ssize_t{4}}, &w.vgpr[0][0], std::move(owner));
}

py::dict state_of(const DispatchState& s) {
  return py::dict("arch"_a = name_of(s.arch), "entry"_a = s.pgm_address, "rsrc1"_a = s.pgm_rsrc1, "rsrc2"_a = s.pgm_rsrc2, "rsrc3"_a = s.pgm_rsrc3,
                  "user_data"_a = std::vector<uint32_t>(s.user_data.begin(), s.user_data.end()), "groups"_a = s.groups, "start"_a = s.start,
                  "threads"_a = s.threads, "tmpring_size"_a = s.tmpring_size, "scratch_base"_a = s.scratch_base, "initiator"_a = s.initiator);
}

py::object result_of(const std::optional<DispatchResult>& r) {
  if (!r) return py::none();
  py::dict out("end"_a = name_of(r->end), "instructions"_a = r->counters.instructions, "waves"_a = r->counters.waves, "fault"_a = py::none());
  if (r->fault)
    out["fault"] = py::dict("pc"_a = r->fault->pc, "address"_a = r->fault->address, "kind"_a = static_cast<unsigned>(r->fault->kind), "group"_a = r->fault->group,
                            "wave"_a = r->fault->wave_in_group, "exec"_a = r->fault->exec, "text"_a = r->fault->text);
  return out;
}

struct ToPython {
  py::object operator()(const PacketRecord& r) const {
    return py::dict("event"_a = "packet", "engine"_a = r.engine, "instance"_a = r.instance, "queue"_a = r.queue, "depth"_a = r.depth, "address"_a = r.va,
                    "words"_a = r.words);
  }
  py::object operator()(const LaunchRecord& r) const {
    py::dict out = state_of(r.state);
    out["event"] = "launch";
    out["launch"] = r.launch;
    return out;
  }
  py::object operator()(const InstructionRecord& r) const {
    py::list results;
    for (const RegisterValue& v : r.results) {
      py::object values = py::cast(v.values);
      results.append(py::make_tuple(v.range.vector ? "v" : "s", v.range.first, v.range.count, values));
    }
    return py::dict("event"_a = "instruction", "launch"_a = r.launch, "group"_a = r.group, "wave"_a = r.wave, "pc"_a = r.pc, "bytes"_a = r.bytes,
                    "text"_a = r.text, "exec"_a = r.exec, "scc"_a = r.scc, "results"_a = results);
  }
  py::object operator()(const EndRecord& r) const {
    py::dict out = result_of(r.result);
    out["event"] = "launch_end";
    out["launch"] = r.launch;
    return out;
  }
};

void bind_session(py::module_& m) {
  py::class_<Session>(m, "Session", "Parks a wave between two instructions.")
      .def(py::init<>())
      .def(
          "wait",
          [](Session& s, double seconds) {
            // in slices, so that Ctrl-C gets through
            for (double left = seconds; left > 0; left -= 0.05) {
              Session::Why why;
              {
                py::gil_scoped_release release;
                why = s.wait(static_cast<unsigned>(std::min(left, 0.05) * 1000) + 1);
              }
              if (PyErr_CheckSignals() != 0) throw py::error_already_set();
              if (why != Session::Why::running) return name_of(why);
            }
            return name_of(s.why());
          },
          "seconds"_a)
      .def_property_readonly("why", [](Session& s) { return name_of(s.why()); })
      .def("resume", &Session::resume, "steps"_a = 0)
      .def("pause", &Session::pause)
      .def("attach", &Session::attach)
      .def("detach", &Session::detach)
      .def("set_breakpoints", &Session::set_breakpoints, "addresses"_a)
      .def("select", [](Session& s, std::optional<std::array<uint32_t, 3>> group, uint32_t wave) {
             s.select(group ? std::optional(WaveId{*group, wave}) : std::nullopt);
           }, "group"_a = py::none(), "wave"_a = 0)
      .def("only_kernel", &Session::only_kernel, "entry"_a = py::none())
      .def_property("pc", &Session::pc, [](Session& s, uint64_t pc) { parked(s), s.move_to(pc); })
      .def_property_readonly("stopped", [](Session& s) { return s.wave() != nullptr; })
      .def_property_readonly("group", [](Session& s) { return s.id().group; })
      .def_property_readonly("index", [](Session& s) { return s.id().index; })
      .def_property_readonly("state", [](Session& s) -> py::object {
        const auto state = s.state();
        return state ? py::object(state_of(*state)) : py::object(py::none());
      })
      .def_property_readonly("result", [](Session& s) { return result_of(s.result()); })
      .def_property_readonly("lanes", [](Session& s) { return lanes_of(parked(s)); })
      .def("sgpr", [](Session& s, py::object owner) { return view<uint32_t>(parked(s).sgpr, {isa::kScalarRegisters}, owner); }, "owner"_a)
      .def("vgpr", [](Session& s, py::object owner) { return vgpr_view(parked(s), owner); }, "owner"_a)
      .def("lds", [](Session& s, py::object owner) {
             const isa::Workgroup& group = *parked(s).group;
             return view<uint8_t>(group.lds, {static_cast<py::ssize_t>(group.lds_bytes)}, owner);
           }, "owner"_a)
      .def_property("scc", [](Session& s) { return parked(s).scc; }, [](Session& s, bool value) { parked(s).scc = value; })
      .def_property("mode", [](Session& s) { return parked(s).mode; }, [](Session& s, uint32_t value) {
             isa::set_mode(parked(s), value);
             s.refetch();  // code is decoded for a mode
           })
      .def_property_readonly("waves_in_group", [](Session& s) { return parked(s).group->waves; })
      .def("peek", [](Session& s, uint64_t va, size_t bytes) {
             AddressSpace* memory = s.memory();
             if (!memory) throw std::runtime_error("no dispatch is running");
             const std::vector<std::byte> got = peek(*memory, va, bytes);
             return py::bytes(reinterpret_cast<const char*>(got.data()), got.size());
           }, "va"_a, "bytes"_a, "What can be read, at most `bytes`; records no fault.")
      .def("poke", [](Session& s, uint64_t va, const std::string& data) {
             AddressSpace* memory = s.memory();
             return memory && memory->store(va, std::as_bytes(std::span(data)));
           }, "va"_a, "data"_a);
}

}  // namespace
}  // namespace usbgpu::emulator::debug

namespace usbgpu::emulator {

void bind_debug(py::module_& m) {
  using namespace debug;
  bind_session(m);
  py::class_<Log>(m, "Log", "Packets that the engines fetch, launches, and instructions that the shader cores execute.")
      .def(py::init<bool, uint64_t, size_t>(), "packets"_a = true, "instructions"_a = 0, "capacity"_a = 1 << 20)
      .def("only_kernels", &Log::only_kernels, "entries"_a)
      .def("drain", [](Log& log) {
        std::vector<Record> records;
        {
          py::gil_scoped_release release;
          records = log.drain();
        }
        py::list out;
        for (const Record& r : records) out.append(std::visit(ToPython{}, r));
        return out;
      })
      .def_property_readonly("lost", &Log::lost);
}

}  // namespace usbgpu::emulator
