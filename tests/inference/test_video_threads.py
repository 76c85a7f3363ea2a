import threading
import time

import pytest

from okdnet_plugin.inference.video.threads import Ahead, Channel, ClosedError


def heavy(item) -> bool:
    return item == 'frame'


def test_items_come_in_order_and_end():
    with Ahead(lambda: iter(range(100)), heavy) as items:
        assert list(items) == list(range(100))


def test_an_error_comes_where_it_happened():
    def make():
        yield 1
        yield 2
        raise OSError('a bad sector')

    taken = []
    with pytest.raises(OSError, match='a bad sector'), Ahead(make, heavy) as items:
        taken.extend(items)
    with pytest.raises(OSError, match='a bad sector'), Ahead(make, heavy) as items:
        taken.extend(items)
    assert taken[-2:] == [1, 2]


def test_few_heavy_items_wait_and_light_ones_pass_them():
    made = []

    def make():
        for number in range(20):
            made.append(number)
            yield 'frame'

    with Ahead(make, heavy) as items:
        next(iter(items))
        time.sleep(0.1)
        assert len(made) <= 5  # one taken, three waiting, one in hand
    channel = Channel(heavy, most_heavy=1, most=3)
    for item in ('frame', 'packet', 'packet'):
        channel.put(item)
    threading.Timer(0.05, channel.close).start()
    with pytest.raises(ClosedError):
        channel.put('packet')  # there are three: it waits until the channel is closed


def test_who_waits_to_put_is_told_why_nobody_takes():
    channel = Channel(heavy, most_heavy=1)
    channel.put('frame')
    threading.Timer(0.05, channel.close, args=(OSError('disk full'),)).start()
    with pytest.raises(OSError, match='disk full'):
        channel.put('frame')
    with pytest.raises(OSError, match='disk full'):
        channel.check()


def test_leaving_early_ends_the_thread():
    before = threading.active_count()
    with Ahead(lambda: iter(['frame'] * 1000), heavy) as items:
        next(iter(items))
    assert threading.active_count() == before
