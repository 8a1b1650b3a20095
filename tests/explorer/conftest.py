"""The explorer's page, as `ravine explore` makes it."""

import pytest


@pytest.fixture(scope="session")
def explorer_page(tmp_path_factory):
    """The path of the page."""
    from ravine.explorer import build

    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    path.write_text(build(), "utf-8")
    return path
