import pytest

pytest.register_assert_rewrite("tests.support")  # before its modules are imported, so that their asserts show values
