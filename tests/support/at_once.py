"""
at_once: unittest.main() for tests that mostly wait: all tests of the program beside each other, so many at a time.

    if __name__ == "__main__":
        at_once.main()          # program [CLASS | CLASS.test_x]…

Each class is set up once, before the first test; each test has an instance of its own, as always. What tests share, the class
and os.environ, is only to be read by them. A line is printed for each test that has ended, and then a summary as
unittest's.
"""

import concurrent.futures
import contextlib
import sys
import time
import unittest

AT_A_TIME = 12


def _each(suite):
    for it in suite:
        if isinstance(it, unittest.TestSuite):
            yield from _each(it)
        else:
            yield it


def _run(test):
    result, began = unittest.TestResult(), time.monotonic()
    test(result)
    return result, time.monotonic() - began


def _tear_down(cls):
    cls.tearDownClass()
    cls.doClassCleanups()
    for _, error, traceback in cls.tearDown_exceptions:
        raise error.with_traceback(traceback)


def _word(result):
    return "ok" if result.wasSuccessful() and not result.skipped else "NOT OK"


def _summary(results, seconds):
    """Returns whether all is well."""
    for title, found in (("ERROR", "errors"), ("FAIL", "failures")):
        for test, traceback in (pair for result in results for pair in getattr(result, found)):
            print(f"{'=' * 70}\n{title}: {test}\n{'-' * 70}\n{traceback}")
    kinds = ("failures", "errors", "skipped", "unexpectedSuccesses")
    bad = {kind: n for kind in kinds if (n := sum(len(getattr(result, kind)) for result in results))}
    said = ", ".join(f"{kind}={n}" for kind, n in bad.items())
    n_run = sum(result.testsRun for result in results)
    print(f"{'-' * 70}\nRan {n_run} test{'s' * (n_run != 1)} in {seconds:.3f}s\n\n{f'FAILED ({said})' if bad else 'OK'}", flush=True)
    return n_run > 0 and not bad


def main(module="__main__", at_a_time=AT_A_TIME):
    began, loader = time.monotonic(), unittest.TestLoader()
    module = sys.modules[module]
    names = sys.argv[1:]
    tests = list(_each(loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)))
    results, good = [], []
    with contextlib.ExitStack() as stack:
        for cls in dict.fromkeys(type(test) for test in tests):
            stack.callback(_tear_down, cls)
            cls.setUpClass()
        threads = stack.enter_context(concurrent.futures.ThreadPoolExecutor(at_a_time))
        running = {threads.submit(_run, test): test for test in tests}
        for future in concurrent.futures.as_completed(running):
            result, seconds = future.result()
            results.append(result)
            print(f"{_word(result)} {running[future].id()} ({seconds:.1f} s)", flush=True)
        # Before the classes are torn down: one that fails in that must not hide the others.
        good.append(_summary(results, time.monotonic() - began))
    sys.exit(0 if all(good) else 1)
