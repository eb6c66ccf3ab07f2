"""Strategies that answer in other processes beside this one, so that several questions are worked on at once.

A small model is done with each of its products sooner than Python with the next call, and one process runs Python in
one thread at a time: two questions in two threads take as long as one after the other. So the first turn's question is
answered here, and those beside it in processes that read the same weights. None is started before two questions meet.
Orders and answers are pickled, and travel over the other process's standard input and output; it ends when its input
does, and so with this process, however that ends.
"""

import copyreg
import logging
import os
import pickle
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import IO, Any, Final

import torch

from evfsam.errors import EvfSamError
from evfsam.types import EmbeddingStore, ImageView
from workbench.comparison import Comparison, Question, StrategyResult
from workbench.suites.registry import Suite

logger = logging.getLogger(__name__)

_ROOT: Final = Path(__file__).resolve().parent.parent
_CLOSING_SECONDS: Final = 10
_BROKEN: Final = (OSError, EOFError, pickle.PickleError)


class SideProcess:
    """A process that answers for one asker at a time. One that fails once is not asked again.

    Args:
        suite: whose strategies it asks, on a CPU.
        dtype: of their weights.
    """

    def __init__(self, suite: Suite, dtype: torch.dtype) -> None:
        self._order = replace(suite, load_status=None), dtype
        self._process: subprocess.Popen[bytes] | None = None
        self._is_usable = False
        self._starting: Thread | None = None

    def answer(self, key: str, question: Question) -> StrategyResult | None:
        """Ask one strategy; None where the process cannot: it is started only now, reads weights still, or is lost."""
        if self._starting is None:
            self._starting = Thread(target=self._start, daemon=True)
            self._starting.start()
        if not self._is_usable:
            return None
        self._is_usable = False  # unless the exchange comes to its end, nobody knows what the pipes hold
        try:
            self._send((key, question))
            answer: StrategyResult = self._receive()
        except _BROKEN as error:
            logger.warning("a process that answers questions is lost", exc_info=error)
            self.close()
            return None
        self._is_usable = True
        return answer

    def wait_until_started(self) -> None:
        """Return once a process that is being started can answer, or has failed to start."""
        if self._starting is not None:
            self._starting.join()

    def close(self) -> None:
        """End the process, if there is one."""
        self._is_usable = False
        if self._process is None:
            return
        with suppress(*_BROKEN):
            self._pipe(self._process.stdin).close()
        try:
            self._process.wait(_CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _start(self) -> None:
        try:
            # In a session of its own Ctrl+C does not reach it; that its input ends does.
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                cwd=_ROOT,  # where Python then finds this package
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            self._send(self._order)
            self._receive()
        except _BROKEN as error:
            logger.warning("a process that answers questions did not start", exc_info=error)
            self.close()
            return
        self._is_usable = True

    def _send(self, value: object) -> None:
        assert self._process is not None
        _send(self._pipe(self._process.stdin), value)

    def _receive(self) -> StrategyResult:
        assert self._process is not None
        received: StrategyResult = pickle.load(self._pipe(self._process.stdout))
        return received

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


class SideBySideComparison(Comparison):
    """A comparison that answers one question here and others in processes beside this one.

    Args:
        suite, dtype, cache, question_bytes, at_once: as of `Comparison`; each process has a cache of its own.
        device: a CPU.
        processes: at most so many besides this one; further ones of `at_once` are answered in threads.
    """

    def __init__(
        self,
        suite: Suite,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        cache: EmbeddingStore | None = None,
        question_bytes: int | None = None,
        at_once: int = 2,
        *,
        processes: int = 1,
    ) -> None:
        super().__init__(suite, device, dtype, cache, question_bytes, at_once)
        self.beside = [SideProcess(suite, dtype) for _ in range(min(processes, at_once - 1))]

    def close(self) -> None:
        """End the processes; what is asked later is answered here."""
        for process in self.beside:
            process.wait_until_started()
            process.close()

    def _ask(self, key: str, view: ImageView, question: Question) -> StrategyResult:
        with self.turns.taken() as place:
            answer = self.beside[place - 1].answer(key, question) if 0 < place <= len(self.beside) else None
            return self.answer(key, view, question) if answer is None else answer


def _send(pipe: IO[bytes], value: object) -> None:
    pickler = pickle.Pickler(pipe, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = copyreg.dispatch_table | {torch.Tensor: _reduced, MappingProxyType: _copied}
    pickler.dump(value)
    pipe.flush()


def _reduced(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Reduce a tensor to its own numbers: torch's way sends all that its storage holds, and takes a millisecond."""
    if tensor.dtype == torch.bfloat16 or 0 in tensor.stride():  # NumPy does not know it, or would spread it out
        return tuple(tensor.__reduce_ex__(pickle.HIGHEST_PROTOCOL))
    return torch.from_numpy, (tensor.detach().numpy(),)


def _copied(values: MappingProxyType[Any, Any]) -> tuple[Any, ...]:
    return dict, (dict(values),)


def serve(orders: IO[bytes], answers: IO[bytes]) -> None:
    """Read the weights, say so, and answer orders until there are no more.

    Args:
        orders: pickled: a suite and a number type, then keys and questions.
        answers: pickled: None once the weights are read, then a `StrategyResult` each.
    """
    suite, dtype = pickle.load(orders)
    comparison = Comparison(suite, "cpu", dtype)
    for key in comparison.keys:
        with suppress(EvfSamError):  # the answer will say it
            comparison.strategy(key)
    _send(answers, None)
    with suppress(EOFError):
        while True:
            key, question = pickle.load(orders)
            _send(answers, comparison.answer(key, comparison.view(question.image), question))


def main() -> None:
    """Be the process: what anything prints here goes where errors go, not between the answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    with suppress(BrokenPipeError):  # nobody waits for the answer
        serve(sys.stdin.buffer, answers)
    os._exit(0)


if __name__ == "__main__":
    main()
