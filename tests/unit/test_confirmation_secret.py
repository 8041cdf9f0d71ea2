"""A secret that cannot sign stops the start, not the first confirmation."""

import pytest

from interface.settings import InvalidSettings, load_settings

GOOD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize("secret", [GOOD, f"{GOOD} whsec_bmV3ZXI=", "whsec_bmV3ZXI"])
def test_one_or_several_secrets_in_base64_are_taken(secret: str) -> None:
    assert load_settings(confirmation_secret=secret).confirmation_secrets == tuple(secret.split())


@pytest.mark.parametrize("secret", ["MfKQ9r8G", "whsec_", "whsec_not base64!", f"{GOOD} whsec_*"])
def test_a_secret_that_is_none_is_told_without_showing_it(secret: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load_settings(confirmation_secret=secret)
    [problem] = caught.value.problems
    assert problem.startswith("PAYSAGA_CONFIRMATION_SECRET: (hidden) is wrong: expected")
