"""Regions in other spellings: a part that may have a law of its own is taken for no other."""

import pytest

from transforms.decoding.aliases import known_name


@pytest.mark.parametrize(
    ("given", "region"),
    [
        ("US-CA", "US"), ("us_tx", "US"), ("US DC", "US"), ("US-IL", "US-IL"), ("us_il", "US-IL"),
        ("Illinois", "US-IL"), ("USA-IL", "US-IL"), ("DE-BY", "EU"), ("FR-75C", "EU"),
        ("CN-BJ", "CN"),
    ],
)  # fmt: skip
def test_a_part_is_its_country_where_their_law_is_one(given: str, region: str) -> None:
    assert known_name("region", given) == region


@pytest.mark.parametrize(
    "given",
    ["US-ILL", "us-ill", "US-17", "US-IL-Chicago", "US-XX", "IL", "US-IL\u200b", "US−IL", "US.IL",
     "CN-HK", "CN-MO", "CN-TW", "CN-11", "EU-UK"],
)  # fmt: skip
def test_what_is_no_part_of_its_country_is_unknown(given: str) -> None:
    assert known_name("region", given) is None
