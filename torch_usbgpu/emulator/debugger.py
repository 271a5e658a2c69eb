"""Single-stepping a wave: registers as NumPy arrays, breakpoints, memory. docs/emulator-debugger.md is the tour.

    >>> from torch_usbgpu.emulator.debugger import Debugger
    >>> dbg = Debugger.compile(source, "gfx1100")
    >>> x = dbg.array(np.arange(64, dtype=np.float32))
    >>> wave = dbg.launch("scale", grid=1, block=64, args=[x, np.float32(2)])
    >>> wave.step(3)
    >>> print(wave.disassembly(), wave.sgpr[0:2], wave.vgpr_f32[1])

The wave runs on the emulator's own interpreter and scheduler; between two instructions its thread is parked. Part of
the device half: on real hardware there is nothing to step.
"""
from __future__ import annotations

import bisect
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import _emulator
from ..errors import DebuggerError, LaunchError
from .wave import Stop, Wave

__all__ = ["Debugger", "DeviceDebugger", "Stop", "Wave"]

_debug, _isa = _emulator.debug, _emulator.isa

PAGE = 4096
FIRST_ADDRESS = 0x10_0000_0000
# Apertures of FLAT accesses, far from everything that is mapped (SH_MEM_BASES: private 15:0, shared 31:16).
SH_MEM_BASES = 0x0002_0001
SCRATCH_WAVES = 32
LDS_GRANULE = 512
WAVE32, WAVE64 = 0x8005, 0x0005          # DISPATCH_INITIATOR: compute, start at 0, and cs_w32_en
RSRC1_WAVE_DEFAULTS = 0x00AF_0000        # MODE: f64 and f16 denormals, dx10_clamp, ieee


class Controller:
    """What a debugger does with a wave, wherever the code runs."""

    def __init__(self, arch: str | None, owner: Any, timeout_s: float) -> None:
        self.session = _debug.Session()
        self.owner = owner
        self.timeout_s = timeout_s
        self._arch = arch
        self._breakpoints: set[int] = set()
        self._symbols: dict[int, str] = {}
        self.last_stop: Stop | None = None

    # ---- places
    def place(self, address: int) -> str:
        """"kernel+0x10", or the address where no symbol is known."""
        known = sorted(self._symbols)
        at = bisect.bisect_right(known, address) - 1
        if at < 0:
            return hex(address)
        offset = address - known[at]
        return self._symbols[known[at]] + (f"+{offset:#x}" if offset else "")

    def address_of(self, where: int | str) -> int:
        """An address, a symbol, or "symbol+0x10".

        Raises:
            DebuggerError: unknown symbol.
        """
        if isinstance(where, int):
            return where
        name, plus, offset = where.partition("+")
        for address, symbol in self._symbols.items():
            if symbol == name.strip():
                return address + (int(offset, 0) if plus else 0)
        raise DebuggerError(f"There is no symbol {name!r}.", "Use one of: " + ", ".join(sorted(self._symbols.values())))

    def break_at(self, where: int | str) -> int:
        """Stop whichever wave comes to this instruction. Returns its address."""
        address = self.address_of(where)
        self._breakpoints.add(address)
        self.session.set_breakpoints(self._breakpoints)
        return address

    def clear_breakpoints(self) -> None:
        self._breakpoints.clear()
        self.session.set_breakpoints(self._breakpoints)

    def follow(self, group: int | Sequence[int] | None = None, wave: int = 0) -> None:
        """Stop only for this wave; without arguments for any."""
        self.session.select(None if group is None else _triple(group, 0), wave)

    # ---- going on
    @property
    def wave(self) -> Wave:
        """The wave that is stopped.

        Raises:
            DebuggerError: none is.
        """
        if not self.session.stopped:
            raise DebuggerError("No wave is stopped.")
        return Wave(self)

    def step(self, count: int = 1) -> Stop:
        """Execute `count` instructions of this wave. Other waves run when it waits for them (barrier)."""
        if count < 1:
            raise ValueError("at least one instruction")
        return self._go(count)

    def run(self) -> Stop:
        """Go on to the next breakpoint, a fault, or the end of the dispatch."""
        return self._go(0)

    def pause(self) -> Stop:
        """Stop a wave that runs, at its next instruction."""
        self.session.pause()
        return self.wait()

    def _go(self, steps: int) -> Stop:
        if not self.session.stopped:
            raise DebuggerError("No wave is stopped.")
        self.session.resume(steps)
        return self.wait()

    def wait(self, timeout_s: float | None = None) -> Stop:
        """Until a wave stops or the dispatch is over.

        Raises:
            DebuggerError: nothing happened in time; the wave runs on (pause() stops it).
        """
        seconds = self.timeout_s if timeout_s is None else timeout_s
        reason = self.session.wait(seconds)
        if reason == "running":
            raise DebuggerError(f"No wave stopped within {seconds:g} s.", "Call pause(), or set a breakpoint.")
        if reason == "finished":
            result = self.session.result
            fault = result["fault"]
            self.last_stop = Stop("finished", fault=fault["text"] if fault else "")
        else:
            pc = self.session.pc
            self.last_stop = Stop(reason, pc, tuple(self.session.group), self.session.index, self.place(pc),
                                  self.text_at(pc))
        return self.last_stop

    # ---- code and memory
    @property
    def arch(self) -> str:
        if self._arch:
            return self._arch
        state = self.session.state
        return state["arch"] if state else "gfx11"

    def peek(self, address: int, nbytes: int) -> bytes:
        return self.session.peek(address, nbytes)

    def text_at(self, address: int) -> str:
        code = self.peek(address, 16)
        return _isa.disassemble(code[:len(code) & ~3], self.arch, address)[0][3] if len(code) >= 4 else "(unreadable)"

    def listing(self, start: int, end: int) -> list[tuple[int, str]]:
        """(address, text) of the instructions from `start`, which must be one, to `end`."""
        code = self.peek(start, max(0, end - start) + 3 & ~3)
        return [(start + offset, text) for offset, _, _, text in _isa.disassemble(code, self.arch, start)]

    def disassembly(self, address: int, before: int = 4, after: int = 6) -> str:
        """Lengths are known forwards only: the walk begins at the symbol before, or at the kernel's entry."""
        starts = [symbol for symbol in self._symbols if symbol <= address]
        state = self.session.state
        if state and state["entry"] <= address:
            starts.append(state["entry"])
        start = max(starts, default=address)
        rows = self.listing(start, address + 16 * (after + 1))
        here = next((n for n, (at, _) in enumerate(rows) if at == address), 0)
        shown = rows[max(0, here - before):here + after + 1]
        return "\n".join(f"{'=>' if at == address else '  '} {at:012x}  {self.place(at):<24} {text}"
                         + ("   * breakpoint" if at in self._breakpoints else "") for at, text in shown)

    def read(self, address: int, count: int, dtype=np.uint32) -> np.ndarray:
        """`count` elements of GPU memory.

        Raises:
            DebuggerError: not all of it is mapped.
        """
        nbytes = count * np.dtype(dtype).itemsize
        data = self.peek(address, nbytes)
        if len(data) != nbytes:
            raise DebuggerError(f"Memory at {address:#x} cannot be read.", "Check the address.", asked=nbytes,
                                got=len(data))
        return np.frombuffer(data, dtype).copy()


