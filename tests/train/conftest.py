import pytest
import tiny


@pytest.fixture(scope="session")
def parts():
    """One set of compiled steps for all tests that can share it."""
    return tiny.make()
