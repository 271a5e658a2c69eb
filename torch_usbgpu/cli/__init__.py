"""The command `usbgpu`. `python -m torch_usbgpu.cli` is the same."""