class Debugger(Controller):
    """Runs kernels in a memory of its own, without a GPU around them.

    Args:
        arch: "gfx1100", "gfx1201", ...
        strict_waits: a load's result appears with the wait instruction that covers it.
        poison: fresh registers and LDS hold a NaN pattern.
        timeout_s: how long step() and run() wait for the wave.
    """

    def __init__(self, arch: str = "gfx1100", *, strict_waits: bool = False, poison: bool = False,
                 timeout_s: float = 60.0) -> None:
        cores = _isa.Cores(threads=1, strict_waits=strict_waits, poison=poison)
        super().__init__(arch, cores, timeout_s)
        self._cores = cores
        self._memory = _isa.FlatMemory()
        self._next = FIRST_ADDRESS
        self.kernels: dict[str, Any] = {}     # symbol -> descriptor, see runtime/codeobject.py
        self._entries: dict[str, int] = {}
        self._thread: threading.Thread | None = None
        self._end: dict | BaseException | None = None
        cores.watch(self.session)

    @classmethod
    def compile(cls, source: str, arch: str = "gfx1100", options: Sequence[str] = (), **settings) -> Debugger:
        """A debugger with the kernels of a HIP source.

        Raises:
            CompileError: `log` holds the compiler's messages.
        """
        from .. import compiler

        debugger = cls(arch, **settings)
        debugger.load(compiler.compile(source, arch, options))
        return debugger

    # ---- memory
    def alloc(self, nbytes: int, *, execute: bool = False) -> int:
        """Zeroed memory; what lies before and behind is not mapped, so that running off faults."""
        address, size = self._next, -(-max(nbytes, 1) // PAGE) * PAGE
        self._memory.map(address, size, True, execute)
        self._next += size + 16 * PAGE
        return address

    def array(self, values) -> int:
        """Memory with the content of a NumPy array."""
        values = np.ascontiguousarray(values)
        address = self.alloc(values.nbytes)
        self.write(address, values)
        return address

    def write(self, address: int, values) -> None:
        self._memory.write(address, np.ascontiguousarray(values).reshape(-1).view(np.uint8))

    def peek(self, address: int, nbytes: int) -> bytes:
        for size in (nbytes, *(n for n in (16, 12, 8, 4) if n < nbytes)):
            try:
                return self._memory.read(address, size)
            except (IndexError, ValueError):
                continue
        return b""

    # ---- code
    def load(self, code_object: bytes) -> Mapping[str, Any]:
        """A code object of the compiler. Its kernels become symbols."""
        from ..runtime import codeobject

        image = codeobject.load(code_object, self._arch)
        base = self.alloc(len(image.image), execute=True)
        self.write(base, np.frombuffer(image.placed_at(base), np.uint8))
        for symbol, descriptor in image.kernels.items():
            self.kernels[symbol] = descriptor
            self._entries[symbol] = base + descriptor.entry_offset
            self._symbols[base + descriptor.entry_offset] = symbol
        return image.kernels

    def load_code(self, code: bytes | Sequence[int], name: str = "code") -> int:
        """Raw machine code (bytes or dwords); returns its address."""
        raw = bytes(code) if isinstance(code, (bytes, bytearray)) else struct.pack(f"<{len(code)}I", *code)
        address = self.alloc(len(raw) + 256, execute=True)
        self.write(address, np.frombuffer(raw, np.uint8))
        self._symbols[address] = name
        return address

    # ---- launching
    def launch(self, kernel: str, grid: int | Sequence[int], block: int | Sequence[int], args: Sequence[Any] = (),
               dynamic_lds_bytes: int = 0) -> Wave:
        """Starts a kernel; its first wave is stopped at its first instruction.

        Args:
            kernel: symbol, or a part of it that only one has.
            grid, block: workgroups and threads.
            args: addresses as int, values as NumPy scalars.

        Raises:
            LaunchError: arguments or sizes that do not fit the kernel.
        """
        from ..runtime.device import pack_arguments

        symbol = self._find(kernel)
        descriptor = self.kernels[symbol]
        groups, threads = _triple(grid), _triple(block)
        packed = pack_arguments(args)
        if len(args) != len(descriptor.arguments) or len(packed) != descriptor.explicit_bytes:
            raise LaunchError(f"Kernel {symbol} takes {len(descriptor.arguments)} arguments of "
                              f"{descriptor.explicit_bytes} bytes; {len(args)} of {len(packed)} bytes were given.",
                              "Check the order and the NumPy types of the arguments.")
        start, hidden = descriptor.hidden_block(groups, threads, dynamic_lds_bytes)
        segment = packed + bytes(start - len(packed)) + hidden if hidden else packed
        arguments = self.array(np.frombuffer(segment, np.uint8)) if segment else self.alloc(64)
        blocks = -(-(descriptor.lds_bytes + dynamic_lds_bytes) // LDS_GRANULE)
        wave32 = descriptor.properties >> 10 & 1
        tmpring, scratch = self._scratch(descriptor.scratch_bytes if descriptor.rsrc2 & 1 else 0, 32 if wave32 else 64)
        return self.launch_code(
            self._entries[symbol], groups, threads, rsrc1=descriptor.rsrc1, rsrc2=descriptor.rsrc2 | blocks << 15,
            user_data=self._user_data(descriptor, arguments, groups, threads), scratch_base=scratch,
            tmpring_size=tmpring, initiator=WAVE32 if wave32 else WAVE64)

    def launch_code(self, entry: int, grid: int | Sequence[int] = 1, block: int | Sequence[int] = 32, *,
                    rsrc1: int = RSRC1_WAVE_DEFAULTS, rsrc2: int = 0, user_data: Sequence[int] = (),
                    scratch_base: int = 0, tmpring_size: int = 0, initiator: int = WAVE32) -> Wave:
        """Starts machine code with the register values of a dispatch."""
        self.finish()
        self._end = None
        self.session.attach()
        arguments = dict(rsrc1=rsrc1, rsrc2=rsrc2, user_data=list(user_data), groups=_triple(grid),
                         threads=_triple(block), scratch_base=scratch_base, tmpring_size=tmpring_size,
                         sh_mem_bases=SH_MEM_BASES, initiator=initiator, arch=self.arch)

        def dispatch() -> None:
            try:
                self._end = self._cores.run(self._memory, entry, **arguments)
            except BaseException as error:  # noqa: BLE001  for the thread that waits
                self._end = error

        self._thread = threading.Thread(target=dispatch, name="usbgpu-debugged-wave", daemon=True)
        self._thread.start()
        reason = "running"
        while reason == "running":
            reason = self.session.wait(0.05)
            if reason == "running" and not self._thread.is_alive():
                self._thread = None
                if isinstance(self._end, BaseException):
                    raise self._end
                fault = self._end["fault"] if self._end else None
                raise DebuggerError("The dispatch ended without executing anything.",
                                    "Check grid, block and the registers of the dispatch.",
                                    reason=fault["text"] if fault else "empty grid")
        self.wait()
        return self.wave

    def _find(self, kernel: str) -> str:
        if kernel in self.kernels:
            return kernel
        fitting = [symbol for symbol in self.kernels if kernel in symbol]
        if len(fitting) != 1:
            raise LaunchError(f"{'No' if not fitting else 'More than one'} kernel is called like {kernel!r}.",
                              "Use one of: " + ", ".join(self.kernels))
        return fitting[0]

    def _scratch(self, bytes_per_lane: int, lanes: int) -> tuple[int, int]:
        """(COMPUTE_TMPRING_SIZE, address) of the private memory."""
        if not bytes_per_lane:
            return 0, 0
        units = -(-bytes_per_lane * lanes // 256)
        return units << 12 | SCRATCH_WAVES, self.alloc(units * 256 * SCRATCH_WAVES)

    def _user_data(self, descriptor, arguments: int, groups, threads) -> list[int]:
        """User SGPRs in the order of AMDGPUUsage, "Initial Kernel Execution State"."""
        words: list[int] = []

        def pair(value: int) -> None:
            words.extend((value & 0xFFFF_FFFF, value >> 32))

        properties = descriptor.properties
        if properties & 1:
            words.extend((0, 0, 0xFFFF_FFFF, 0))
        if properties & 2:
            packet = bytearray(64)
            struct.pack_into("<HHHHHHIII", packet, 0, 0, 3, *threads, 0, *(g * t for g, t in zip(groups, threads)))
            struct.pack_into("<II", packet, 24, descriptor.scratch_bytes, descriptor.lds_bytes)
            struct.pack_into("<Q", packet, 40, arguments)
            pair(self.array(np.frombuffer(bytes(packet), np.uint8)))
        if properties & 4:
            pair(0)
        if properties & 8:
            pair(arguments)
        if properties & 16:
            pair(0)
        if properties & 64:
            words.append(descriptor.scratch_bytes)
        return words

    def finish(self) -> dict | None:
        """Lets the dispatch run to its end, without stopping, and returns its counters and fault."""
        if self._thread is None:
            return None
        self.session.detach()
        while self._thread.is_alive():
            self._thread.join(0.1)     # in slices, so that Ctrl-C gets through
        self._thread = None
        if isinstance(self._end, BaseException):
            raise self._end
        return self._end

    def close(self) -> None:
        """Ends the dispatch, wherever it is."""
        if self._thread is not None:
            self._cores.cancel()
            self.session.detach()
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Debugger:
        return self

    def __exit__(self, *_exception) -> None:
        self.close()


class DeviceDebugger(Controller):
    """Stops the waves of kernels that a driver launches on an emulated GPU.

    Args:
        adapter: the EmulatedAdapter.
        kernel: stop only in the dispatch that begins at this address; None: in the next one, whichever it is.
        symbols: name -> entry address, for readable places.
    """

    def __init__(self, adapter, kernel: int | None = None, symbols: Mapping[str, int] | None = None,
                 timeout_s: float = 60.0) -> None:
        super().__init__(None, adapter, timeout_s)
        self._adapter = adapter
        self._symbols = {address: name for name, address in (symbols or {}).items()}
        self.session.only_kernel(kernel)
        adapter.observe(session=self.session)

    def background(self, call: Callable, *arguments) -> threading.Thread:
        """Runs a call that waits for the GPU (synchronize, copy_out) in a thread: the wave waits for you meanwhile."""
        thread = threading.Thread(target=call, args=arguments, name="usbgpu-debugged-host", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Lets everything run on, unwatched."""
        self.session.detach()
        self._adapter.observe()

    def __enter__(self) -> DeviceDebugger:
        return self

    def __exit__(self, *_exception) -> None:
        self.close()


def _triple(value: int | Sequence[int], fill: int = 1) -> tuple[int, int, int]:
    sizes = (value,) if isinstance(value, int) else tuple(int(size) for size in value)
    if not 1 <= len(sizes) <= 3:
        raise LaunchError(f"{value!r} are not one to three sizes.", "Pass e.g. 64, (64,) or (8, 8).")
    return (*sizes, *(fill,) * (3 - len(sizes)))
