from tests.unit.loadgen.conftest import known_url

__all__ = ["known_url"]
