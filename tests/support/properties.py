"""How many examples a property test tries: a fixed few in the suite, random ones by ``fuzz``."""

from hypothesis import settings

FUZZ = "fuzz"


def examples(number: int) -> settings:
    """Return settings for so many examples; ``make fuzz`` tries as many as its profile says."""
    if settings.get_current_profile_name() == FUZZ:
        return settings()
    return settings(max_examples=number)
