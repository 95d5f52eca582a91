from typing import Any

import msgspec
import pytest

from openclore.api.complaints import complaint
from openclore.api.orders import CancelOrder, CreateOrder

ORDER = {"renting_server": 1, "type": "on-demand", "currency": "bitcoin", "image": "busybox"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"renting_server": "x"}, "renting_server: must be int, got str"),
        ({"renting_server": 0}, "renting_server: must be int >= 1"),
        ({"image": "a:b:c"}, "image: must be at most 128 letters"),
        ({"ports": {"0": "tcp"}}, "ports: container ports are"),
        ({"ports": {"22": "udp"}}, "ports: container ports are"),
        ({"ports": []}, "ports: must be object, got array"),
        ({"env": {"A": "s3cret&"}}, "env: may hold only"),
        ({"type": "s3cret"}, "type: must be on-demand or spot"),
        ({"ssh_password": "s3cret" * 9}, "ssh_password: must be str of length <= 32"),
        ({"ports": {str(n): "tcp" for n in range(1, 9)}}, "ports: at most 5 ports, got 8"),
    ],
)
def test_a_complaint_names_the_member_and_keeps_its_value_to_itself(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(ORDER | changes, CreateOrder)
    assert str(complaint(error.value)).startswith(sentence)
    assert "s3cret" not in str(complaint(error.value))


def test_a_missing_member_is_required() -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert({}, CancelOrder)
    assert str(complaint(error.value)) == "id: is required"
