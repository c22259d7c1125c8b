import pickle

import pytest

from schemas.errors import DeadLetterCode, QualityCode, RefusalCode
from schemas.media.formats import FormatCode

CODES = [*DeadLetterCode, *FormatCode, *QualityCode, *RefusalCode]


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_its_value_wherever_it_goes(code: DeadLetterCode) -> None:
    assert code == code.value == str(code) == f"{code}" == code.name.lower()
    assert type(code)(code.value) is code
    assert pickle.loads(pickle.dumps(code)) is code


@pytest.mark.parametrize("code", CODES)
def test_a_code_says_what_it_means_and_what_to_do(code: DeadLetterCode) -> None:
    for sentence in (code.meaning, code.cure):
        assert sentence[0].isupper() or sentence[0] == "`"
        assert sentence.endswith(".")
    assert code.meaning != code.cure
