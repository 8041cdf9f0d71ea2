"""Names the operations of the API after the views that answer them."""


def by_view(*, name: str, path: str, method: str) -> str:
    """The name of a view as the id of its operation, in camelCase as all names of the API."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))
