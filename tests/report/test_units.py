"""Numbers read well."""

from xunlian.report.units import format_bytes, short_number, short_time


def test_numbers_and_times_read_well():
    assert [short_number(n) for n in (0, 950, 1500, 12e6, 3e9)] == [
        "0",
        "950",
        "1.5k",
        "12M",
        "3B",
    ]
    assert [short_time(s) for s in (0, 59, 90, 3600, 9000)] == [
        "0 s",
        "59 s",
        "1:30",
        "1:00 h",
        "2:30 h",
    ]


def test_bytes_read_well():
    assert [format_bytes(n) for n in (0, 999, 1500, 41_750_000, 2.5e9)] == [
        "0 B",
        "999 B",
        "1.5 KB",
        "41.8 MB",
        "2.5 GB",
    ]


def test_a_number_that_rounds_to_a_thousand_takes_the_next_unit():
    numbers = [999.6, 999_400, 999_700, -999_700, 999.6e6, 999.8e9]
    assert [short_number(n) for n in numbers] == ["1k", "999k", "1M", "-1M", "1B", "1T"]
