"""Says which PayTabs host serves which region, because a key works on its own host only."""

BASE_URLS = {
    "ARE": "https://secure.paytabs.com",
    "SAU": "https://secure.paytabs.sa",
    "EGY": "https://secure-egypt.paytabs.com",
    "OMN": "https://secure-oman.paytabs.com",
    "JOR": "https://secure-jordan.paytabs.com",
    "KWT": "https://secure-kuwait.paytabs.com",
    "IRQ": "https://secure-iraq.paytabs.com",
    "MAR": "https://secure-morocco.paytabs.com",
    "QAT": "https://secure-doha.paytabs.com",
    "GLOBAL": "https://secure-global.paytabs.com",
    "MADFOAT": "https://madfoat-secure.paytabs.com",
    "CUZDAN": "https://secure.cuzdan.az",
}
"""Region code to base address (PayTabs, section 1 of docs/paytabs.md)."""


def base_url_for(region: str) -> str:
    """The base address of a region; the code is read without regard to case.

    Raises:
        ValueError: no such region; the message lists those there are.
    """
    try:
        return BASE_URLS[region.strip().upper()]
    except KeyError:
        known = ", ".join(BASE_URLS)
        raise ValueError(f"'{region}' is not a PayTabs region; choose one of {known}") from None
