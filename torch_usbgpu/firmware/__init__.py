"""AMD's firmware files on this machine: which a card needs, what is there, getting and checking them.

The driver only reads them (amdgpu.firmware); this is for `usbgpu firmware`. The files are AMD's and never part of this
package.
"""
