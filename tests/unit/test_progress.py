"""Long commands show people how far they are, how fast and for how long still; pipes nothing."""

import pytest

from interface.cli.progress import progress_bar


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    with progress_bar("verify") as tell:
        tell(0, 4000)
        tell(1000, 4000)
    return capsys.readouterr().err


def test_a_terminal_shows_progress_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    text = shown(capsys)
    assert "verify" in text
    assert "1000/4000" in text
    assert "/s" in text
    assert ":" in text.rpartition("/s")[2]


def test_a_pipe_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys) == ""
