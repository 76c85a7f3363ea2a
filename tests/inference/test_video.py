import os
import resource
import threading
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from made_clips import UNEVEN, av, clip, frames, image, packets, planes, times

from okdnet_plugin.errors import InputError, SaveError
from okdnet_plugin.inference.backends import Restored
from okdnet_plugin.inference.video import Encoding, dehaze_video, is_video, suffix_for
from okdnet_plugin.inference.video import source as video_source

LOSSLESS = Encoding(codec='ffv1')


class Same:
    """Gives frames back as they are, and notes what it was given."""

    def __init__(self, estimates=None):
        self.estimates = estimates
        self.hazy, self.airlights = [], []

    def estimate_airlight(self, hazy):
        if self.estimates is None:
            return None
        return torch.full((1, 3, 1, 1), self.estimates[len(self.hazy) % len(self.estimates)])

    def restore(self, hazy, airlight=None):
        assert hazy.dtype == torch.float32
        assert 0 <= float(hazy.min()) <= float(hazy.max()) <= 1
        self.hazy.append(hazy.clone())
        self.airlights.append(None if airlight is None else float(airlight[0, 0]))
        return Restored(hazy)


class Failing(Same):
    """Goes wrong at the sixth frame."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def restore(self, hazy, airlight=None):
        if len(self.hazy) == 5:
            raise self.error
        return super().restore(hazy, airlight)


@pytest.fixture
def dehaze(tmp_path):
    """Dehaze to a file named `out` and the suffix; nothing on the terminal."""

    def run(source, suffix='.mkv', dehazer=None, **options):
        options = {'smoothing': 0, 'say': lambda line: None, 'progress': False, **options}
        target = tmp_path / 'results' / f'out{suffix}'
        return dehaze_video(source, target, dehazer or Same(), **options), target

    return run


def test_videos_are_known_by_their_names():
    assert all(map(is_video, ('a.mp4', 'A.MOV', 'b/c.WebM', 'x.avi')))
    assert not any(map(is_video, ('a.png', 'mp4', 'a.mp4.txt', 'clip')))
    assert [suffix_for(name) for name in ('a.MP4', 'b.mov', 'c.avi', 'd.ts')] == ['.mp4', '.mov', '.mkv', '.mkv']


@pytest.mark.parametrize(
    ('suffix', 'codec', 'audio'),
    [
        ('.mp4', 'libx264', 'aac'),
        ('.mov', 'libx264', 'aac'),
        ('.mkv', 'libx264', 'flac'),
        ('.webm', 'libvpx-vp9', 'libopus'),
    ],
)
def test_each_frame_keeps_its_time_and_the_sound_is_copied_byte_for_byte(tmp_path, dehaze, suffix, codec, audio):
    source = clip(tmp_path / f'in{suffix}', codec, stamps=UNEVEN, audio=audio)
    summary, target = dehaze(source, suffix)
    assert times(target) == times(source)
    assert len(set(np.diff(times(source)))) > 5
    assert packets(target, 'audio') == packets(source, 'audio')
    assert summary.frames == len(UNEVEN)
    assert (summary.lost, summary.concealed, summary.remarks) == (0, 0, ())


def test_turn_aspect_colours_chapters_and_metadata_are_kept(tmp_path, dehaze):
    source = clip(tmp_path / 'in.mov', rotation=90, aspect=Fraction(4, 3), audio='aac')
    _, target = dehaze(source, '.mov')
    seen = []
    for path in (source, target):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            first = next(container.decode(video=0))
            colour = (stream.color_range, stream.colorspace, stream.color_primaries, stream.color_trc)
            tags = (container.metadata['title'], container.chapters(), stream.time_base)
            seen.append((first.rotation, stream.sample_aspect_ratio, colour, *tags))
    assert seen[0] == seen[1]
    assert seen[0][:3] == (90, Fraction(4, 3), (1, 6, 6, 6))
    assert [chapter['metadata']['title'] for chapter in seen[0][4]] == ['before', 'after']


def test_the_network_sees_a_turned_film_upright(tmp_path, dehaze):
    images = [image(0)] * 3
    dehazer = Same()
    source = clip(tmp_path / 'in.mov', rotation=90, images=images)
    _, target = dehaze(source, '.mkv', dehazer, encoding=LOSSLESS)
    upright = np.rot90(images[0]).transpose(2, 0, 1) / 255  # by 90 degrees, counter-clockwise
    assert dehazer.hazy[0].shape == (1, 3, 64, 48)
    assert np.abs(dehazer.hazy[0][0].numpy() - upright).mean() < 0.02
    before, after = frames(source)[0], frames(target)[0]
    assert (after.width, after.height, after.rotation) == (64, 48, 90)
    assert max(np.abs(one - two).max() for one, two in zip(planes(before), planes(after), strict=True)) <= 2


def rgb_of(yuv, matrix: int, full: bool, bits: int) -> np.ndarray:
    """RGB in [0, 1] by the definition of the matrix (ITU-R BT.601, BT.709, BT.2020)."""
    red, blue = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    scale = 2 ** (bits - 8)
    top = 2**bits - 1
    y, u, v = yuv
    luma = y / top if full else (y - 16 * scale) / (219 * scale)
    u, v = ((value - 128 * scale) / (top if full else 224 * scale) for value in (u, v))
    r, b = luma + 2 * (1 - red) * v, luma + 2 * (1 - blue) * u
    return np.array([r, (luma - red * r - blue * b) / (1 - red - blue), b])


@pytest.mark.parametrize(('pixel_format', 'bits'), [('yuv420p', 8), ('yuv420p10le', 10)])
@pytest.mark.parametrize('full', [False, True])
@pytest.mark.parametrize('matrix', [1, 6, 9])
def test_colours_are_read_by_matrix_and_range_and_come_back(tmp_path, dehaze, matrix, full, pixel_format, bits):
    numbers = tuple(value << bits - 8 for value in (146, 114, 123))
    source = clip(tmp_path / 'in.mkv', 'ffv1', pixel_format, numbers=numbers, matrix=matrix, full=full)
    dehazer = Same()
    _, target = dehaze(source, '.mkv', dehazer, encoding=LOSSLESS)
    expected = rgb_of(numbers, matrix, full, bits)
    assert 0.3 < expected.min() < expected.max() < 0.8
    assert dehazer.hazy[0][0, :, 20, 20].numpy() == pytest.approx(expected, abs=0.02 / 255)
    result = frames(target)[0]
    assert (result.format.name, result.color_range, result.colorspace) == (pixel_format, 1 + full, matrix)
    assert [(plane.min(), plane.max()) for plane in planes(result)] == [(number, number) for number in numbers]


def test_an_image_comes_back_with_its_brightness_untouched(tmp_path, dehaze):
    source = clip(tmp_path / 'in.mkv', 'ffv1')
    _, target = dehaze(source, encoding=LOSSLESS)
    for before, after in zip(frames(source), frames(target), strict=True):
        bright, *colours = [np.abs(one - two) for one, two in zip(planes(before), planes(after), strict=True)]
        assert bright.max() == 0
        assert all(colour.max() <= 1 for colour in colours)


def test_ten_bits_stay_ten_bits_unless_the_encoder_has_fewer_which_is_said(tmp_path, dehaze):
    source = clip(tmp_path / 'in.mkv', 'ffv1', 'yuv420p10le')
    summary, target = dehaze(source, '.mp4')
    assert (summary.codec, frames(target)[0].format.name, summary.remarks) == ('libx265', 'yuv420p10le', ())
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_tag == 'hvc1'
    summary, target = dehaze(source, '.webm', encoding=Encoding(codec='libvpx-vp9'))
    assert '10 bits a colour become 8' in summary.remarks[0]
    assert frames(target)[0].format.name == 'yuv420p'


def test_odd_sizes_are_kept(tmp_path, dehaze):
    source = clip(tmp_path / 'in.mkv', 'ffv1', 'yuv420p', [image(time, 33, 21) for time in range(3)])
    summary, target = dehaze(source, '.mp4')
    assert frames(target)[0].format.name == 'yuv444p'
    assert '33x21 is odd' in summary.remarks[0]
    for suffix in ('.mp4', '.webm'):
        summary, target = dehaze(source, suffix, overwrite=True)
        assert {(frame.width, frame.height) for frame in frames(target)} == {(33, 21)}


def test_more_colour_than_420_is_given_up_aloud_and_kept_on_demand(tmp_path, dehaze):
    source = clip(tmp_path / 'in.mkv', 'ffv1', 'yuv444p')
    summary, target = dehaze(source, '.mp4')
    assert 'yuv444p becomes yuv420p' in summary.remarks[0]
    summary, target = dehaze(source, '.mp4', encoding=Encoding(pixel_format='yuv444p'), overwrite=True)
    assert (frames(target)[0].format.name, summary.remarks) == ('yuv444p', ())


def test_rgb_video_is_written_as_limited_yuv_that_says_so(tmp_path, dehaze):
    source = tmp_path / 'in.mkv'
    with av.open(str(source), 'w') as container:
        stream = container.add_stream('ffv1', rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'bgr0'
        frame = av.VideoFrame.from_ndarray(image(0), 'rgb24').reformat(format='bgr0')
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    dehazer = Same()
    _, target = dehaze(source, '.mp4', dehazer, encoding=Encoding(crf=0))
    assert np.abs(dehazer.hazy[0][0].numpy() - image(0).transpose(2, 0, 1) / 255).max() < 0.1 / 255
    result = frames(target)[0]
    assert (result.color_range, result.colorspace) == (1, 6)
    y, u, v = planes(result)
    expected = rgb_of((y[20, 20], u[10, 10], v[10, 10]), 6, False, 8)
    assert expected * 255 == pytest.approx(image(0)[20, 20], abs=3)


def test_a_comparison_shows_hazy_and_restored_side_by_side(tmp_path, dehaze):
    class Black(Same):
        def restore(self, hazy, airlight=None):
            return Restored(torch.zeros_like(hazy))

    source = clip(tmp_path / 'in.mp4')
    summary, target = dehaze(source, '.mp4', Black(), compare=True)
    shown = frames(target)[3].to_ndarray(format='rgb24').astype(int)
    assert shown.shape == (48, 2 * 64 + 4, 3)
    assert (summary.width, summary.height) == (132, 48)
    assert np.abs(shown[:, :60] - image(3)[:, :60]).mean() < 4
    assert shown[:, 72:].max() < 12
    assert times(target) == times(source)


def test_frames_of_another_size_are_scaled_to_the_first_and_it_is_said(tmp_path, dehaze):
    source = tmp_path / 'in.mkv'
    with av.open(str(source), 'w') as container:
        stream = container.add_mux_stream('mjpeg', rate=25, width=64, height=48, time_base=Fraction(1, 1000))
        for number in range(6):
            width, height = (64, 48) if number < 3 else (48, 32)
            encoder = av.CodecContext.create('mjpeg', 'w')
            encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = (
                width,
                height,
                'yuvj420p',
                Fraction(1, 25),
            )
            for packet in encoder.encode(av.VideoFrame.from_ndarray(image(0, width, height), 'rgb24')):
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
                container.mux(packet)
    dehazer = Same()
    summary, target = dehaze(source, '.mkv', dehazer)
    assert [tuple(hazy.shape[2:]) for hazy in dehazer.hazy] == [(48, 64)] * 3 + [(32, 48)] * 3
    shown = frames(target)
    assert [(frame.width, frame.height) for frame in shown] == [(64, 48)] * 6
    assert np.abs(planes(shown[5])[0] - planes(shown[0])[0]).mean() < 3
    assert [line for line in summary.remarks if '48x32' in line] == [summary.remarks[-1]]


def test_subtitles_and_what_a_container_cannot_hold(tmp_path, dehaze):
    plain, source = clip(tmp_path / 'plain.mkv', audio='aac'), tmp_path / 'in.mkv'
    with av.open(str(plain)) as reading, av.open(str(source), 'w') as container:
        streams = {one.index: container.add_stream_from_template(one, opaque=True) for one in reading.streams}
        subtitles = container.add_mux_stream('subrip', time_base=Fraction(1, 1000))
        line = av.Packet(b'a hazy morning')
        line.stream, line.pts, line.dts, line.duration, line.time_base = subtitles, 100, 100, 200, Fraction(1, 1000)
        container.mux(line)
        for packet in reading.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                container.mux(packet)
    _, target = dehaze(source, '.mkv')
    assert packets(target, 'subtitles') == packets(source, 'subtitles') == [(Fraction(1, 10), b'a hazy morning')]
    summary, target = dehaze(source, '.webm')
    assert [line.split(':')[0] for line in summary.remarks] == [
        'audio stream 1 (aac) is left out',
        'subtitle stream 2 (srt) is left out',
    ]
    assert times(target) == times(source)


def test_a_broadcast_begins_at_zero_with_sound_and_image_together(tmp_path, dehaze):
    source = clip(tmp_path / 'in.ts', audio='aac')
    _, target = dehaze(source, '.mkv')
    with av.open(str(source)) as container:
        start = Fraction(container.start_time, 1_000_000)
    assert start > 0
    for kind in ('video', 'audio'):
        before, after = packets(source, kind), packets(target, kind)
        assert after[0][0] == pytest.approx(float(before[0][0] - start), abs=0.002)


def test_a_damaged_middle_is_counted_and_the_rest_goes_on(tmp_path, dehaze):
    source = clip(tmp_path / 'in.mkv', 'mjpeg', 'yuvj420p', full=True)
    content = bytearray(source.read_bytes())
    jpegs = [place for place in range(len(content) - 2) if content[place : place + 3] == b'\xff\xd8\xff']
    for number in (4, 5):
        size = content.index(b'\xff\xd9', jpegs[number]) - jpegs[number]
        content[jpegs[number] : jpegs[number] + size] = bytes(size)
    source.write_bytes(content)
    summary, target = dehaze(source)
    assert (summary.frames, summary.lost) == (10, 2)
    assert 'could not be decoded: 2' in summary.remarks[0]
    whole = clip(tmp_path / 'whole.mkv', 'mjpeg', 'yuvj420p', full=True)
    assert times(target) == [when for number, when in enumerate(times(whole)) if number not in (4, 5)]


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.ts'])
def test_whatever_is_damaged_the_rest_is_written_and_every_frame_accounted_for(tmp_path, dehaze, suffix):
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 255, (12, 40, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    images = [texture[:, 2 * number : 2 * number + 128] for number in range(60)]
    source = clip(tmp_path / f'in{suffix}', images=images, audio='aac', options={'g': '12'})
    content = bytearray(source.read_bytes())
    for part in range(6):
        place = int(len(content) * (0.3 + 0.06 * part))
        content[place : place + 60] = rng.integers(0, 256, 60, dtype=np.uint8).tobytes()
    source.write_bytes(content)
    summary, target = dehaze(source, '.mkv')
    assert 30 < summary.frames <= 60
    assert len(frames(target)) == summary.frames
    assert 'damaged' in ' '.join(summary.remarks)
    if suffix == '.mp4':
        assert summary.frames + summary.lost == 60


def test_a_file_that_is_cut_short_gives_what_is_there_and_it_is_said(tmp_path, dehaze):
    images = [image(time) for time in range(75)]
    source = clip(tmp_path / 'in.mkv', 'mjpeg', 'yuvj420p', images, full=True)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    summary, _ = dehaze(source)
    assert 25 < summary.frames < 50
    assert 'cut short: it ends at 1.' in summary.remarks[-1]
    source = clip(tmp_path / 'in.mov', 'mjpeg', 'yuvj420p', images, full=True, options={'movflags': 'faststart'})
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(InputError, match=r'in\.mov is damaged, cut short or no video'):
        dehaze(source, '.mov')


def _sound_only(path):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('flac', rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), 's16', 'stereo')
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ('make', 'said'),
    [
        (lambda path: path.write_bytes(b''), 'is damaged, cut short or no video'),
        (lambda path: path.write_text('no video at all\n' * 100), 'is damaged, cut short or no video'),
        (lambda path: path.write_bytes(os.urandom(10000)), 'is damaged, cut short or no video'),
        (lambda path: path.mkdir(), 'is a folder'),
        (lambda path: None, 'cannot be read: No such file'),
        (_sound_only, 'has no moving image'),
        (lambda path: path.write_text('ffconcat version 1.0\nfile /etc/passwd\n'), 'cannot be read|no video'),
        (
            lambda path: path.write_text('#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n'),
            'playlist|no video',
        ),
    ],
)
def test_what_is_no_video_gets_one_clear_line(tmp_path, dehaze, make, said):
    source = tmp_path / 'in.mkv'
    make(source)
    with pytest.raises(InputError, match=said) as caught:
        dehaze(source)
    assert str(source) in str(caught.value)
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'results').exists() or not list((tmp_path / 'results').iterdir())


@pytest.mark.parametrize(
    ('suffix', 'options', 'said'),
    [
        ('.avi', {}, r'videos are written as \.mp4'),
        ('.mp4', {'encoding': Encoding(codec='libx246')}, 'did you mean libx26'),
        ('.webm', {'encoding': Encoding(codec='libx264')}, 'webm cannot hold libx264'),
        ('.mp4', {'encoding': Encoding(crf=999)}, 'crf is 999; libx264 takes 0'),
        ('.mkv', {'encoding': Encoding(codec='ffv1', crf=20)}, 'ffv1 has no option crf'),
        ('.mp4', {'encoding': Encoding(options={'presett': 'fast'})}, 'no option presett'),
        ('.mp4', {'encoding': Encoding(pixel_format='rgb24')}, 'rgb24'),
        ('.mp4', {'encoding': Encoding(pixel_format='yuv')}, 'yuv'),
        ('.mp4', {'smoothing': -1}, 'smoothing'),
    ],
)
def test_settings_that_do_not_fit_get_one_clear_line(tmp_path, dehaze, suffix, options, said):
    source = clip(tmp_path / 'in.mp4')
    with pytest.raises(InputError, match=said) as caught:
        dehaze(source, suffix, **options)
    assert '\n' not in str(caught.value)
    assert list((tmp_path / 'results').iterdir()) == []


def test_neither_the_source_nor_an_earlier_result_is_overwritten(tmp_path):
    source = clip(tmp_path / 'in.mp4')
    content = source.read_bytes()
    (tmp_path / 'link.mp4').symlink_to(source)
    os.link(source, tmp_path / 'hard.mp4')
    for target in ('in.mp4', 'link.mp4', 'hard.mp4'):
        with pytest.raises(InputError, match='is the source itself'):
            dehaze_video(source, tmp_path / target, Same(), overwrite=True)
    (tmp_path / 'out.mp4').write_text('precious')
    with pytest.raises(InputError, match='exists already'):
        dehaze_video(source, tmp_path / 'out.mp4', Same())
    assert (tmp_path / 'out.mp4').read_text() == 'precious'
    assert source.read_bytes() == content


@pytest.mark.parametrize('error', [RuntimeError('out of order'), KeyboardInterrupt()])
def test_interrupted_or_failing_it_leaves_nothing_and_no_thread(tmp_path, dehaze, error):
    source = clip(tmp_path / 'in.mp4', images=[image(time) for time in range(60)])
    target = tmp_path / 'results' / 'out.mp4'
    target.parent.mkdir()
    target.write_text('an earlier result')
    before = threading.active_count()
    with pytest.raises(type(error)):
        dehaze(source, '.mp4', Failing(error), overwrite=True)
    assert [path.name for path in target.parent.iterdir()] == ['out.mp4']
    assert target.read_text() == 'an earlier result'
    assert threading.active_count() == before


def test_a_disk_that_fills_gives_one_clear_line_and_no_half_file(tmp_path, dehaze):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (144, 192, 3), dtype=np.uint8) for _ in range(12)]
    source = clip(tmp_path / 'in.mkv', 'ffv1', images=noise)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))  # a file cannot grow beyond, as on a full disk
    try:
        with pytest.raises(SaveError, match=r'out\.mkv cannot be written') as caught:
            dehaze(source, encoding=LOSSLESS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert '\n' not in str(caught.value)
    assert list((tmp_path / 'results').iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    source = clip(tmp_path / 'in.mp4')
    (tmp_path / 'file').touch()
    with pytest.raises(SaveError, match='cannot be written'):
        dehaze_video(source, tmp_path / 'file' / 'out.mp4', Same())


def test_reading_goes_on_while_a_frame_is_restored_but_only_a_few_frames_ahead(tmp_path, dehaze, monkeypatch):
    ahead = []

    class Slow(Same):
        def restore(self, hazy, airlight=None):
            time.sleep(0.02)
            ahead.append(len(stamped) - len(self.hazy) - 1)
            return super().restore(hazy, airlight)

    stamped = []
    stamp = video_source.VideoSource._stamp
    monkeypatch.setattr(video_source.VideoSource, '_stamp', lambda self, frame: (stamped.append(1), stamp(self, frame)))
    source = clip(tmp_path / 'in.mkv', 'ffv1', images=[image(0)] * 40)
    dehaze(source, dehazer=Slow())
    assert len(stamped) == 40
    assert 1 <= max(ahead) <= 4
    assert sorted(ahead)[20] >= 1  # more often than not there is one


def test_the_airlight_is_smoothed_over_time_and_reset_at_a_cut(tmp_path, dehaze):
    images = [np.full((48, 64, 3), 200, np.uint8)] * 12 + [np.full((48, 64, 3), 60, np.uint8)] * 12
    source = clip(tmp_path / 'in.mp4', images=images)
    dehazer = Same([0.7, 0.9] * 6 + [0.2, 0.4] * 6)
    summary, _ = dehaze(source, dehazer=dehazer, smoothing=1.0)
    bright, dark = np.array(dehazer.airlights[2:12]), np.array(dehazer.airlights[14:])
    assert np.abs(np.diff(bright)).max() < 0.1
    assert bright.mean() == pytest.approx(0.8, abs=0.02)
    assert dehazer.airlights[12] == pytest.approx(0.2)
    assert dark.mean() == pytest.approx(0.3, abs=0.02)
    assert summary.scenes == 2
    dehazer = Same([0.7, 0.9])
    dehaze(source, dehazer=dehazer, smoothing=0, overwrite=True)
    assert dehazer.airlights == [None] * 24


def test_a_network_without_an_airlight_is_not_smoothed_and_that_is_said_once(tmp_path, dehaze):
    dehazer = Same()
    summary, _ = dehaze(clip(tmp_path / 'in.mp4'), '.mp4', dehazer, smoothing=1.0)
    assert dehazer.airlights == [None] * 12
    assert [line for line in summary.remarks if 'no airlight' in line] == list(summary.remarks)
    assert len(summary.remarks) == 1


def test_remarks_are_said_with_the_name_of_the_source(tmp_path, dehaze):
    said = []
    source = clip(tmp_path / 'in.mkv', 'ffv1', 'yuv444p')
    summary, _ = dehaze(source, '.mp4', say=said.append)
    assert said == [f'{source}: {line}' for line in summary.remarks] != []


def test_a_bar_shows_the_frames(tmp_path, dehaze, capfd):
    dehaze(clip(tmp_path / 'in.mp4'), '.mp4', progress=True)
    assert '12/12' in capfd.readouterr().err


def test_another_version_of_pyav_is_one_line(tmp_path, dehaze, monkeypatch):
    monkeypatch.setattr(av, '__version__', '17.1.0')
    with pytest.raises(InputError, match=r"videos need PyAV 18, and this is 17\.1\.0: pip install 'av>=18'"):
        dehaze(tmp_path / 'in.mp4')
