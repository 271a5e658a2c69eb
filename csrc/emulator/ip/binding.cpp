// Python entry points of this part of the emulator: the GPU behind its apertures, with a test
// double in the place of the adapter's memory.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <map>
#include <vector>

#include "emulator/ip/gpu_internal.h"

namespace py = pybind11;

namespace usbgpu::emulator {

namespace {

// Windows of plain memory on the bus; everything else is unclaimed. Records what was written.
class TestPort final : public UpstreamPort {
 public:
  void add_window(uint64_t address, size_t bytes) { windows_[address].resize(bytes); }
  bool dma_read(uint64_t address, std::span<std::byte> into) override {
    std::lock_guard guard(mutex_);
    const std::byte* at = find(address, into.size());
    if (!at) return unclaimed_++, false;
    std::memcpy(into.data(), at, into.size());
    return true;
  }
  bool dma_write(uint64_t address, std::span<const std::byte> from) override {
    std::lock_guard guard(mutex_);
    std::byte* at = find(address, from.size());
    if (!at) return unclaimed_++, false;
    std::memcpy(at, from.data(), from.size());
    writes_.emplace_back(address, from.size());
    return true;
  }
  const std::byte* readable_memory(uint64_t address, size_t bytes) override {
    std::lock_guard guard(mutex_);
    return find(address, bytes);
  }
  std::vector<std::pair<uint64_t, uint64_t>> take_writes() {
    std::lock_guard guard(mutex_);
    return std::exchange(writes_, {});
  }
  uint64_t unclaimed() const { return unclaimed_; }

 private:
  std::byte* find(uint64_t address, size_t bytes) {
    auto next = windows_.upper_bound(address);
    if (next == windows_.begin()) return nullptr;
    auto& [base, memory] = *std::prev(next);
    return address + bytes <= base + memory.size() ? memory.data() + (address - base) : nullptr;
  }
  std::mutex mutex_;
  std::map<uint64_t, std::vector<std::byte>> windows_;
  std::vector<std::pair<uint64_t, uint64_t>> writes_;
  uint64_t unclaimed_ = 0;
};

class TestGpu {
 public:
  explicit TestGpu(const GpuOptions& options) : gpu_(Gpu::create(options)), model_(static_cast<GpuModel*>(gpu_.get())) {
    gpu_->attach(&port_);
  }
  ~TestGpu() {
    py::gil_scoped_release release;
    gpu_.reset();
  }
  uint32_t address(const std::string& name) const {
    const auto reg = RegisterFile::find(name);
    if (!reg || !model_->board().regs.has(*reg)) throw py::key_error(name);
    return model_->board().regs.address(*reg);
  }
  uint32_t read(const std::string& name) { return reach(address(name), std::nullopt); }
  void write(const std::string& name, uint32_t value) { reach(address(name), value); }
  uint32_t field(const std::string& reg, const std::string& name) {
    const auto found = RegisterFile::find_field(reg + "__" + name);
    if (!found) throw py::key_error(reg + "." + name);
    return model_->board().regs.decode(*found, read(reg));
  }
  void update(const std::string& reg, const py::kwargs& fields) {
    uint32_t word = read(reg);
    for (const auto& [name, value] : fields) {
      const auto found = RegisterFile::find_field(reg + "__" + py::cast<std::string>(name));
      if (!found) throw py::key_error(reg + "." + py::cast<std::string>(name));
      word = model_->board().regs.insert(*found, word, py::cast<uint32_t>(value));
    }
    write(reg, word);
  }
  // As a driver does: directly inside BAR5, else through RSMU_INDEX/DATA.
  uint32_t reach(uint32_t dword, std::optional<uint32_t> value) {
    if (dword * 4ull < gpu_->identity().register_bytes) {
      if (value) gpu_->register_write(dword * 4, *value);
      return value ? 0 : gpu_->register_read(dword * 4);
    }
    gpu_->register_write(address("BIF_BX_PF0_RSMU_INDEX") * 4, dword * 4);
    const uint32_t data = address("BIF_BX_PF0_RSMU_DATA") * 4;
    if (value) gpu_->register_write(data, *value);
    return value ? 0 : gpu_->register_read(data);
  }
  void vram_write(uint64_t offset, py::bytes data) {
    const std::string bytes = data;
    py::gil_scoped_release release;
    for (size_t i = 0; i < bytes.size(); i += 4) {
      uint32_t word = 0;
      const size_t n = std::min<size_t>(4, bytes.size() - i);
      std::memcpy(&word, bytes.data() + i, n);
      gpu_->vram_write(offset + i, word, (1u << n) - 1);
    }
  }
  py::bytes vram_read(uint64_t offset, size_t count) {
    std::string out((count + 3) & ~size_t{3}, '\0');
    for (size_t i = 0; i < out.size(); i += 4) {
      const uint32_t word = gpu_->vram_read(offset + i);
      std::memcpy(out.data() + i, &word, 4);
    }
    return py::bytes(out.data(), count);
  }
  void bus_write(uint64_t address, py::bytes data) {
    const std::string bytes = data;
    port_.dma_write(address, std::as_bytes(std::span(bytes.data(), bytes.size())));
    port_.take_writes();
    gpu_->wake().notify();
  }
  py::bytes bus_read(uint64_t address, size_t count) {
    std::string out(count, '\0');
    if (!port_.dma_read(address, std::as_writable_bytes(std::span(out.data(), count)))) throw py::index_error("no window there");
    return py::bytes(out);
  }
  py::object translate(const std::string& hub, uint64_t va, const std::string& access) {
    Board& board = model_->board();
    const Access kind = access == "write" ? Access::write : access == "execute" ? Access::execute : Access::read;
    const auto place = (hub == "gc" ? board.gc : board.mm)->resolve(va, kind, 8);
    if (!place) return py::none();
    return py::make_tuple(place->system, place->physical, place->bytes);
  }
  Gpu& gpu() { return *gpu_; }
  GpuModel& model() { return *model_; }
  TestPort& port() { return port_; }

