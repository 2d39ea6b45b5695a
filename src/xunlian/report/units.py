"""Numbers, times and sizes as people read them."""


def short_number(value: float) -> str:
    """1500 -> '1.5k', 12000000 -> '12M'."""
    for scale, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"


def short_time(seconds: float) -> str:
    """90 -> '1:30', 7200 -> '2:00 h', 30 -> '30 s'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def format_bytes(size: float) -> str:
    """1536 -> '1.5 KB'. Units are powers of 1,000."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(size) < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
