"""The ways of putting a call behind a breaker, each of which takes a ticket and settles it once."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from contextvars import ContextVar
from functools import partial, wraps
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, cast

from circuitbreaker import CircuitBreaker, CircuitBreakerError, CircuitBreakerMonitor

from application.breaker_state import BreakerState, Ticket
from application.breaker_values import CircuitState, RejectionReason

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
Runner = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE
CALL = "__call__"
DEFERRED = COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class CircuitOpenError(CircuitBreakerError):
    """The breaker did not let a call through: nothing was sent.

    `reason` is `open` (or paused at the service's wish) or `half_open_limit`; `retry_after_ms` is
    how long to wait before a call may pass (for `half_open_limit` at most so long).
    """

    def __init__(self, breaker: "GuardedCalls", reason: RejectionReason, wait_ms: int) -> None:
        self.reason = reason
        self.retry_after_ms = wait_ms
        self.service_name = str(breaker)
        self.state = breaker.state
        super().__init__(breaker)  # type: ignore[no-untyped-call]

    def __str__(self) -> str:
        return (
            f"{self.service_name} is {self.state} and lets no call through ({self.reason}): "
            f"try again in {self.retry_after_ms} ms"
        )


class GuardedCalls(CircuitBreaker, ABC):
    """Guards plain, async, generator and async generator functions, and blocks under `with`.

    A rejected call goes to the fallback, with its own arguments, or raises `CircuitOpenError`;
    `with` has no fallback; of two `with` blocks of one breaker in one task the inner one must end
    first, as blocks do. With `fallback_on_failure` a failure goes there too; not once a
    generator has yielded something, as that cannot be taken back. The call of a generator lasts
    from its first item until it ends or is closed, its consumer's time included.
    """

    _machine: BreakerState
    _clock: Callable[[], float]
    _fallback_function: Callable[..., Any] | None
    _fallback_on_failure: bool

    @property
    @abstractmethod
    def state(self) -> CircuitState:
        """The state now. Reading it changes nothing."""

    @abstractmethod
    def _admit(self) -> Ticket:
        """Decides about one call. Raises `CircuitOpenError`."""

    @abstractmethod
    def _succeeded(self, ticket: Ticket, started: float) -> None:
        """Settles a call that returned."""

    @abstractmethod
    def _raised(self, ticket: Ticket, started: float, error: BaseException) -> bool:
        """Settles a call that raised, and says whether that was a failure."""

    def call(self, func: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function behind the breaker; of an async or generator function it returns
        the guarded coroutine or generator, which is admitted when it starts to run.

        Raises `CircuitOpenError` when rejected without a fallback, and what the function raises.
        """
        try:
            is_plain = not func.__code__.co_flags & DEFERRED
        except AttributeError:
            is_plain = False
        result: R
        if is_plain:
            result = self._run(func, args, kwargs)
        else:
            result = self._runner_for(func)(func, args, kwargs)
        return result

    async def call_async(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Awaits the async function behind the breaker; otherwise as `call`."""
        return await self._run_async(func, args, kwargs)

    def call_generator(
        self, func: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Generator[Any, Any, Any]:
        """Runs the generator function behind the breaker; otherwise as `call`."""
        return self._run_generator(func, args, kwargs)

    def call_async_generator(
        self, func: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        """Runs the async generator function behind the breaker; otherwise as `call`."""
        return self._run_async_generator(func, args, kwargs)

    def __call__(self, wrapped: F) -> F:
        return self.decorate(wrapped)

    def decorate(self, function: F) -> F:
        """The function, guarded. An unnamed breaker takes the function's name."""
        if self.name is None:
            self._take_name(getattr(function, "__qualname__", type(function).__qualname__))
        self._register()
        return cast(F, wraps(function)(_wrapper_of(function, self._runner_for(function))))

    def __enter__(self) -> Self:
        ticket = self._machine.free_pass or self._admit()
        _entered.set((*_entered.get(), (self, ticket, self._clock())))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> Literal[False]:
        ticket, started = self._leave()
        if exc_value is None:
            self._succeeded(ticket, started)
        else:
            self._raised(ticket, started, exc_value)
        return False

    def _leave(self) -> tuple[Ticket, float]:
        entered = _entered.get()
        for place in range(len(entered) - 1, -1, -1):
            breaker, ticket, started = entered[place]
            if breaker is self:
                _entered.set(entered[:place] + entered[place + 1 :])
                return ticket, started
        raise RuntimeError(f"{self} is left in a thread or task that did not enter it")

    def _register(self) -> None:
        CircuitBreakerMonitor.register(self)  # type: ignore[no-untyped-call]

    def _unregister(self) -> None:
        if CircuitBreakerMonitor.get(self.name) is self:
            del CircuitBreakerMonitor.circuit_breakers[self.name]

    @abstractmethod
    def _take_name(self, name: str) -> None:
        """Takes the name of the decorated function."""

    def _runner_for(self, func: Callable[..., Any]) -> Runner:
        flags = _code_flags(func)
        if flags & COROUTINE or inspect.iscoroutinefunction(func):
            return self._run_async
        if flags & inspect.CO_GENERATOR:
            return self._run_generator
        return self._run_async_generator if flags & inspect.CO_ASYNC_GENERATOR else self._run

    def _ticket(self) -> Ticket | None:
        """A ticket, or None when the fallback shall answer."""
        try:
            return self._machine.free_pass or self._admit()
        except CircuitOpenError:
            if self._fallback_function is None:
                raise
            return None

    def _fall_back(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert self._fallback_function is not None
        return self._fallback_function(*args, **kwargs)

    def _falls_back(self, ticket: Ticket, started: float, error: BaseException) -> bool:
        failed = self._raised(ticket, started, error)
        return failed and self._fallback_on_failure and self._fallback_function is not None

    def _run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        ticket = self._machine.free_pass or self._ticket()
        if ticket is None:
            return self._fall_back(args, kwargs)
        started = self._clock()
        try:
            result = func(*args, **kwargs)
        except BaseException as error:
            if not self._falls_back(ticket, started, error):
                raise
            return self._fall_back(args, kwargs)
        self._succeeded(ticket, started)
        return result

    async def _run_async(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        ticket = self._ticket()
        if ticket is None:
            return await _awaited(self._fall_back(args, kwargs))
        started = self._clock()
        try:
            result = await func(*args, **kwargs)
        except BaseException as error:
            if not self._falls_back(ticket, started, error):
                raise
            return await _awaited(self._fall_back(args, kwargs))
        self._succeeded(ticket, started)
        return result

    def _run_generator(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Generator[Any, Any, Any]:
        ticket = self._ticket()
        if ticket is None:
            return (yield from self._fall_back(args, kwargs))
        started = self._clock()
        items = _WatchedItems()
        try:
            result = yield from items.of(func(*args, **kwargs))
        except BaseException as error:
            if not self._falls_back(ticket, started, error) or items.begun:
                raise
            return (yield from self._fall_back(args, kwargs))
        self._succeeded(ticket, started)
        return result

    async def _run_async_generator(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        ticket = self._ticket()
        if ticket is not None:
            started = self._clock()
            items = _AsyncItems()
            try:
                async with aclosing(func(*args, **kwargs)) as source:
                    while await items.go_on(source):
                        try:
                            items.sent = yield items.item
                        except GeneratorExit:
                            raise
                        except BaseException as error:  # noqa: BLE001 - it is thrown in
                            items.thrown = error
            except BaseException as error:
                if not self._falls_back(ticket, started, error) or items.begun:
                    raise
            else:
                self._succeeded(ticket, started)
                return
        async for item in self._fall_back(args, kwargs):
            yield item


class _WatchedItems:
    """A generator handed through unchanged (sent values, thrown errors, result), which remembers
    whether it has yielded anything."""

    __slots__ = ("_items", "begun")

    def __init__(self) -> None:
        self.begun = False

    def of(self, items: Generator[Any, Any, Any]) -> Self:
        self._items = items
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        item = self._items.send(value)
        self.begun = True
        return item

    def throw(self, *error: Any) -> Any:
        return self._items.throw(*error)

    def close(self) -> None:
        self._items.close()


class _AsyncItems:
    """The same for an async generator, which knows no `yield from`: what its consumer sent or
    threw in waits here until it goes on."""

    __slots__ = ("begun", "item", "sent", "thrown")

    def __init__(self) -> None:
        self.begun = False
        self.item: Any = None
        self.sent: Any = None
        self.thrown: BaseException | None = None

    async def go_on(self, source: AsyncGenerator[Any, Any]) -> bool:
        """Gets the next item; False when there is none."""
        sent, self.sent, thrown, self.thrown = self.sent, None, self.thrown, None
        try:
            self.item = await (source.athrow(thrown) if thrown else source.asend(sent))
        except StopAsyncIteration:
            return False
        self.begun = True
        return True


_entered: ContextVar[tuple[tuple[GuardedCalls, Ticket, float], ...]] = ContextVar(
    "entered_breakers", default=()
)


def _wrapper_of(function: Callable[..., Any], runner: Runner) -> Callable[..., Any]:
    """A wrapper of the same kind as the function, so that `inspect` still tells what it is."""

    def plain(*args: Any, **kwargs: Any) -> Any:
        return runner(function, args, kwargs)

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        return await runner(function, args, kwargs)

    def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from runner(function, args, kwargs))

    async def async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        items = _AsyncItems()
        async with aclosing(runner(function, args, kwargs)) as source:
            while await items.go_on(source):
                try:
                    items.sent = yield items.item
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001 - it is thrown in
                    items.thrown = error

    flags = _code_flags(runner)
    if flags & COROUTINE:
        return coroutine
    if flags & inspect.CO_GENERATOR:
        return generator
    return async_generator if flags & inspect.CO_ASYNC_GENERATOR else plain


def _code_flags(func: Any) -> int:
    while isinstance(func, partial):
        func = func.func
    code = getattr(func, "__code__", None)
    if code is None:
        code = getattr(getattr(type(func), CALL, None), "__code__", None)
    return cast(int, code.co_flags) if code is not None else 0


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result
