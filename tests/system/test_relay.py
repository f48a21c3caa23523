# SPDX-License-Identifier: Apache-2.0
"""board/relay.py: clients of one line never see one another's frames, and events reach them all."""
import socket

import pytest

import relay
import smp


@pytest.fixture
def line():
    """(our end of the line, a function that connects one more client)."""
    ours, theirs = socket.socketpair()
    made = relay.Relay(theirs, 0)
    clients = []

    def connect():
        clients.append(socket.create_connection(made.address))
        return smp.Client(clients[-1])

    yield ours, connect
    for client in clients:
        client.close()
    ours.close()
    made.thread.join(10)
    assert not made.thread.is_alive()
    theirs.close()


def requests_on(ours, count):
    """The next @count frames that the machine sees."""
    deframer = smp.Deframer()
    ours.settimeout(10)
    while len(deframer.frames) < count:
        deframer.feed(ours.recv(65536))
    assert not deframer.damaged and not deframer.other
    return [smp.Reply(body) for body in deframer.frames]


def reply_to(request):
    return smp.frame(smp.message(request.op + 1, request.group, request.command,
                                 {"r": request.payload}, request.sequence))


def test_frames_do_not_mix_and_replies_find_their_way(line):
    ours, connect = line
    one, two = connect(), connect()
    long = smp.frame(smp.message(smp.WRITE, 64, 1, {"d": "x" * 500}, sequence=7))
    one.send(long[:300])
    two.send(smp.frame(smp.message(smp.WRITE, 64, 2, {"d": "y"}, sequence=7)))
    first, = requests_on(ours, 1)
    assert first.command == 2
    one.send(long[300:])
    second, = requests_on(ours, 1)
    assert second.command == 1
    ours.sendall(reply_to(second) + reply_to(first))
    assert one.next_frame(10).command == 1
    assert two.next_frame(10).command == 2


def test_same_request_of_two_clients_is_answered_in_order(line):
    ours, connect = line
    one, two = connect(), connect()
    same = smp.frame(smp.message(smp.READ, 65, 0, sequence=3))
    one.send(same)
    requests_on(ours, 1)
    two.send(same)
    requests_on(ours, 1)
    for number in (1, 2):
        ours.sendall(smp.frame(smp.message(smp.READ_REPLY, 65, 0, {"n": number}, sequence=3)))
    assert one.next_frame(10).map() == {"n": 1}
    assert two.next_frame(10).map() == {"n": 2}


def test_other_lines_reach_everyone_and_leaving_is_no_loss(line):
    ours, connect = line
    one, two = connect(), connect()
    # a client is known once its bytes were passed on
    asked = []
    for client in (one, two):
        client.send(smp.frame(smp.message(smp.READ, 0, 7)))
        asked += requests_on(ours, 1)
    ours.sendall(b"\x05\x15event\n")
    for client in (one, two):
        client.wait_until(lambda c=client: b"\x05\x15event" in c.deframer.other, 10)
    one.connection.close()
    ours.sendall(reply_to(asked[0]) + reply_to(asked[1]))
    assert two.next_frame(10).command == 7
    three = connect()
    three.send(b"junk\n" + smp.frame(smp.message(smp.READ, 0, 7)))
    deframer = smp.Deframer()
    while not deframer.frames:
        deframer.feed(ours.recv(65536))
    assert deframer.other == [b"junk"]
    ours.sendall(reply_to(smp.Reply(deframer.frames[0])))
    assert three.next_frame(10).command == 7
    assert not two.deframer.frames
