"""PCIe as seen through the adapter: transaction layer packets and configuration space."""
