"""
relay: a TCP relay between the two ends of a link, which makes of it what links in the field are like.

    relay = Relay(("169.254.93.1", 8443), ("127.0.0.1", 8443), enter=namespace.enter)
    relay.delay_s = 0.1        every chunk arrives that much later, in both directions
    relay.cut(30)              for 30 s nothing passes and nobody gets through; connections stay, as on a road tunnel
    relay.drop()               all connections end at once with a reset
    relay.drop_after_bytes = N each connection is reset when so many bytes came from the server
    relay.end_each_after = N   each connection ends behind exactly so many bytes from the server, without a reset
    relay.end_once_after(N)    once, a connection ends so, behind the Nth byte from the server from now on, over all of them
    relay.stop()

It sees bytes, not what they mean. One thread with an event loop; the methods may be called from any other.
"""

import asyncio
import socket
import struct
import threading
import time

CHUNK_BYTES = 64 << 10
CHUNKS_HELD = 64  # on their way in one direction; more would make a buffer of the link

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Ended(Exception):
    """A connection was ended as told."""


class Relay:
    def __init__(self, listen, server, enter=lambda: None):
        """@enter: called in the relay's thread before it opens anything, to go to the right namespace."""
        self.server = server
        self.delay_s = 0.0
        self.drop_after_bytes = 0  # 0 = never
        self.end_each_after = None
        self._end_once_at = None  # of bytes_down
        self.ended = b""  # what came from the server over the connection that end_once_after() has ended
        self.bytes_down = 0  # from the server, passed on so far
        self.n_connections = 0  # accepted so far
        self._open = set()  # transports of both sides of every connection
        self._pass_at = 0.0  # monotonic time before which nothing passes
        started = threading.Event()
        self._failure = None
        self._thread = threading.Thread(target=self._run, args=(listen, enter, started), daemon=True)
        self._thread.start()
        started.wait()
        if self._failure is not None:
            raise self._failure

    def cut(self, seconds):
        self._pass_at = time.monotonic() + seconds

    def is_cut(self):
        return time.monotonic() < self._pass_at

    def drop(self):
        """Returns how many connections there were."""
        return asyncio.run_coroutine_threadsafe(self._drop(), self._loop).result()

    def end_once_after(self, n):
        self.ended = b""
        self._end_once_at = self.bytes_down + n

    def stop(self):
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    # ---- in the relay's thread

    def _run(self, listen, enter, started):
        async def serve():
            self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
            server = await asyncio.start_server(self._connection, *listen, limit=CHUNK_BYTES)
            started.set()
            await self._ended.wait()
            server.close()
            await self._drop()

        try:
            enter()
            asyncio.run(serve())
        except OSError as e:
            self._failure = e
        finally:
            started.set()

    async def _drop(self):
        dropped = list(self._open)
        for writer in dropped:
            self._reset(writer)
        return len(dropped) // 2

    @staticmethod
    def _reset(writer):
        sock = writer.get_extra_info("socket")
        if sock is not None and not writer.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()

    async def _until_passing(self):
        while (left := self._pass_at - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.2))

    async def _connection(self, reader, writer):
        self.n_connections += 1
        await self._until_passing()
        try:
            up_reader, up_writer = await asyncio.open_connection(*self.server, limit=CHUNK_BYTES)
        except OSError:
            self._reset(writer)
            return
        both = {writer, up_writer}
        self._open |= both
        try:
            async with asyncio.TaskGroup() as ways:
                for source, target, is_down in ((reader, up_writer, False), (up_reader, writer, True)):
                    held = asyncio.Queue(CHUNKS_HELD)
                    ways.create_task(self._take(source, held))
                    ways.create_task(self._pass(held, target, is_down))
            for w in both:
                w.close()
        except* Ended:
            for w in both:
                w.close()
        except* OSError:
            pass
        finally:
            self._open -= both
            for w in both:
                self._reset(w)

    async def _take(self, reader, held):
        while True:
            chunk = await reader.read(CHUNK_BYTES)
            await held.put((time.monotonic() + self.delay_s, chunk))
            if not chunk:
                return

    def _room(self, n_bytes):
        """How many more bytes may come down a connection that had @n_bytes; None = any number."""
        ends = ((self.end_each_after, n_bytes), (self._end_once_at, self.bytes_down))
        rooms = [end - now for end, now in ends if end is not None]
        return max(0, min(rooms)) if rooms else None

    async def _pass_down(self, writer, chunk, n_bytes, kept):
        """Returns how many bytes the connection has had then."""
        room = self._room(n_bytes)
        passed = chunk if room is None else chunk[:room]
        n_bytes += len(passed)
        self.bytes_down += len(passed)
        if self._end_once_at is not None:
            kept += passed
        writer.write(passed)
        await writer.drain()
        if room is not None and len(chunk) >= room:
            if self._end_once_at is not None and self.bytes_down >= self._end_once_at:
                self._end_once_at, self.ended = None, bytes(kept)
            raise Ended
        if 0 < self.drop_after_bytes < n_bytes:
            raise ConnectionResetError("as told")
        return n_bytes

    async def _pass(self, held, writer, is_down):
        n_bytes, kept = 0, bytearray()
        while True:
            due, chunk = await held.get()
            if (left := due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            await self._until_passing()
            if not chunk:
                writer.write_eof()
                return
            if is_down:
                n_bytes = await self._pass_down(writer, chunk, n_bytes, kept)
                continue
            writer.write(chunk)
            await writer.drain()
