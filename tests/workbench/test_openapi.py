"""Every address with made-up input (schemathesis): no input may break the server."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from synthorax.readers import create_study
from synthorax.workbench import create_app


@pytest.fixture(scope="module")
def api(run_template, tmp_path_factory):
    import shutil

    run = shutil.copytree(run_template, tmp_path_factory.mktemp("fuzzed") / "run")
    create_study(run, run / "readers" / "cars.sqlite", cases=3)
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(run), headers={"host": "127.0.0.1"})


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_input_breaks_the_server(case):
    case.call_and_validate(headers={"host": "127.0.0.1"}, checks=[not_a_server_error])
