"""What is found of records that Faker makes, in sentences of both languages."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from xunlian.corpus.stages.privacy import find

faker = pytest.importorskip("faker")

AROUND = (
    "The record says {x} and nothing else.",
    "Anna ({x}) answered on Monday, 12 May 2015, after 3 weeks.",
    "记录里写着{x}，没有别的。",
    "2015年5月12日，小王（{x}）在3周后答复。",
    "{x}",
)
KINDS = {
    "email": "email",
    "ipv4": "ip",
    "ipv6": "ip",
    "phone_number": "phone",
    "credit_card_number": "card",
    "ssn": "national_id",
    "license_plate": "plate",
}


@pytest.mark.parametrize("locale", ["en_US", "en_GB", "zh_CN"])
@pytest.mark.parametrize("maker", [*KINDS, "url"])
def test_records_are_found(locale: str, maker: str) -> None:
    fake = faker.Faker(locale)
    fake.seed_instance(7)
    draw = random.Random(7)
    make: Callable[[], Any] = getattr(fake, maker)
    around = AROUND
    if (maker, locale) == ("license_plate", "en_US"):
        around = ("A car with license plate {x} left.", "License plate: {x}", "plate number {x}.")
    records = [str(make()) for _ in range(200)]
    if maker == "url":
        records = [one.replace("//", f"//{fake.user_name()}:{fake.pystr()}@") for one in records]
    templates = [draw.choice(around) for _ in records]
    finds = find([t.replace("{x}", one) for t, one in zip(templates, records, strict=True)])
    hits = set()
    for one in finds:
        start = templates[one.text].index("{x}")
        whole = one.start <= start and one.end >= start + len(records[one.text])
        if whole or (maker == "url" and one.start == start + records[one.text].index("//") + 2):
            hits.add((one.text, one.kind))
    wanted = KINDS.get(maker, "credentials")
    assert sum(kind == wanted for _, kind in hits) >= 0.99 * len(records)
