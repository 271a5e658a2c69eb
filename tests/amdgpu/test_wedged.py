"""Boards that do not start at the first attempt, and what may not be taken for one."""
from __future__ import annotations

import pytest

from torch_usbgpu.amdgpu import Gpu, boot, psp, smu
from torch_usbgpu.amdgpu.power import PowerOptions
from torch_usbgpu.amdgpu.registers import MP0_C2PMSG_33, Registers
from torch_usbgpu.emulator import EmulatedAdapter
from torch_usbgpu.errors import (BootError, DeviceLost, FirmwareMissing, PcieLinkDown, PspSilent, SmuSilent,
                                 UnsupportedChip)
from torch_usbgpu.usb import Adapter, open_handle

from ..chip import CHIP, CHIPS


@pytest.fixture
def impatient(monkeypatch):
    for function in (psp.Psp._await_fence, smu.Smu.request_mode1_reset):
        monkeypatch.setattr(function, "__defaults__", (0.3,))
    monkeypatch.setattr(psp, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(smu, "SMU_SECONDS", 0.3)
    monkeypatch.setattr(boot, "FIRMWARE_SECONDS", 0.3)


def plugged_in(*faults: str, chip: str = CHIP, **options) -> Gpu:
    return Gpu(Adapter(EmulatedAdapter(chip, faults=faults, **options)), open_handle(f"emulated:{chip}").firmware_dirs)


def names(gpu: Gpu) -> list[str]:
    return [step.name for step in gpu.boot_log]


@pytest.mark.parametrize("chip", CHIPS)
def test_a_board_that_only_power_helps_boots(chip):
    gpu = plugged_in(chip=chip, state="wedged")
    gpu.boot()
    assert names(gpu).count("power_cycle") == 1 and names(gpu)[-1] == "create_queues"
    failed = next(step for step in gpu.boot_log if step.detail.startswith("FAILED"))
    assert failed.name == "reset_if_used" and "power controller does not answer" in failed.detail
    gpu.check_faults()


@pytest.mark.parametrize(("fault", "step"), [
    ("psp-silent:until=power", "start_security_processor"), ("smu-silent:until=power", "start_power_controller")])
def test_a_processor_that_hangs_until_the_power_goes(impatient, fault, step):
    gpu = plugged_in()
    gpu.adapter.handle.inject(fault)         # the dock has been powered by now
    gpu.boot()
    assert [line.name for line in gpu.boot_log if line.detail.startswith("FAILED")] == [step]
    assert names(gpu).count("power_cycle") == 1


@pytest.mark.parametrize(("fault", "error"), [("psp-silent", PspSilent), ("smu-silent", SmuSilent)])
def test_what_power_does_not_help_is_reported_once(impatient, fault, error):
    gpu = plugged_in(fault)
    with pytest.raises(error) as caught:
        gpu.boot()
    assert names(gpu).count("power_cycle") == 1
    assert caught.value.action == boot.POWER_ACTION and boot.POWER_ACTION in str(caught.value)
    assert "after_power_cycle" in caught.value.state and isinstance(caught.value.__cause__, error)


@pytest.mark.parametrize(("fault", "options", "error"), [
    ("no-link", {}, PcieLinkDown), ("unplug-after:300", {}, DeviceLost), ("card:1002:164e:10.3.0", {}, UnsupportedChip),
    ("", {"vram_bytes": 128 << 20}, UnsupportedChip)])
def test_power_is_not_switched_for_nothing(fault, options, error):
    gpu = plugged_in(*filter(None, [fault]), **options)
    with pytest.raises(error):
        gpu.boot()
    assert "power_cycle" not in names(gpu)


def test_missing_firmware_is_no_wedged_board(tmp_path, monkeypatch):
    monkeypatch.setattr("torch_usbgpu.amdgpu.firmware.SYSTEM_DIRECTORIES", ())
    monkeypatch.setattr("torch_usbgpu.amdgpu.firmware.user_directory", lambda: tmp_path / "none")
    gpu = Gpu(Adapter(EmulatedAdapter(CHIP)), [tmp_path])
    with pytest.raises(FirmwareMissing):
        gpu.boot()
    assert "power_cycle" not in names(gpu)


@pytest.mark.parametrize(("chip", "after"), [("navi31", 1), ("navi31", 3), ("navi48", 4)])
def test_a_boot_that_was_cut_short_in_the_boot_loader(chip, after, monkeypatch):
    """The next one finds a security processor that has half of its parts."""
    load, left = psp.Psp._load_component, [after]

    def cut_short(self, *arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return load(self, *arguments)

    first = plugged_in(chip=chip)
    with monkeypatch.context() as patch:
        patch.setattr(psp.Psp, "_load_component", cut_short)
        with pytest.raises(KeyboardInterrupt):
            first.boot()
    gpu = Gpu(Adapter(first.adapter.handle), first.firmware_dirs)
    gpu.boot()
    gpu.check_faults()


@pytest.mark.parametrize("step", ["restart_graphics_core", "raise_clocks"])
def test_a_warm_start_that_fails_becomes_a_cold_one(step, monkeypatch):
    first = plugged_in()
    first.boot()
    first.shutdown()

    def fails(gpu):
        monkeypatch.undo()
        raise BootError("Something does not stop.")

    fails.__name__ = step
    monkeypatch.setattr(boot, "WARM", tuple(fails if s.__name__ == step else s for s in boot.WARM))
    gpu = Gpu(Adapter(first.adapter.handle), first.firmware_dirs)
    gpu.boot()
    assert "was in use; reset" in [line.detail for line in gpu.boot_log] and "power_cycle" not in names(gpu)
    gpu.check_faults()


# ---- boards that hang

@pytest.mark.parametrize("bar", ["large", "small"])
@pytest.mark.parametrize("state", ["cold", "ours", "dirty"])
def test_no_stream_before_a_single_packet_was_answered(bar, state, monkeypatch):
    """A stream read that nobody answers hangs the dock for good; only a single packet has a time-out. So the first look
    at memory, at the graphics core and at the power controller is one."""
    first = plugged_in(bar=bar, state=state if state == "dirty" else "cold")
    if state == "ours":
        first.boot()
        first.shutdown()
    gpu = Gpu(Adapter(first.adapter.handle), first.firmware_dirs)
    answered: set[str] = set()
    places: dict[int, str] = {}         # of registers, as soon as their addresses are known

    def place(address: int) -> str:
        if gpu.pci.bars[0].address <= address < gpu.pci.bars[2].address:
            return "memory"
        return places.get((address - gpu.pci.bars[5].address) // 4, "")

    single, stream = Adapter.read32, Adapter._stream_read

    def read32(self, address):
        value = single(self, address)
        answered.add(place(address))
        return value

    def stream_read(self, address, nbytes):
        assert place(address) in answered | {""}, f"{place(address)} at {address:#x}"
        return stream(self, address, nbytes)

    monkeypatch.setattr(Adapter, "read32", read32)
    monkeypatch.setattr(Adapter, "_stream_read", stream_read)
    for step in boot.FIND:
        boot.do(gpu, step)
    places = {gpu.regs.address(name): block for block, names in {
        "graphics core": ("SCRATCH_REG5", "SCRATCH_REG7"),
        "power controller": ("MP1_SMN_C2PMSG_82", "MP1_SMN_C2PMSG_90")}.items() for name in names}
    assert boot.is_warm(gpu) == (state == "ours")
    assert gpu.psp.is_alive() == (state != "cold") and (gpu.smu.is_alive() or state == "cold")
    assert answered >= {"memory", "graphics core", "power controller"}


# ---- boards that leave out what only some drivers ask for

def blind(monkeypatch, *addresses: int) -> None:
    read = Registers.read
    monkeypatch.setattr(Registers, "read",
                        lambda self, register: 0 if register in addresses else read(self, register))


@pytest.mark.parametrize("state", ["cold", "dirty"])
def test_a_board_that_does_not_say_it_is_ready(state, impatient, monkeypatch):
    """tinygrad never asks C2PMSG_33, and Linux goes on without an answer."""
    monkeypatch.setattr(boot, "FIRMWARE_SECONDS_AFTER_RESET", 0.3)
    blind(monkeypatch, MP0_C2PMSG_33)
    gpu = plugged_in(state=state)
    gpu.boot()
    assert "power_cycle" not in names(gpu)


def test_an_smu_without_the_ends_of_its_tables(monkeypatch):
    """Then the clocks come from walking the tables, the messages that all drivers use."""
    with monkeypatch.context() as patch:
        send = smu.Smu.send

        def refuse(self, message, *arguments, **options):
            if message in (smu.LOWEST, smu.HIGHEST):
                raise BootError(f"The SMU refused {message}: UNKNOWN_CMD.")
            return send(self, message, *arguments, **options)

        patch.setattr(smu.Smu, "send", refuse)
        walked = plugged_in()
        walked.boot()
        clocks = next(step.detail for step in walked.boot_log if step.name == "raise_clocks")
        walked.shutdown()
    asked = plugged_in()
    asked.boot()
    assert clocks == next(step.detail for step in asked.boot_log if step.name == "raise_clocks") != ""


def test_clocks_that_cannot_be_set_stop_only_those_who_asked(monkeypatch):
    monkeypatch.setattr(smu.Smu, "_set_bounds", lambda *_: (_ for _ in ()).throw(BootError("The SMU refused.")))
    gpu = plugged_in()
    gpu.boot()
    assert "left as they are" in next(step.detail for step in gpu.boot_log if step.name == "raise_clocks")
    gpu = plugged_in()
    gpu.power = PowerOptions(clocks="low")
    with pytest.raises(BootError, match="refused"):
        gpu.boot()


# ---- answers that arrive while they are being read

def test_an_smu_answer_that_was_read_too_early_is_read_again():
    gpu = plugged_in()
    gpu.boot()
    regs, answer, argument = gpu.regs, "MP1_SMN_C2PMSG_90", "MP1_SMN_C2PMSG_82"
    right = gpu.smu.send(smu.HIGHEST, 0)
    read_block = regs.read_block

    def torn(first, count):
        values = read_block(first, count)
        return (0, *values[1:]) if first == argument and values[-1] else values       # what we had written there

    regs.read_block = torn
    try:
        assert gpu.smu.send(smu.HIGHEST, 0) == right > 0
        assert regs.read(answer) == smu.OK
    finally:
        del regs.read_block


def test_a_psp_response_that_was_read_too_early_is_read_again(monkeypatch):
    gpu = plugged_in()
    place, read, torn = boot.PLACES["psp_command"] + psp.RESPONSE, Gpu.vram_read, []

    def tear(self, paddr, nbytes):
        data = read(self, paddr, nbytes)
        fence = int.from_bytes(data[-4:], "little")
        if paddr == place and fence == self.psp._fence and fence not in torn:
            torn.append(fence)
            return psp.UNANSWERED.to_bytes(4, "little") + bytes(len(data) - 8) + data[-4:]
        return data

    monkeypatch.setattr(Gpu, "vram_read", tear)
    gpu.boot()
    assert len(torn) == 15
    assert "trusted memory 0 KiB" not in next(step.detail for step in gpu.boot_log if step.name == "load_firmware")
