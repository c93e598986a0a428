"""Models that send what nobody asked for: what it costs the process that asks, in memory and time."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mlgate.adapters.hosts.client import ANSWER, LARGEST_ANSWER, SocketModelHost
from mlgate.core.errors import DeadlineExceeded, FailedPrecondition, Unavailable
from mlgate.ports import ModelSpec

VERSION = ModelSpec("1", "/", "SCIKIT_LEARN", "python")
Answer = Callable[[asyncio.StreamWriter, int], Awaitable[None]]


def frame(number: int, body: bytes, status: int = 200) -> bytes:
    return ANSWER.pack(6 + len(body), number, status) + body


class Model:
    """Answers each request as a function says; counts connections, and those that were closed on it."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path, self.answer = path / "model.sock", answer
        self.connections = 0
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.read(4):
                body = await reader.readexactly(int.from_bytes(head, "little"))
                await self.answer(writer, int.from_bytes(body[:4], "little"))
        except ConnectionError:
            pass
        finally:
            self.closed.set()
            writer.close()


def play(path: Path, answer: Answer, body: Callable[[Model, SocketModelHost], Awaitable[None]]) -> None:
    async def inside() -> None:
        model = Model(path, answer)
        host = SocketModelHost(path)

        async def where(spec: ModelSpec) -> list[str]:
            return [str(model.path)]

        host._ask = where  # type: ignore[method-assign]
        listening = await asyncio.start_unix_server(model.serve, model.path)
        try:
            await body(model, host)
        finally:
            await host.close()
            listening.close()
            await asyncio.wait_for(model.closed.wait(), 10)
            await asyncio.sleep(0.01)

    asyncio.run(inside())


def test_an_answer_that_is_announced_too_large_ends_the_connection(tmp_path: Path) -> None:
    async def answer(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(ANSWER.pack(6 + LARGEST_ANSWER + 1, number, 200) + b"x" * 1000)
        await writer.drain()

    async def body(model: Model, host: SocketModelHost) -> None:
        asked = [asyncio.ensure_future(host.predict(VERSION, b"1", 5)) for _ in range(2)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [FailedPrecondition, Unavailable]
        assert str(LARGEST_ANSWER) in str(outcomes[0])
        await asyncio.wait_for(model.closed.wait(), 5)

    play(tmp_path, answer, body)


def test_an_answer_of_the_largest_size_arrives(tmp_path: Path) -> None:
    async def answer(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(frame(number, b"x" * (LARGEST_ANSWER - 6)))
        await writer.drain()

    async def body(model: Model, host: SocketModelHost) -> None:
        for _ in range(2):
            assert len((await host.predict(VERSION, b"1", 20)).body) == LARGEST_ANSWER - 6
        assert sys.getsizeof(host._links["1"][0]._incoming) < 1 << 20
        assert model.connections == 1

    play(tmp_path, answer, body)


@pytest.mark.parametrize("number", [0, 7, 0xFFFFFFFF])
def test_an_answer_to_what_was_never_asked_ends_the_connection(tmp_path: Path, number: int) -> None:
    async def answer(writer: asyncio.StreamWriter, asked: int) -> None:
        writer.write(ANSWER.pack(6 + (1 << 20), number, 200) + b"x")  # the rest need not come
        await writer.drain()

    async def body(model: Model, host: SocketModelHost) -> None:
        with pytest.raises(Unavailable):
            await host.predict(VERSION, b"1", 5)
        await asyncio.wait_for(model.closed.wait(), 5)

    play(tmp_path, answer, body)


def test_answers_that_are_repeated_do_not_burn_time(tmp_path: Path) -> None:
    sent = 0

    async def answer(writer: asyncio.StreamWriter, number: int) -> None:
        nonlocal sent
        until = time.monotonic() + 3
        while time.monotonic() < until:
            writer.write(frame(number, b"{}") * 1000)
            await writer.drain()
            sent += 1000

    async def body(model: Model, host: SocketModelHost) -> None:
        assert (await host.predict(VERSION, b"1", 5)).body == b"{}"
        await asyncio.wait_for(model.closed.wait(), 10)
        assert sent < 100_000

    play(tmp_path, answer, body)


def test_an_answer_to_what_timed_out_is_dropped_and_the_connection_stays(tmp_path: Path) -> None:
    async def answer(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            await asyncio.sleep(0.5)
        writer.write(frame(number, b"%d" % number))
        await writer.drain()

    async def body(model: Model, host: SocketModelHost) -> None:
        with pytest.raises(DeadlineExceeded):
            await host.predict(VERSION, b"1", 0.1)
        assert (await host.predict(VERSION, b"2", 5)).body == b"2"
        assert model.connections == 1

    play(tmp_path, answer, body)


def test_an_answer_that_never_ends_is_not_kept_beyond_its_time(tmp_path: Path) -> None:
    links = []

    async def answer(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(frame(number, b"x" * (8 << 20))[:-1])
        await writer.drain()

    async def body(model: Model, host: SocketModelHost) -> None:
        asked = asyncio.ensure_future(host.predict(VERSION, b"1", 1))
        await asyncio.sleep(0.5)
        links.append(host._links["1"][0])
        assert sys.getsizeof(links[0]._incoming) > 8 << 20
        with pytest.raises(DeadlineExceeded):
            await asked
        await asyncio.wait_for(model.closed.wait(), 5)
        assert links[0].is_closed
        assert sys.getsizeof(links[0]._incoming) < 1000
        assert not links[0].waiting

    play(tmp_path, answer, body)
