#!/usr/bin/python3
"""
What tests/support/relay.py makes of a link, so that tests that lean on it mean something.

    test_relay.py [TEST…]
"""

import contextlib
import os
import socket
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from relay import Relay  # noqa: E402


class Echo:
    """Gives back what it gets, each connection in a thread."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.talk, args=(client,), daemon=True).start()

    @staticmethod
    def talk(client):
        with client, contextlib.suppress(OSError):
            while data := client.recv(65536):
                client.sendall(data)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Link(unittest.TestCase):
    def setUp(self):
        self.echo = Echo()
        self.addCleanup(self.echo.listener.close)
        self.port = free_port()
        self.relay = Relay(("127.0.0.1", self.port), self.echo.address)
        self.addCleanup(self.relay.stop)

    def connect(self):
        client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        self.addCleanup(client.close)
        return client

    def back(self, client, data):
        """Send @data and read as much; returns it and how long that took."""
        began = time.monotonic()
        threading.Thread(target=client.sendall, args=(data,), daemon=True).start()
        got = b""
        while len(got) < len(data):
            chunk = client.recv(65536)
            if not chunk:
                break
            got += chunk
        return got, time.monotonic() - began

    def test_bytes_pass_unchanged_and_are_counted(self):
        data = os.urandom(3 << 20)
        self.assertEqual(data, self.back(self.connect(), data)[0])
        self.assertEqual((len(data), 1), (self.relay.bytes_down, self.relay.n_connections))

    def test_an_end_of_one_direction_is_passed_on(self):
        client = self.connect()
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(b"last words", client.recv(100))
        self.assertEqual(b"", client.recv(100))

    def test_delay_counts_once_per_direction_not_once_per_chunk(self):
        self.relay.delay_s = 0.2
        data = os.urandom(1 << 20)
        got, seconds = self.back(self.connect(), data)
        self.assertEqual(data, got)
        self.assertGreaterEqual(seconds, 0.4)
        self.assertLess(seconds, 2.4, "sixteen chunks in a row would take 3.2 s and more")

    def test_a_cut_holds_everything_up_and_then_lets_it_go(self):
        client = self.connect()
        self.assertEqual(b"before", self.back(client, b"before")[0])
        self.relay.cut(0.6)
        self.assertTrue(self.relay.is_cut())
        got, seconds = self.back(client, b"during")
        self.assertEqual((b"during", True), (got, seconds >= 0.5))
        self.assertFalse(self.relay.is_cut())

    def test_drop_resets_every_connection_and_new_ones_pass(self):
        clients = [self.connect() for _ in range(3)]
        for client in clients:
            self.back(client, b"here")
        self.assertEqual(3, self.relay.drop())
        for client in clients:
            with self.assertRaises(ConnectionResetError):
                client.recv(1)
        self.assertEqual(b"again", self.back(self.connect(), b"again")[0])

    def test_each_connection_is_reset_after_so_many_bytes(self):
        self.relay.drop_after_bytes = 100_000
        for _ in range(2):
            with self.assertRaises(ConnectionResetError):
                self.back(self.connect(), bytes(1 << 20))

    def received(self, client, data):
        """All that comes back of @data until the connection ends."""
        client.sendall(data)
        got = b""
        while more := client.recv(65536):
            got += more
        return got

    def test_each_connection_ends_behind_exactly_so_many_bytes(self):
        for n in (0, 1, 1000, 1001):
            self.relay.end_each_after = n
            for _ in range(2):
                self.assertEqual(n, len(self.received(self.connect(), bytes(1001))))

    def test_one_connection_ends_behind_the_nth_byte_of_all(self):
        first, second, third = (self.connect() for _ in range(3))
        self.relay.end_once_after(15)
        self.assertEqual(b"0123456789", self.back(first, b"0123456789")[0])
        self.assertEqual(b"01234", self.received(second, b"0123456789"))
        self.assertEqual(b"01234", self.relay.ended)
        self.assertEqual(b"0123456789", self.back(third, b"0123456789")[0])
        self.assertEqual(b"abc", self.back(first, b"abc")[0])

    def test_a_server_that_is_away_is_a_reset(self):
        port = free_port()
        relay = Relay(("127.0.0.1", port), ("127.0.0.1", free_port()))
        self.addCleanup(relay.stop)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            with self.assertRaises(ConnectionResetError):
                client.recv(1)

    def test_a_port_that_is_taken_is_said_at_once(self):
        with self.assertRaises(OSError):
            Relay(("127.0.0.1", self.port), self.echo.address)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
