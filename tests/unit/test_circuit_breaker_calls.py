"""Every way of putting a call behind the breaker (contract 8)."""

import asyncio
import gc
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from application.circuit_breaker import CircuitOpenError, EventDrivenCircuitBreaker
from tests.unit.circuit_breaker_kit import Bench, GatewayDown, OurMistake, bench, raising


async def add_async(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


def count(upto: int, fail_at: int | None = None) -> Generator[int, Any, str]:
    for number in range(upto):
        if number == fail_at:
            raise GatewayDown
        yield number
    return "done"


async def count_async(upto: int, fail_at: int | None = None) -> AsyncIterator[int]:
    for number in range(upto):
        if number == fail_at:
            raise GatewayDown
        yield number


async def listed(items: AsyncIterator[int]) -> list[int]:
    return [item async for item in items]


def settled(b: Bench) -> tuple[int, int]:
    metrics = b.breaker.metrics()
    return metrics.successful_requests, metrics.failed_requests


class TestPlainFunctions:
    def test_a_decorated_function_keeps_its_arguments_result_and_name(self) -> None:
        b = bench()

        @b.breaker
        def add(a: int, b: int = 0) -> int:
            """Adds."""
            return a + b

        assert add(1, b=2) == 3
        assert (add.__name__, add.__doc__) == ("add", "Adds.")
        assert settled(b) == (1, 0)

    def test_a_decorated_method_gets_its_object(self) -> None:
        b = bench()

        class Gateway:
            @b.breaker
            def itself(self) -> "Gateway":
                return self

        gateway = Gateway()
        assert gateway.itself() is gateway

    def test_what_the_function_raises_reaches_the_caller(self) -> None:
        error = GatewayDown("it is down")
        with pytest.raises(GatewayDown) as raised:
            bench().breaker.decorate(raising(error))()
        assert raised.value is error

    def test_anything_callable_can_be_called(self) -> None:
        b = bench()
        assert b.breaker.call(int, "7") == 7
        assert b.breaker.call(partial(max, 1), 2) == 2
        assert b.breaker.call(Mock(return_value=3)) == 3
        assert b.breaker.call("abc".upper) == "ABC"
        assert settled(b) == (4, 0)

    def test_an_argument_may_have_any_name(self) -> None:
        assert bench().breaker.call(dict, args=1, kwargs=2) == {"args": 1, "kwargs": 2}


class TestFallback:
    def test_a_rejected_call_goes_to_the_fallback_with_its_arguments(self) -> None:
        b = bench(fallback=lambda *args, **kwargs: (args, kwargs))
        b.fail(4)
        guarded: Any = raising(GatewayDown())
        assert b.breaker.call(guarded, 1, key=2) == ((1,), {"key": 2})
        assert b.breaker.decorate(guarded)(1) == ((1,), {})

    def test_a_failure_does_not_go_to_the_fallback_unasked(self) -> None:
        b = bench(fallback=lambda: "later")
        with pytest.raises(GatewayDown):
            b.breaker.call(raising(GatewayDown()))

    def test_a_failure_goes_to_the_fallback_where_asked(self) -> None:
        b = bench(fallback=lambda: "later", fallback_on_failure=True)
        assert b.breaker.call(raising(GatewayDown())) == "later"

    def test_only_a_failure_does(self) -> None:
        b = bench(fallback=lambda: "later", fallback_on_failure=True, is_neutral=KeyError)
        for error in (KeyError(), ValueError(), KeyboardInterrupt()):
            with pytest.raises(type(error)):
                b.breaker.call(raising(error))

    def test_without_a_fallback_a_failure_stays_what_it_is(self) -> None:
        with pytest.raises(GatewayDown):
            bench(fallback_on_failure=True).breaker.call(raising(GatewayDown()))

    def test_an_async_call_may_have_a_plain_or_an_async_fallback(self) -> None:
        for fallback in (max, add_async):
            b = bench(fallback=fallback, fallback_on_failure=True)
            b.breaker.force_open()
            assert asyncio.run(b.breaker.call_async(add_async, 1, 2)) in {2, 3}
            b.breaker.reset()
            failing = AsyncMock(side_effect=GatewayDown)
            assert asyncio.run(b.breaker.call_async(failing, 1, 2)) in {2, 3}

    def test_a_generator_falls_back_until_it_has_yielded_something(self) -> None:
        b = bench(fallback=lambda *_: iter([10, 20]), fallback_on_failure=True)
        assert list(b.breaker.call(count, 3, 0)) == [10, 20]
        items = b.breaker.call(count, 3, 1)
        assert next(items) == 0
        with pytest.raises(GatewayDown):
            next(items)
        b.breaker.force_open()
        assert list(b.breaker.decorate(count)(3)) == [10, 20]

    def test_an_async_generator_falls_back_until_it_has_yielded_something(self) -> None:
        b = bench(fallback=lambda *_: count_async(2), fallback_on_failure=True)

        async def scenario() -> None:
            assert await listed(b.breaker.call(count_async, 3, 0)) == [0, 1]
            with pytest.raises(GatewayDown):
                await listed(b.breaker.call(count_async, 3, 2))
            b.breaker.force_open()
            assert await listed(b.breaker.decorate(count_async)(9)) == [0, 1]

        asyncio.run(scenario())


class TestAsyncFunctions:
    def test_a_decorated_async_function_stays_one(self) -> None:
        b = bench()
        guarded = b.breaker(add_async)
        assert inspect.iscoroutinefunction(guarded)
        assert asyncio.run(guarded(1, 2)) == 3
        assert settled(b) == (1, 0)

    @pytest.mark.parametrize("function", [add_async, partial(add_async), AsyncMock()])
    def test_call_awaits_whatever_is_async(self, function: Any) -> None:
        b = bench()
        coroutine = b.breaker.call(function, 1, 2)
        assert settled(b) == (0, 0)
        asyncio.run(coroutine)
        assert settled(b) == (1, 0)

    def test_an_async_failure_counts_and_opens(self) -> None:
        b = bench()
        guarded = b.breaker(AsyncMock(side_effect=GatewayDown))
        for _ in range(4):
            with pytest.raises(GatewayDown):
                asyncio.run(guarded())
        with pytest.raises(CircuitOpenError):
            asyncio.run(guarded())

    def test_a_cancelled_call_counts_nowhere_and_gives_its_place_back(self) -> None:
        b = bench(max_concurrent_requests=1)
        b.breaker.force_open()
        b.time.advance_ms(60_000)

        async def scenario() -> None:
            task = asyncio.create_task(b.breaker.call_async(asyncio.Event().wait))
            await asyncio.sleep(0)
            b.refused()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await b.breaker.call_async(add_async, 1, 2) == 3

        asyncio.run(scenario())
        assert b.breaker.state == "CLOSED"
        assert settled(b) == (1, 0)

    def test_a_time_out_inside_the_call_is_a_failure(self) -> None:
        b = bench(is_failure=None)

        async def never() -> None:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            asyncio.run(b.breaker.call_async(never))
        assert b.breaker.metrics().timeouts == 1


class TestGenerators:
    def test_a_decorated_generator_function_stays_one(self) -> None:
        b = bench()
        guarded = b.breaker(count)
        assert inspect.isgeneratorfunction(guarded)
        assert list(guarded(3)) == [0, 1, 2]
        assert settled(b) == (1, 0)

    def test_it_is_admitted_when_it_starts_and_settled_when_it_ends(self) -> None:
        b = bench()
        items = b.breaker.call(count, 2)
        b.breaker.force_open()
        with pytest.raises(CircuitOpenError):
            next(items)

    def test_sent_values_thrown_errors_and_the_result_pass_through(self) -> None:
        def echo() -> Generator[Any, Any, str]:
            got = yield "ready"
            try:
                yield got
            except KeyError:
                yield "caught"
            return "result"

        items = bench().breaker.call(echo)
        assert (next(items), items.send("x"), items.throw(KeyError())) == ("ready", "x", "caught")
        with pytest.raises(StopIteration, match="result"):
            next(items)

    def test_a_failure_half_way_counts(self) -> None:
        b = bench()
        with pytest.raises(GatewayDown):
            list(b.breaker.call_generator(count, 3, 2))
        assert settled(b) == (0, 1)

    def test_wrong_arguments_do_not_keep_the_place(self) -> None:
        b = bench(is_neutral=TypeError, max_concurrent_requests=1)
        b.half_open().abandon()
        with pytest.raises(TypeError):
            list(b.breaker.call_generator(count))
        b.succeed(1)

    def test_one_that_is_left_early_counts_nowhere(self) -> None:
        b = bench()
        items = b.breaker.call(count, 3)
        next(items)
        items.close()
        assert settled(b) == (0, 0)

    def test_the_garbage_collector_may_close_one_at_any_time(self) -> None:
        b = bench()
        abandoned = [b.breaker.call(count, 3)]
        next(abandoned[0])
        plain_clock = b.time.monotonic

        def clock_that_collects() -> float:
            abandoned.clear()
            gc.collect()
            return plain_clock()

        b.breaker._clock = clock_that_collects
        thread = threading.Thread(target=b.breaker.metrics, daemon=True)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()

    def test_an_async_generator_function_is_guarded_too(self) -> None:
        b = bench()
        guarded = b.breaker(count_async)
        assert inspect.isasyncgenfunction(guarded)

        async def scenario() -> None:
            assert await listed(guarded(3)) == [0, 1, 2]
            with pytest.raises(GatewayDown):
                await listed(b.breaker.call_async_generator(count_async, 3, 1))
            items = guarded(3)
            await anext(items)
            await items.aclose()
            b.breaker.force_open()
            with pytest.raises(CircuitOpenError):
                await listed(guarded(3))

        asyncio.run(scenario())
        assert settled(b) == (1, 1)


class TestWith:
    def test_a_block_counts_as_a_call(self) -> None:
        b = bench()
        with b.breaker as entered:
            assert entered is b.breaker
        with pytest.raises(GatewayDown), b.breaker:
            raise GatewayDown
        assert settled(b) == (1, 1)

    def test_a_block_is_refused_while_open(self) -> None:
        b = bench(fallback=lambda: "not for blocks")
        b.breaker.force_open()
        with pytest.raises(CircuitOpenError), b.breaker:
            pytest.fail("the block ran")
        assert settled(b) == (0, 0)

    def test_one_success_does_not_wipe_the_failures(self) -> None:
        b = bench()
        b.fail(2)
        with b.breaker:
            pass
        assert b.breaker.failure_count == 2

    def test_blocks_nest(self) -> None:
        b, other = bench(), bench()
        with b.breaker, other.breaker, b.breaker:
            pass
        assert (settled(b), settled(other)) == ((2, 0), (1, 0))

    def test_blocks_of_several_breakers_may_be_left_in_any_order(self) -> None:
        b, other = bench(), bench()
        b.breaker.__enter__()
        other.breaker.__enter__()
        b.breaker.__exit__(None, None, None)
        other.breaker.__exit__(None, None, None)
        assert settled(b) == settled(other) == (1, 0)

    def test_blocks_of_interleaved_tasks_keep_apart(self) -> None:
        b = bench()

        async def block(entered: asyncio.Event, leave: asyncio.Event) -> None:
            with b.breaker:
                entered.set()
                await leave.wait()

        async def scenario() -> None:
            entered = [asyncio.Event(), asyncio.Event()]
            leave = [asyncio.Event(), asyncio.Event()]
            tasks = [asyncio.create_task(block(*pair)) for pair in zip(entered, leave, strict=True)]
            await entered[0].wait()
            await entered[1].wait()
            b.time.advance_ms(100)
            leave[0].set()
            await tasks[0]
            b.time.advance_ms(100)
            leave[1].set()
            await tasks[1]

        asyncio.run(scenario())
        assert b.breaker.metrics().average_response_time_ms == pytest.approx(150)

    def test_a_block_that_was_not_entered_here_cannot_be_left(self) -> None:
        with pytest.raises(RuntimeError, match="did not enter it"):
            bench().breaker.__exit__(None, None, None)


def test_an_unnamed_breaker_takes_the_name_of_its_function() -> None:
    b = bench(name=None)
    assert b.breaker.name is None
    b.breaker.decorate(add_async)
    assert b.breaker.name == b.breaker.config.name == "add_async"
    assert isinstance(b.breaker, EventDrivenCircuitBreaker)


@pytest.mark.parametrize("which", ["is_failure", "is_neutral", "is_timeout"])
def test_a_predicate_that_fails_hides_no_error_and_keeps_no_place(
    which: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_kind: object, _error: object) -> bool:
        raise RuntimeError("the predicate broke")

    b = bench(**{which: broken}, max_concurrent_requests=1)
    b.breaker.follow("HALF_OPEN")
    b.fail(1, GatewayDown())
    assert b.breaker.metrics().failed_requests == 1
    assert b.breaker.state == "OPEN"
    assert "the predicate broke" in caplog.text


class TestAsyncGeneratorsBothWays:
    @staticmethod
    def ways(b: Bench) -> list[Callable[[], AsyncGenerator[Any, Any]]]:
        heard: list[object] = []

        async def session() -> AsyncGenerator[object, object]:
            try:
                heard.append((yield "first"))
                heard.append((yield "second"))
            except GatewayDown as error:
                heard.append(error)
                raise
            except OurMistake:
                yield "third"

        b.heard = heard  # type: ignore[attr-defined]
        return [b.breaker(session), partial(b.breaker.call_async_generator, session)]

    @pytest.mark.parametrize("way", [0, 1])
    def test_what_is_sent_arrives(self, way: int) -> None:
        b = bench()
        run = self.ways(b)[way]

        async def talk() -> None:
            items = run()
            assert await items.asend(None) == "first"
            assert await items.asend("hello") == "second"
            with pytest.raises(StopAsyncIteration):
                await items.asend("bye")

        asyncio.run(talk())
        assert b.heard == ["hello", "bye"]  # type: ignore[attr-defined]
        assert b.breaker.metrics().successful_requests == 1

    @pytest.mark.parametrize("way", [0, 1])
    def test_what_is_thrown_in_arrives(self, way: int) -> None:
        b = bench()
        run = self.ways(b)[way]

        async def talk() -> None:
            items = run()
            await anext(items)
            assert await items.athrow(OurMistake()) == "third"
            await items.aclose()

        asyncio.run(talk())
        assert b.breaker.metrics().total_requests == 0

    @pytest.mark.parametrize("way", [0, 1])
    def test_a_body_that_fails_under_a_guarded_context_manager_is_a_failure(self, way: int) -> None:
        b = bench()
        run = self.ways(b)[way]

        async def use() -> None:
            async with asynccontextmanager(run)():  # type: ignore[arg-type]
                raise GatewayDown

        with pytest.raises(GatewayDown):
            asyncio.run(use())
        assert isinstance(b.heard[0], GatewayDown)  # type: ignore[attr-defined]
        assert b.breaker.metrics().failed_requests == 1

    @pytest.mark.parametrize("way", [0, 1])
    def test_a_body_that_is_cancelled_under_one_counts_nowhere(self, way: int) -> None:
        b = bench()
        run = self.ways(b)[way]

        async def use() -> None:
            async with asynccontextmanager(run)():  # type: ignore[arg-type]
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(use())
        assert b.breaker.metrics().total_requests == 0