 private:
  TestPort port_;
  std::unique_ptr<Gpu> gpu_;
  GpuModel* model_;
};

}  // namespace

void bind_ip(py::module_& module) {
  using release = py::call_guard<py::gil_scoped_release>;
  py::class_<TestGpu>(module, "Gpu", "An emulated GPU behind its BARs; bus windows stand for the adapter's memory.")
      .def(py::init([](const std::string& chip, uint64_t vram_bytes, unsigned threads, bool deterministic, const std::string& board,
                       const std::string& state) {
             auto gpu = std::make_unique<TestGpu>(GpuOptions{chip, vram_bytes, threads, deterministic, board});
             gpu->gpu().leave(start_state(state));
             return gpu;
           }),
           py::arg("chip") = "navi31", py::arg("vram_bytes") = 0, py::arg("threads") = 0, py::arg("deterministic") = false,
           py::arg("board") = "", py::arg("state") = "cold")
      .def("add_bus_window", [](TestGpu& t, uint64_t address, size_t bytes) { t.port().add_window(address, bytes); })
      .def("bus_write", &TestGpu::bus_write)
      .def("bus_read", &TestGpu::bus_read)
      .def("take_bus_writes", [](TestGpu& t) { return t.port().take_writes(); })
      .def_property_readonly("unclaimed", [](TestGpu& t) { return t.port().unclaimed(); })
      .def("set_bus_master", [](TestGpu& t, bool on) { t.gpu().set_bus_master(on); }, release())
      .def("cold_reset", [](TestGpu& t) { t.gpu().cold_reset(); }, release())
      .def("register_read", [](TestGpu& t, uint32_t offset) { return t.gpu().register_read(offset); }, release())
      .def("register_write", [](TestGpu& t, uint32_t offset, uint32_t v) { t.gpu().register_write(offset, v); }, release())
      .def("doorbell_write", [](TestGpu& t, uint32_t offset, uint32_t v) { t.gpu().doorbell_write(offset, v); }, release())
      .def("vram_read", &TestGpu::vram_read)
      .def("vram_write", &TestGpu::vram_write)
      .def("address", &TestGpu::address, "Dword address of a register by name.")
      .def("reach", &TestGpu::reach, py::arg("dword"), py::arg("value") = py::none(),
           "Reads, or with a value writes, a register by dword address, beyond BAR5 through RSMU_INDEX/DATA.")
      .def("read", &TestGpu::read)
      .def("write", &TestGpu::write)
      .def("field", &TestGpu::field)
      .def("update", &TestGpu::update)
      .def("translate", &TestGpu::translate, "(system, physical, bytes) or None; hub is 'gc' or 'mm'.")
      .def("wait_idle", [](TestGpu& t, unsigned ms) { return t.model().runner().wait_idle(std::chrono::milliseconds(ms)); },
           py::arg("timeout_ms") = 2000, release())
      .def_property_readonly("last_stop", [](TestGpu& t) { return t.model().mec().last_stop(); }, "Why a compute queue stands still.")
      .def_property_readonly("sdma_stop", [](TestGpu& t) { return t.model().sdma(0).last_stop(); })
      .def_property_readonly("packets", [](TestGpu& t) { return t.model().mec().totals().packets; })
      .def_property_readonly("dispatches", [](TestGpu& t) { return t.model().mec().totals().dispatches; })
      .def_property_readonly("psp_refusal", [](TestGpu& t) { return t.model().psp().last_refusal(); })
      .def_property_readonly("stray_registers",
                             [](TestGpu& t) {
                               std::lock_guard guard(t.model().board().lock);
                               const auto& strays = t.model().board().regs.strays();
                               return std::vector<uint32_t>(strays.begin(), strays.end());
                             })
      .def_property_readonly("identity", [](TestGpu& t) {
        const GpuIdentity id = t.gpu().identity();
        py::dict out;
        out["vendor"] = id.vendor;
        out["device"] = id.device;
        out["revision"] = id.revision;
        out["vram_bytes"] = id.vram_bytes;
        out["doorbell_bytes"] = id.doorbell_bytes;
        out["register_bytes"] = id.register_bytes;
        out["subsystem"] = py::make_tuple(id.subsystem_vendor, id.subsystem_device);
        return out;
      });
  py::list chips;  // the only list of emulated chips
  for (const ChipFacts* chip : emulated_chips()) {
    const IpFact* gc = chip->ips.data();
    py::dict row;
    row["name"] = chip->name;
    row["target"] = chip->target;
    py::list boards;
    for (const ProductFacts& product : chip->products) boards.append(product.name);
    row["boards"] = py::tuple(boards);
    row["gc"] = py::make_tuple(gc->version[0], gc->version[1], gc->version[2]);
    row["vram_bytes"] = chip->products.front().vram_bytes;
    chips.append(row);
  }
  module.attr("CHIPS") = py::tuple(chips);
}

}  // namespace usbgpu::emulator
