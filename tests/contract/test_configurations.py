"""Any configuration makes objects that Kubernetes' schema takes, or a line for each mistake."""

from typing import Any

import hypothesis
import pulumi

from settings import parse
from tests.complaints import config
from tests.configurations import CONFIGURATIONS
from tests.golden.manifests import applied
from tests.golden.schema import validate
from tests.recording import record_program


# `make test-random` draws thousands.
@hypothesis.settings(
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
@hypothesis.given(CONFIGURATIONS)
def test_a_configuration_makes_valid_objects_or_is_refused(keys: dict[str, Any]) -> None:
    try:
        parse(config(**keys))
    except pulumi.RunError as error:
        assert "  buildkit:" in str(error)
        return
    for document in applied(record_program(**keys)):
        validate(document)
