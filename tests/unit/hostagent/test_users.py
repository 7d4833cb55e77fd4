"""User IDs of machines."""

import pytest

from hostagent.users import MachineUsers, first_uid
from portlayer.errors import ResourceExhausted


def test_ids_lie_in_the_slots_range_above_the_services() -> None:
    users = MachineUsers(3)
    assert [users.take() for _ in range(3)] == [first_uid(3) + 1000 + n for n in range(3)]


def test_an_id_in_use_is_never_given_again() -> None:
    users = MachineUsers(0)
    size = 65536 - 1000
    taken = [users.take() for _ in range(size)]
    assert len(set(taken)) == size
    assert max(taken) < first_uid(1)
    with pytest.raises(ResourceExhausted):
        users.take()
    users.release(taken[5])
    assert users.take() == taken[5]


def test_an_id_that_was_given_back_comes_last() -> None:
    users = MachineUsers(0)
    first = users.take()
    users.release(first)
    assert users.take() != first


def test_ids_of_machines_that_were_found_are_skipped() -> None:
    users = MachineUsers(0)
    users.claim(first_uid(0) + 1000)
    users.claim(first_uid(0) + 1001)
    assert users.take() == first_uid(0) + 1002
