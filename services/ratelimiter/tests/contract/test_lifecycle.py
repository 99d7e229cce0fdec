"""Start, drain and stop of a real process: nothing in flight is lost."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from service_process import LIMITS, TREE, check_body, command, request, running


def test_draining_turns_readiness_off_and_ends_connections_but_still_decides() -> None:
    with running(LIMITS) as service:
        with service.connect() as client:
            drained = client.ask("POST", "/v1/drain")
            assert (drained.status, drained.fields["connection"]) == (202, "close")
            assert client.is_closed_by_service()
        with service.connect() as client:
            assert client.ask("GET", "/readyz").status == 503
        with service.connect() as client:
            checked = client.check("hourly", "k")
            assert (checked.status, checked.fields["connection"]) == (200, "close")


def test_sigterm_finishes_the_request_in_flight_and_exits_with_0() -> None:
    with running(LIMITS) as service, service.connect() as busy, service.connect() as idle:
        # given one client in the middle of a request and one between two
        idle.check("hourly", "idle")
        data = request("POST", "/v1/check", check_body("hourly", "busy"))
        busy.send(data[:-5])
        # when the service is told to stop
        service.process.send_signal(signal.SIGTERM)
        assert idle.is_closed_by_service()
        # then the request is answered, nobody else is let in, and the process ends as it should
        with pytest.raises(OSError):
            service.connect()
        busy.send(data[-5:])
        reply = busy.reply()
        assert (reply.status, reply.fields["connection"]) == (200, "close")
        assert busy.is_closed_by_service()
        busy.__exit__()
        assert service.process.wait(5) == 0
        assert not Path(service.path).exists()


def test_a_request_that_was_sent_just_before_sigterm_is_answered() -> None:
    with running(LIMITS) as service, service.connect() as client:
        client.check("hourly", "first")
        client.send(request("POST", "/v1/check", check_body("hourly", "second")))
        service.process.send_signal(signal.SIGTERM)
        assert client.reply().status == 200


def test_the_live_limits_file_can_be_served_on_a_port() -> None:
    with command("serve", "--http", "127.0.0.1:0", "--limits", str(TREE / "limits.yaml")) as process:
        assert process.stdout is not None
        assert b'"listening"' in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=5)
        assert process.returncode == 0, output


def test_a_bad_limits_file_is_refused_at_start_with_the_reason(tmp_path: Path) -> None:
    limits = tmp_path / "limits.yaml"
    limits.write_text("limits: [{name: a, algorithm: gcra, rate: 1/0s, burst: 1}]")
    with command("serve", "--http", "127.0.0.1:0", "--limits", str(limits)) as process:
        output, _ = process.communicate(timeout=5)
    assert process.returncode == 2
    assert output.decode().startswith(f"{limits}: limits[0].rate: '1/0s'")


def test_a_socket_that_another_process_serves_is_not_taken_away() -> None:
    with running(LIMITS) as service:
        with command("serve", "--http", f"unix:{service.path}", "--limits", str(TREE / "limits.yaml")) as second:
            output, _ = second.communicate(timeout=5)
        assert second.returncode == 4
        assert b"another process answers here" in output
        with service.connect() as client:
            assert client.check("api_default", "k").status == 200


def test_a_socket_file_that_was_left_behind_is_replaced() -> None:
    with running(LIMITS) as service:
        service.process.kill()
        service.process.wait()
        assert Path(service.path).exists()
        with command("serve", "--http", f"unix:{service.path}", "--limits", str(TREE / "limits.yaml")) as again:
            assert again.stdout is not None
            assert b'"listening"' in again.stdout.readline()
            with service.connect() as client:
                assert client.check("api_default", "k").status == 200
            again.terminate()
            again.communicate(timeout=5)
            assert again.returncode == 0


def test_a_full_keyspace_refuses_new_keys_until_one_is_out_of_debt() -> None:
    limits = "limits: [{name: quick, algorithm: gcra, rate: 10/1s, burst: 10}]"
    with running(limits, "--max-keys", "2") as service, service.connect() as client:
        # given two keys of which one is in debt for long and the other for 0.1 s
        client.check("quick", "long", 10)
        client.check("quick", "short", 1)
        # when and while a third one comes, then it is refused, and let in once the short one has nothing to forget
        deadline_s = time.monotonic() + 5
        statuses = set()
        while 200 not in statuses and time.monotonic() < deadline_s:
            reply = client.check("quick", "third", 1)
            statuses.add(reply.status)
            assert reply.status == 200 or reply.fields["retry-after"] == "1"
        assert statuses <= {503, 200}
        assert 200 in statuses
        assert client.check("quick", "long", 10).status == 429
