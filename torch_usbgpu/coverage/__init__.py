"""Which operators run on the GPU: counted with torch's own samples (`usbgpu coverage`), written to docs/coverage.md."""
from .measure import (
    DTYPES,
    FALLBACK,
    NATIVE,
    NOTHING,
    UNSUPPORTED,
    WRONG,
    entries,
    measure,
    name_of,
    report,
    title,
    totals,
)
from .page import page

__all__ = ["DTYPES", "FALLBACK", "NATIVE", "NOTHING", "UNSUPPORTED", "WRONG", "entries", "measure", "name_of", "page",
           "report", "title", "totals"]
