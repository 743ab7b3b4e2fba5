"""Every address with made-up input (schemathesis): no input may break the server."""

import shutil

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

from synthorax.readers import create_study
from synthorax.workbench import create_app

OPERATIONS = {
    "GET": "/, /coverage, /edit, /edit/jobs/{job}, /edit/jobs/{job}/film.png, /film/{row}/{which}.png, /gallery, "
    "/read/{link}, /read/{link}/{position}, /read/{link}/{position}/{side}.png, /report.html, /review/{row}, "
    "/studies/{name}, /studies/{name}/coding, /thumbnail/{row}/{which}.jpg",
    "POST": "/edit/jobs, /edit/jobs/{job}/keep, /read/{link}/{position}, /review/{row}, /studies/{name}/coding, "
    "/studies/{name}/modes",
}
EVERY = [(method, path) for method, paths in OPERATIONS.items() for path in paths.split(", ")]


@pytest.fixture(scope="module")
def fuzzed(run_template, tmp_path_factory):
    run = shutil.copytree(run_template, tmp_path_factory.mktemp("fuzzed") / "run")
    study = create_study(run, run / "readers" / "cars.sqlite", cases=3)
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(run), headers={"host": "127.0.0.1"})
    return schema, {"link": study.links()[1], "name": "cars"}


def test_the_list_of_addresses_is_whole(fuzzed):
    schema, _ = fuzzed
    found = {(each.ok().method.upper(), each.ok().path) for each in schema.get_all_operations()}
    assert found == set(EVERY)


@pytest.mark.parametrize(("method", "path"), EVERY)
def test_no_input_breaks_the_server(fuzzed, method, path):
    schema, real = fuzzed
    tried = []

    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy())
    def once(case):
        for name in case.path_parameters.keys() & real.keys():  # every second call gets past the secret
            if len(tried) % 2:
                case.path_parameters[name] = real[name]
        tried.append(case.call_and_validate(headers={"host": "127.0.0.1"}, checks=[not_a_server_error]))

    once()
    assert len(tried) > 0
