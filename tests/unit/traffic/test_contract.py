"""The contract file: what is read from a good one, and what a bad one is refused with."""

from __future__ import annotations

from pathlib import Path

import pytest

from traffic.contract import Contract, ContractError, GcraLimit, parse_contract, read_contract

CONTRACT = Path(__file__).parents[3] / "services" / "traffic" / "contract.yaml"


def document(**changes: object) -> dict[str, object]:
    limit = {"name": "api", "algorithm": "gcra", "rate": "10/1s", "burst": 5, **changes}
    return {"limits": [limit], "slow": "50ms"}


def test_the_contract_of_the_demo() -> None:
    limit = GcraLimit(name="api_default", count=44, period_ns=60 * 10**9, burst=10)
    assert read_contract(CONTRACT) == Contract(limit=limit, slow_ns=50_000_000)


def test_the_interval_is_kept_both_ways_when_it_is_no_whole_number_of_ns() -> None:
    limit = read_contract(CONTRACT).limit
    assert (limit.interval_floor_ns, limit.interval_ceil_ns) == (1_363_636_363, 1_363_636_364)
    even = parse_contract(document()).limit
    assert even.interval_floor_ns == even.interval_ceil_ns == 100_000_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "token_bucket"}, "limits[0].algorithm: 'token_bucket'"),
        ({"burst": 0}, "limits[0].burst: 0"),
        ({"burst": True}, "limits[0].burst: True"),
        ({"rate": "10"}, "limits[0].rate: '10'"),
        ({"rate": "10/0s"}, "limits[0].rate: '10/0s'"),
        ({"rate": "2000000/1ms"}, "limits[0].rate: '2000000/1ms'"),
        ({"name": "a b"}, "limits[0].name: 'a b'"),
        ({"cost": 1}, "limits[0]: must be a mapping with exactly"),
    ],
)
def test_a_bad_limit_is_refused_by_name_and_value(change: dict[str, object], message: str) -> None:
    with pytest.raises(ContractError) as refused:
        parse_contract(document(**change))
    assert message in str(refused.value)


@pytest.mark.parametrize("bad", [None, [], {"limits": []}, {"limits": [], "slow": "50ms"}, {**document(), "slow": 50}])
def test_a_bad_document_is_refused(bad: object) -> None:
    with pytest.raises(ContractError):
        parse_contract(bad)


def test_a_file_that_is_no_yaml_or_not_there_is_refused_with_its_path(tmp_path: Path) -> None:
    broken = tmp_path / "contract.yaml"
    broken.write_text("limits: [", encoding="utf-8")
    for path in (broken, tmp_path / "absent.yaml"):
        with pytest.raises(ContractError, match=path.name):
            read_contract(path)
