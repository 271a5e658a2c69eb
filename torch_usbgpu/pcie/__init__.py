"""PCIe as seen through the adapter: configuration space, bridges, BARs."""
