"""The file of a run's figures, and the progress bar of a terminal."""

import contextlib
import fcntl
import json
import logging
import os
import pty
import struct
import sys
import termios

import numpy as np
import pytest
import torch

from okdnet_plugin.engine.journal import NAME, Journal


@contextlib.contextmanager
def terminal(rows=24, columns=100):
    """Make the standard error a terminal, which tells no size of 0; gives a function that returns what it shows."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
    os.set_blocking(master, False)
    shown = []

    def show():
        stream.flush()
        with contextlib.suppress(BlockingIOError):
            while True:
                shown.append(os.read(master, 65536).decode())
        return ''.join(shown)

    with os.fdopen(slave, 'w') as stream, contextlib.redirect_stderr(stream):
        yield show
    os.close(master)


def begun(folder, start_iter=0):
    """A journal, and a logger like BasicSR's: to the standard error as it is when the run begins, and to a file."""
    logger = logging.Logger('run')
    logger.addHandler(logging.StreamHandler(sys.stderr))
    logger.addHandler(logging.FileHandler(folder / 'run.log'))
    journal = Journal()
    journal.open(str(folder), start_iter, 10, logger)
    return journal, logger


def lines(folder):
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


# ----------------------------------------------------------------------------------------------------------------- file


def test_each_report_is_a_line_of_json(tmp_path):
    journal, _ = begun(tmp_path)
    journal.report({'iter': 1, 'epoch': 0, 'lr': [0.1, 0.2], 'l_pix': 0.5})
    journal.report({'iter': 4, 'dataset': 'Häuser\n', 'psnr': 20.5, 'infinite': {'psnr': 2}})
    assert lines(tmp_path) == [
        {'iter': 1, 'epoch': 0, 'lr': [0.1, 0.2], 'l_pix': 0.5},
        {'iter': 4, 'dataset': 'Häuser\n', 'psnr': 20.5, 'infinite': {'psnr': 2}},
    ]


def test_line_is_in_the_file_as_soon_as_it_is_reported(tmp_path):
    journal, _ = begun(tmp_path)
    for number in range(1, 4):
        journal.report({'iter': number})
        assert len(lines(tmp_path)) == number


def test_values_of_libraries_become_plain(tmp_path):
    values = {'a': np.float32(0.5), 'b': torch.tensor(0.25), 'c': np.int64(3), 'd': (np.float64(1.5),), 'e': None}
    begun(tmp_path)[0].report({'iter': 1, 'is_best': True} | values)
    assert lines(tmp_path) == [{'iter': 1, 'is_best': True, 'a': 0.5, 'b': 0.25, 'c': 3, 'd': [1.5], 'e': None}]


def test_values_that_are_not_finite_become_strings(tmp_path):
    values = {'a': float('inf'), 'b': -np.float32('inf'), 'c': [torch.tensor(float('nan'))]}
    begun(tmp_path)[0].report({'iter': 1} | values)
    assert lines(tmp_path) == [{'iter': 1, 'a': 'inf', 'b': '-inf', 'c': ['nan']}]


def test_journal_that_is_not_open_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    journal = Journal()
    journal.report({'iter': 1})
    journal.advance()
    journal.show(1, {'l_pix': 0.5})
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_run_that_goes_on_takes_out_later_and_broken_lines(tmp_path):
    kept = '{"iter": 2}\n{"iter": 3, "dataset": "Held"}\n'
    (tmp_path / NAME).write_text(
        f'{kept}{{"iter": 4}}\n[3]\n"iter"\n7\n{{"other": 1}}\nnull\n{{"iter"\n\0\n{{"iter": 1, "l_pi'
    )
    journal, _ = begun(tmp_path, start_iter=3)
    assert (tmp_path / NAME).read_text() == kept
    journal.report({'iter': 4})
    assert [line['iter'] for line in lines(tmp_path)] == [2, 3, 4]


def test_line_without_its_end_is_taken_out(tmp_path):
    """The next one would be written behind it."""
    (tmp_path / NAME).write_text('{"iter": 1}\n{"iter": 2}')
    begun(tmp_path, start_iter=3)
    assert lines(tmp_path) == [{'iter': 1}]


def test_run_that_goes_on_without_a_journal_begins_one(tmp_path):
    begun(tmp_path, start_iter=3)[0].report({'iter': 4})
    assert lines(tmp_path) == [{'iter': 4}]


def test_new_run_begins_a_new_file(tmp_path):
    (tmp_path / NAME).write_text('{"iter": 1}\n')
    begun(tmp_path)
    assert not (tmp_path / NAME).exists()


# ------------------------------------------------------------------------------------------------------------------ bar


def test_nothing_but_a_terminal_gets_a_bar(tmp_path, capfd):
    journal, logger = begun(tmp_path)
    journal.advance()
    journal.show(1, {'l_pix': 0.5})
    with journal.only_to_file(logger):
        logger.warning('of the iteration')
    journal.close()
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ('', 'of the iteration\n')


def test_bar_counts_from_where_the_run_goes_on(tmp_path):
    with terminal() as shown:
        journal, _ = begun(tmp_path, start_iter=3)
        assert '3/10' in shown()
        for _ in range(7):
            journal.advance()
        journal.show(10, {'l_pix': 0.123456})
        journal.close()
        assert '10/10' in shown()
        assert 'l_pix=0.1235' in shown()
        assert shown().endswith('\n')


def test_terminal_that_does_not_tell_its_width_shows_bar_and_losses(tmp_path, monkeypatch):
    monkeypatch.delenv('COLUMNS', raising=False)
    with terminal(0, 0) as shown:
        journal, _ = begun(tmp_path)
        journal.show(4, {'l_pix': 0.123456})
        journal.close()
        assert '4/10' in shown()
        assert 'l_pix=0.1235' in shown()


def test_log_lines_go_above_the_bar(tmp_path):
    with terminal() as shown:
        journal, logger = begun(tmp_path)
        logger.warning('first\nsecond')
        before, _, after = shown().partition('first\r\nsecond\r\n')
        journal.close()
        assert before.endswith(' \r')  # the bar is wiped out,
        assert '0/10' in before
        assert '0/10' in after  # and drawn again below


def test_lines_of_an_iteration_go_to_the_file_alone(tmp_path):
    with terminal() as shown:
        journal, logger = begun(tmp_path)
        with journal.only_to_file(logger):
            logger.warning('of the iteration')
        logger.warning('of the run')
        journal.close()
        assert 'of the run' in shown()
        assert 'of the iteration' not in shown()
        assert (tmp_path / 'run.log').read_text() == 'of the iteration\nof the run\n'


def test_terminal_is_back_when_an_iteration_fails_to_be_logged(tmp_path):
    with terminal() as shown:
        journal, logger = begun(tmp_path)
        with pytest.raises(ZeroDivisionError), journal.only_to_file(logger):
            raise ZeroDivisionError
        logger.warning('of the run')
        journal.close()
        assert 'of the run' in shown()


def test_log_goes_on_after_the_bar_is_closed(tmp_path):
    with terminal() as shown:
        journal, logger = begun(tmp_path)
        journal.close()
        with journal.only_to_file(logger):
            logger.warning('at the end')
        assert shown().endswith('at the end\r\n')
