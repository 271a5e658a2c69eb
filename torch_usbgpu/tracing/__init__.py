"""What crosses the cable, in words: requests, registers, packets, launches.

Decoding needs the bytes on the wire and the fact files only, so a trace of real hardware reads like one of the
emulated dock.
"""
